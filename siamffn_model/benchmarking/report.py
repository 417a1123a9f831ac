"""What `siamffn benchmark` tells: tables in Markdown, JSON, sections of docs/benchmarks.md."""

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
    REFERENCE,
    SIZE,
    Entry,
    SpeedResult,
    by_size,
    by_targets,
)
from siamffn_model.errors import DataError

PACKAGES = ('torch', 'openvino', 'onnxruntime', 'opencv-python-headless', 'numpy')


def machine() -> dict[str, str]:
    """Return what the figures depend on: date, processor, GPU, threads, versions."""
    info = Path('/proc/cpuinfo').read_text(encoding='utf-8')
    model = re.search(r'model name\s*: (.*)', info)
    told = {
        'date': date.today().isoformat(),
        'processor': model[1] if model else platform.machine(),
        'cores': str(len(os.sched_getaffinity(0))),
        'Python': platform.python_version(),
    }
    torch = sys.modules.get('torch')
    if torch and torch.cuda.is_available():
        told['GPU'] = torch.cuda.get_device_name()
    for package in PACKAGES:
        try:
            told[package] = version(package)
        except PackageNotFoundError:
            told[package] = 'not installed'
    return told


def table(rows: Sequence[SpeedResult]) -> str:
    """Return a table in Markdown; with the reference among the rows, their speeds by its own."""
    slow = f'{REFERENCE[0]}, PyTorch {REFERENCE[1]}'
    reference = next((row for row in rows if row.name == slow), None)
    head = ['tracker', 'crop', 'network', 'decode', 'update', 'p95', 'updates/s', 'RSS, MB']
    lines: list[list[Any]] = []
    for row in rows:
        line = [row.name, row.crop, row.network, row.decode, row.update, row.update_p95]
        lines.append([*line, row.updates_per_second, _memory(row)])
    if reference:
        head.append('speed')
        for row, line in zip(rows, lines):
            line.append(reference.update / row.update)
    digits = ('', *['.2f'] * 5, '.0f', '', '.2f')
    return _markdown(head, lines, digits)


def _memory(row: SpeedResult) -> str:
    memory = '' if row.memory_mb is None else f'{row.memory_mb:.0f}'
    return f'{memory} + {row.cuda_mb:.0f} of the GPU' if row.cuda_mb else memory


def _markdown(head: Sequence[str], lines: Sequence[Sequence[Any]], formats: tuple[str, ...]) -> str:
    """Return a table in Markdown: text in the first column, numbers in the others."""
    align = ['left', *['right'] * (len(head) - 1)]
    return tabulate(lines, head, tablefmt='pipe', floatfmt=formats, colalign=align)


def curves(entry: Entry) -> str:
    """Measure what more targets and larger images cost; return both as tables."""
    targets = [(row.targets, row.update, row.updates_per_second) for row in by_targets(entry)]
    sizes = [(size, row.update) for size, row in by_size(entry)]
    smallest = sizes[0][1]
    ratios = [(size, update, update / smallest) for size, update in sizes]
    return '\n\n'.join(
        [
            _markdown(
                ['targets', 'update of all, ms', 'target updates/s'], targets, ('', '.2f', '.0f')
            ),
            _markdown(
                ['image, the same target', 'update, ms', 'of the first'], ratios, ('', '.2f', '.2f')
            ),
        ]
    )


def as_dict(rows: Sequence[SpeedResult]) -> dict[str, Any]:
    """Return everything for JSON."""
    return {'machine': machine(), 'trackers': [asdict(row) for row in rows]}


def report(rows: Sequence[SpeedResult], more: str) -> str:
    """Return a section of Markdown with the machine, the figures and how they were had."""
    about = machine()
    day = about.pop('date')
    facts = ', '.join(f'{name} {value}' for name, value in about.items())
    return (
        f'## {day}, speed: {facts}\n\n`siamffn benchmark`: milliseconds an update, medians of all '
        f'turns; {SIZE[0]}x{SIZE[1]}, {rows[0].targets} target(s), one process; *speed* is a '
        f'multiple of {REFERENCE[0]} in PyTorch eager.\n\n{table(rows)}\n\n{more}\n'
    )


def add_section(path: Path, section: str) -> None:
    """Put a section in front of the others in a file of Markdown; raises `DataError`."""
    try:
        text = path.read_text(encoding='utf-8')
    except OSError as error:
        raise DataError(f'{path} cannot be read ({error.strerror}): give an .md file') from error
    start = text.find('\n## ') + 1 or len(text)
    write_text(path, f'{text[:start]}{section}\n{text[start:]}')
