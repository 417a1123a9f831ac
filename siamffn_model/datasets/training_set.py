"""What a reader of a published training set provides: its layout, its units, their annotations."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from siamffn_model.errors import DataError
from siamffn_model.imaging.geometry import Box


class Annotation(NamedTuple):
    """One annotated image of a target."""

    image: str  # relative to the set's folder, '/' between folders
    frame: int  # its number in time; 0 for single pictures
    box: Box


class UnitAnnotations(NamedTuple):
    """What one unit of a set holds."""

    targets: list[list[Annotation]]  # rows of each target, in order of frame
    skipped: list[tuple[str, str]]  # reason, place: 'target absent', 'GOT-10k_Train_000001 row 7'


@dataclass(frozen=True)
class TrainingSet:
    """A published set: how it lies on disk, and how to read it.

    Attributes:
        name: as in 'got10k'.
        layout: what its folder must hold, for error messages.
        source: URL where to get it.
        units: lists the parts of the set in a given folder, in fixed order; raises `DataError`
            naming what is missing.
        read: reads one unit in a given folder; what is wrong with single annotations is skipped.
    """

    name: str
    layout: str
    source: str
    units: Callable[[Path], list[str]]
    read: Callable[[Path, str], UnitAnnotations]

    def missing(self, path: Path, problem: str) -> DataError:
        """Return the error that says what is wrong with `path`, and what should be there."""
        return DataError(
            f'{path}: {problem}; the folder of {self.name} must hold {self.layout}: '
            f'give that folder, or get the set from {self.source}'
        )

    def folders(self, path: Path) -> list[str]:
        """Return the sorted names of the folders in `path`; raises `DataError` without `path`."""
        try:
            with os.scandir(path) as entries:
                return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith('.'))
        except OSError as error:
            raise self.missing(path, str(error.strerror)) from None


def list_files(folder: Path) -> set[str]:
    """List a folder once: cheaper than asking for each of its files."""
    return {path.name for path in folder.iterdir()}


def has_area(box: Box) -> bool:
    """Tell whether a box is finite and has an area."""
    return all(map(math.isfinite, box)) and box.w > 0 and box.h > 0
