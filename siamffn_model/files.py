"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

from siamffn_model.errors import DataError


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name, then rename it; makes the folder it is to lie in.

    Raises `DataError` naming the file where that cannot be done; an earlier file is then untouched.
    """
    partial = path.with_name(f'.{path.name}.partial')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_text(text, encoding='utf-8')
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f'{path}: cannot be written ({error.strerror}); choose a place that can be'
        ) from error
