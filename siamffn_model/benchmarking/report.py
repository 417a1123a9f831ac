"""Results of `siamffn benchmark` as Markdown tables, JSON and sections of docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tabulate import tabulate

from siamffn_model.atomic_io import write_text
from siamffn_model.benchmarking.speed import (
    BASELINE_MODEL,
    BASELINE_RUNTIME,
    IMAGE_SIZE,
    SpeedResult,
    TrackerConfig,
    measure_image_sizes,
    measure_target_counts,
)
from siamffn_model.errors import DataError

PACKAGES = ('torch', 'openvino', 'onnxruntime', 'opencv-python-headless', 'numpy')


def machine_info() -> dict[str, str]:
    """Return what the results depend on: date, processor, cores, GPU and package versions."""
    info = Path('/proc/cpuinfo').read_text(encoding='utf-8')
    model = re.search(r'model name\s*: (.*)', info)
    facts = {
        'date': date.today().isoformat(),
        'processor': model[1] if model else platform.machine(),
        'cores': str(len(os.sched_getaffinity(0))),
        'Python': platform.python_version(),
    }
    torch = sys.modules.get('torch')
    if torch and torch.cuda.is_available():
        facts['GPU'] = torch.cuda.get_device_name()
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = 'not installed'
    return facts


def format_results(results: Sequence[SpeedResult]) -> str:
    """Return a Markdown table of results, with speeds relative to the baseline if it is included.

    The baseline is `BASELINE_MODEL` in `BASELINE_RUNTIME`.
    """
    baseline_name = f'{BASELINE_MODEL}, PyTorch {BASELINE_RUNTIME}'
    baseline = next((result for result in results if result.name == baseline_name), None)
    header = ['tracker', 'crop', 'network', 'decode', 'update', 'p95', 'updates/s', 'RSS, MB']
    rows: list[list[Any]] = []
    for result in results:
        times = [result.crop, result.network, result.decode, result.update, result.update_p95]
        rows.append([result.name, *times, result.updates_per_second, _format_memory(result)])
    if baseline:
        header.append('speed')
        for row, result in zip(rows, results):
            row.append(baseline.update / result.update)
    return _markdown_table(header, rows, ('', *['.2f'] * 5, '.0f', '', '.2f'))


def _format_memory(result: SpeedResult) -> str:
    text = '' if result.memory_mb is None else f'{result.memory_mb:.0f}'
    return f'{text} + {result.cuda_mb:.0f} of the GPU' if result.cuda_mb else text


def _markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[Any]], formats: tuple[str, ...]
) -> str:
    """Return a Markdown table whose first column is text; `formats` are those of the columns."""
    align = ['left', *['right'] * (len(header) - 1)]
    return tabulate(rows, header, tablefmt='pipe', floatfmt=formats, colalign=align)


def measure_scaling(config: TrackerConfig) -> str:
    """Measure a model with more targets and in larger images; return two Markdown tables."""
    targets = [
        (result.targets, result.update, result.updates_per_second)
        for result in measure_target_counts(config)
    ]
    updates = [(size, result.update) for size, result in measure_image_sizes(config)]
    smallest = updates[0][1]
    sizes = [(size, update, update / smallest) for size, update in updates]
    targets_header = ['targets', 'update of all, ms', 'target updates/s']
    sizes_header = ['image, the same target', 'update, ms', 'relative to the first']
    return (
        f'{_markdown_table(targets_header, targets, ("", ".2f", ".0f"))}\n\n'
        f'{_markdown_table(sizes_header, sizes, ("", ".2f", ".2f"))}'
    )


def as_dict(results: Sequence[SpeedResult]) -> dict[str, Any]:
    """Return the machine and all results as values for JSON."""
    return {'machine': machine_info(), 'trackers': [asdict(result) for result in results]}


def report_section(results: Sequence[SpeedResult], scaling: str) -> str:
    """Return a Markdown section with the machine, the results and how they were measured.

    `scaling` is the text of `measure_scaling`.
    """
    facts = machine_info()
    day = facts.pop('date')
    machine = ', '.join(f'{name} {value}' for name, value in facts.items())
    width, height = IMAGE_SIZE
    return (
        f'## {day}, speed: {machine}\n\n`siamffn benchmark`: milliseconds per update, medians of '
        f'all rounds; {width}x{height}, {results[0].targets} target(s), one process; *speed* is '
        f'relative to {BASELINE_MODEL} in PyTorch {BASELINE_RUNTIME}.\n\n'
        f'{format_results(results)}\n\n{scaling}\n'
    )


def add_section(path: Path, section: str) -> None:
    """Insert a section before the others of a Markdown file; raises `DataError`."""
    try:
        text = path.read_text(encoding='utf-8')
    except OSError as error:
        raise DataError(
            f'{path} cannot be read ({error.strerror}): give an existing .md file'
        ) from error
    start = text.find('\n## ') + 1 or len(text)
    write_text(path, f'{text[:start]}{section}\n{text[start:]}')
