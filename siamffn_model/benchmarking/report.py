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
    ratios = [f'{reference.update / row.update:.2f}' for row in rows] if reference else []
    if reference:
        head.append('speed')
    lines = []
    for number, row in enumerate(rows):
        cells = [row.name]
        cells += [_number(v) for v in (row.crop, row.network, row.decode, row.update)]
        cells += [_number(row.update_p95), f'{row.updates_per_second:.0f}']
        cells += [_number(row.memory_mb, 0)]
        if row.cuda_mb:
            cells[-1] += f' + {row.cuda_mb:.0f} of the GPU'
        lines.append([*cells, *ratios[number : number + 1]])
    return markdown(head, lines)


def _number(value: float | None, digits: int = 2) -> str:
    return '' if value is None else f'{value:.{digits}f}'


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    rows = [head, ['---', *['---:'] * (len(head) - 1)], *lines]
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def curves(entry: Entry) -> str:
    """Measure what more targets and larger images cost; return both as tables."""
    targets = [
        [str(row.targets), _number(row.update), f'{row.updates_per_second:.0f}']
        for row in by_targets(entry)
    ]
    sizes = [(size, row.update) for size, row in by_size(entry)]
    smallest = sizes[0][1]
    of_sizes = [[size, _number(ms), f'{ms / smallest:.2f}'] for size, ms in sizes]
    return '\n\n'.join(
        [
            markdown(['targets', 'update of all, ms', 'target updates/s'], targets),
            markdown(['image, the same target', 'update, ms', 'of the first'], of_sizes),
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
