"""The files of a GPU run: few, of limited size, and complete at any moment.

A machine that is lent for minutes may return only eight files of 16 MiB. Larger files are split
into parts NAME.0, NAME.1, ...: `cat NAME.?` joins them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from siamffn_model.atomic_io import atomic_write

PART = 16 * 2**20  # largest size of a file in bytes
PARTS = 4  # for weights and checkpoint together, beside four other files
TOTAL = 62 * 2**20  # of weights and checkpoint in bytes


def fits(*sizes: int) -> bool:
    """Return whether files of these sizes can be stored together."""
    return sum(map(_count_parts, sizes)) <= PARTS and sum(sizes) <= TOTAL


def store(data: bytes, path: Path) -> str:
    """Write a file as one or several parts; return the SHA-256 of the whole."""
    count = _count_parts(len(data))
    names = [path] if count == 1 else [_part(path, number) for number in range(count)]
    for number, name in enumerate(names):
        with atomic_write(name) as partial:
            partial.write_bytes(data[number * PART : (number + 1) * PART])
    for old in _existing(path):
        if old not in names:
            old.unlink()
    return hashlib.sha256(data).hexdigest()


def load(path: Path, sha256: str) -> bytes | None:
    """Return the whole file, or None if it is not the one with this SHA-256."""
    data = b''.join(name.read_bytes() for name in _existing(path))
    return data if hashlib.sha256(data).hexdigest() == sha256 else None


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
