"""Results of `siamffn benchmark` as Markdown tables, JSON and sections of docs/performance.md."""

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
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from siamffn_model.atomic_io import write_text
from siamffn_model.benchmarking.measurements import Measurements
from siamffn_model.benchmarking.speed import (
    BASELINE_MODEL,
    BASELINE_RUNTIME,
    IMAGE_SIZE,
    SpeedResult,
)
from siamffn_model.errors import DataError

if TYPE_CHECKING:  # it needs PyTorch
    from siamffn_model.benchmarking.hardware import Hardware

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


def format_scaling(measurements: Measurements) -> str:
    """Return the tables of targets, image sizes, shares of the hardware and stages on the GPU.

    Parts that have not been measured are omitted.
    """
    tables = [
        _format_targets(measurements),
        _format_sizes(measurements.sizes),
        _format_stages(measurements),
    ]
    return '\n\n'.join(table for table in tables if table)


def _format_targets(measurements: Measurements) -> str:
    rows: list[list[Any]] = []
    header = ['tracker', 'targets', 'update of all, ms', 'target updates/s']
    if measurements.hardware:
        header += ['of matrix throughput, %', 'of memory bandwidth, %']
    for result in measurements.targets:
        row = [result.name, result.targets, result.update, result.updates_per_second]
        if measurements.hardware:
            row += [100 * share for share in hardware_shares(result, measurements.hardware)]
        rows.append(row)
    table = _markdown_table(header, rows, ('', '', '.2f', '.0f', '.2f', '.2f')) if rows else ''
    if rows and measurements.hardware:
        table += (
            f'\n\nMeasured in the same run: matrix product '
            f'{measurements.hardware.matrix_flops / 1e12:.3f} TFLOP/s, copy '
            f'{measurements.hardware.copy_bytes / 1e9:.1f} GB/s, read and written.'
        )
    return table


def hardware_shares(result: SpeedResult, hardware: Hardware) -> tuple[float, float]:
    """Return the shares of the matrix throughput and of the memory bandwidth that a speed needs.

    A share of 1 means that the device can do no more. The bytes are those of convolutions in half
    precision: the weights once for an update of all targets, inputs and outputs for each target.
    """
    from siamffn_model.benchmarking.complexity import count_complexity

    counts = count_complexity(result.name.partition(',')[0])
    flops = 2 * counts.macs * result.updates_per_second
    updates = result.updates_per_second / result.targets
    traffic = 2 * (counts.parameters + result.targets * counts.values) * updates
    return flops / hardware.matrix_flops, traffic / hardware.copy_bytes


def _format_sizes(sizes: Sequence[tuple[str, SpeedResult]]) -> str:
    rows = [(size, result.update, result.update / sizes[0][1].update) for size, result in sizes]
    header = ['image, the same target', 'update, ms', 'relative to the first']
    return _markdown_table(header, rows, ('', '.2f', '.2f')) if rows else ''


def _format_stages(measurements: Measurements) -> str:
    updates = {(r.name, r.targets): r.update for r in measurements.targets}
    rows, kernels = [], []
    for stages in measurements.stages:
        busy = stages.upload + stages.network + stages.download
        host = max(updates[stages.name, stages.targets] - busy, 0.0)
        times = [stages.upload, stages.network, stages.download, host]
        rows.append([stages.name, stages.targets, *times])
        slowest = ', '.join(f'`{name}` {time:.3f} ms' for name, time in stages.kernels.items())
        kernels.append(f'- {stages.name}, {stages.targets} target(s): {slowest}')
    header = ['tracker', 'targets', 'upload, ms', 'network', 'download', 'host and tracker']
    if not rows:
        return ''
    table = _markdown_table(header, rows, ('', '', *['.3f'] * 4))
    return f'{table}\n\nThe slowest kernels:\n\n' + '\n'.join(kernels)


def as_dict(measurements: Measurements) -> dict[str, Any]:
    """Return the machine and all results as values for JSON."""
    hardware = measurements.hardware
    return {
        'machine': machine_info(),
        'trackers': [asdict(result) for result in measurements.trackers],
        'targets': [asdict(result) for result in measurements.targets],
        'sizes': [{'size': size, **asdict(result)} for size, result in measurements.sizes],
        'hardware': hardware and hardware._asdict(),
        'stages': [asdict(stages) for stages in measurements.stages],
    }


def report_section(measurements: Measurements) -> str:
    """Return a Markdown section with the machine, the results and how they were measured."""
    facts = machine_info()
    day = facts.pop('date')
    machine = ', '.join(f'{name} {value}' for name, value in facts.items())
    width, height = IMAGE_SIZE
    return (
        f'## {day}, speed: {machine}\n\n`siamffn benchmark`: milliseconds per update, medians of '
        f'all rounds; {width}x{height}, {measurements.trackers[0].targets} target(s), one process; '
        f'*speed* is relative to {BASELINE_MODEL} in PyTorch {BASELINE_RUNTIME}.\n\n'
        f'{format_results(measurements.trackers)}\n\n{format_scaling(measurements)}\n'
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
