"""Text in and out, files that are there whole or not at all, and the user's cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from siamffn_model.errors import DataError


def cache_folder() -> Path:
    """Return the user's cache folder: on Linux $XDG_CACHE_HOME/siamffn or ~/.cache/siamffn."""
    return user_cache_path('siamffn')


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to, and rename it to `path` when the `with` block ends well.

    Makes the folder. Raises `DataError` naming the file where it cannot be written; an earlier file
    is then untouched.
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
        raise DataError(
            f'{path}: cannot be written ({error.strerror}); choose a place that can be'
        ) from error


@contextmanager
def atomic_write_folder(path: Path) -> Iterator[Path]:
    """Do the same with a folder: what is written to the one given is `path` when all went well.

    Raises `DataError` where that exists already: nothing is overwritten.
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
        raise DataError(
            f'{path}: cannot be written ({error.strerror}); choose a folder that is not there yet'
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all; raises `DataError` (see `atomic_write`)."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding='utf-8')


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file, without empty ones at its end; raises `DataError`."""
    try:
        return path.read_text(encoding='utf-8-sig').rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'{path}: cannot be read as text ({error}); copy it again') from error
