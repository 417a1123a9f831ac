"""Atomic writing of files and folders, reading of text files, and the user's cache folder."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from siamffn_model.errors import DataError


def cache_folder() -> Path:
    """Return the user's cache folder: on Linux $XDG_CACHE_HOME/siamffn or ~/.cache/siamffn."""
    from platformdirs import user_cache_path  # imported here: training and inference do without

    return user_cache_path('siamffn')


def evict_folders(folder: Path, count: int) -> None:
    """Remove all but the newest `count` folders in a folder of the cache."""
    for old in sorted(folder.iterdir(), key=lambda f: f.stat().st_mtime)[:-count]:
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path, and rename it to `path` if the `with` block ends without exception.

    Parent folders are created. Raises `DataError` if the file cannot be written; an existing file
    is then unchanged.
    """
    partial = path.with_name(f'.{path.name}.partial')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise _write_error(path, error, 'choose a folder that can be written to') from error


@contextmanager
def atomic_write_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder, and rename it to `path` if the block ends without exception.

    Raises `DataError` if it cannot be written or `path` already exists: nothing is overwritten.
    """
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        partial.mkdir(parents=True)
        try:
            yield partial
            partial.replace(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise _write_error(path, error, 'choose a folder that is not there yet') from error


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically; raise `DataError` if that fails (see `atomic_write`).

    Names of files that are not UTF-8 are written as they are.
    """
    write_bytes(path, text.encode('utf-8', 'surrogateescape'))


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file atomically; raise `DataError` if that fails (see `atomic_write`).

    Other libraries should return bytes for this function instead of writing files themselves: if
    the disk is full, some raise errors of their own, others abort the process.
    """
    with atomic_write(path) as partial:
        partial.write_bytes(data)


def disk_is_full(error: OSError) -> bool:
    """Return whether an operation failed for lack of space, or for a quota or limit."""
    return error.errno in {errno.EDQUOT, errno.EFBIG, errno.ENOSPC}


def _write_error(path: Path, error: OSError, remedy: str) -> DataError:
    remedy = 'free some space' if disk_is_full(error) else remedy
    return DataError(f'{path}: cannot be written ({error.strerror}); {remedy}')


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file without empty ones at its end; raises `DataError`."""
    try:
        return path.read_text(encoding='utf-8-sig').rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'{path}: cannot be read as text ({error}); copy it again') from error
