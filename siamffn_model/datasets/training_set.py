"""What the reader of a published training set provides: the set's layout, units and annotations.

A unit is the part of a set that is read in one step, such as one video or one annotation file.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from siamffn_model.errors import ConfigError, DataError
from siamffn_model.imaging.geometry import Box


def parse_folder(text: str) -> tuple[str, Path]:
    """Parse NAME=DIR, the folder of a data set; raise `ConfigError` for another form."""
    name, _, folder = text.partition('=')
    if not (name and folder):
        raise ConfigError(f'{text!r}: give NAME=DIR, such as got10k=/data/GOT-10k')
    return name, Path(folder)


class Annotation(NamedTuple):
    """The box of one target in one image.

    Attributes:
        image: path of the image relative to the folder of the set, with '/' between folders.
        frame: number of the image in its video, counted as the set does; 0 for single images.
        box: the target's box in pixels, counted from 0.
    """

    image: str
    frame: int
    box: Box


class UnitAnnotations(NamedTuple):
    """The annotations of one unit of a set.

    Attributes:
        targets: for each target its annotations, in the order of their frames.
        skipped: (reason, place) of each annotation that cannot be used, such as
            ('target absent', 'GOT-10k_Train_000001 row 7').
    """

    targets: list[list[Annotation]]
    skipped: list[tuple[str, str]]


@dataclass(frozen=True)
class TrainingSet:
    """A published training set: its layout on disk, and how to read it.

    Attributes:
        name: key of the set in recipes and on the command line, such as 'got10k'.
        layout: description of the files that its folder must contain, for error messages.
        source: URL to download it from.
        units: lists the units in a folder, always in the same order; raises `DataError` that names
            what is missing.
        read: reads one unit of a folder. Annotations that cannot be used are skipped and reported.
    """

    name: str
    layout: str
    source: str
    units: Callable[[Path], list[str]]
    read: Callable[[Path, str], UnitAnnotations]

    def layout_error(self, path: Path, problem: str) -> DataError:
        """Return the error that reports a problem with `path` and the layout that is expected."""
        return DataError(
            f'{path}: {problem}; the folder of {self.name} must contain {self.layout}: '
            f'give that folder, or get the set from {self.source}'
        )

    def list_folders(self, path: Path) -> list[str]:
        """Return the sorted names of the folders in `path`, without hidden ones.

        Raises `DataError` if `path` cannot be listed.
        """
        try:
            with os.scandir(path) as entries:
                return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith('.'))
        except OSError as error:
            raise self.layout_error(path, str(error.strerror)) from None


def list_files(folder: Path) -> set[str]:
    """Return the names of all files in a folder: faster than a look-up of each file."""
    return {path.name for path in folder.iterdir()}


def has_area(box: Box) -> bool:
    """Return whether all values of a box are finite and its width and height are positive."""
    return all(map(math.isfinite, box)) and box.w > 0 and box.h > 0
