"""The files of a GPU run: few and of limited size.

A machine that is lent for minutes may return only eight files of 16 MiB. Larger files are split
into parts NAME.0, NAME.1, ...: `cat NAME.?` joins them. Each file is complete at any moment; parts
are complete one by one.
"""

from __future__ import annotations

from pathlib import Path

from siamffn_model.atomic_io import write_bytes

PART = 16 * 2**20  # largest size of a file in bytes
PARTS = 4  # for weights and checkpoint together, beside four other files
TOTAL = 62 * 2**20  # of weights and checkpoint in bytes


def fits(*sizes: int) -> bool:
    """Return whether files of these sizes can be stored together."""
    return sum(map(_count_parts, sizes)) <= PARTS and sum(sizes) <= TOTAL


def store(data: bytes, path: Path) -> None:
    """Write a file as one or several parts."""
    count = _count_parts(len(data))
    names = [path] if count == 1 else [_part(path, number) for number in range(count)]
    for number, name in enumerate(names):
        write_bytes(name, data[number * PART : (number + 1) * PART])
    for old in _existing(path):
        if old not in names:
            old.unlink()


def load(path: Path) -> bytes:
    """Return the whole file, empty if there is none."""
    return b''.join(name.read_bytes() for name in _existing(path))


def remove(path: Path) -> None:
    """Remove a file and its parts, if they exist."""
    for name in _existing(path):
        name.unlink()


def _count_parts(size: int) -> int:
    return -(-size // PART)


def _part(path: Path, number: int) -> Path:
    return path.with_name(f'{path.name}.{number}')


def _existing(path: Path) -> list[Path]:
    names = [path, *(_part(path, number) for number in range(PARTS))]
    return [name for name in names if name.is_file()]
