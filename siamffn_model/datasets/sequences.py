"""Sequences to evaluate on, and the plainest set of them: a folder with a folder for each."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from siamffn_model.atomic_io import read_lines
from siamffn_model.errors import DataError
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import Frames, ImageFiles, image_files, read_groundtruth


@dataclass(frozen=True)
class Sequence:
    """One target in one video: where it is, and the images where they were asked for.

    Attributes:
        name: as the benchmark's result files are called.
        truth: (N, 4) boxes x, y, w, h, or (N, 8) corners x1, y1, ..., x4, y4, in pixels as the
            annotation counts them; NaN where the target is absent.
        frames: its N images; None where only the annotation was read.
        attributes: what makes it hard, by the benchmark's abbreviations such as 'SV'.
        origin: coordinate of the first pixel in `truth` and in result files, 0 or (OTB) 1.
        size: (width, height) of the images in pixels, where known.
    """

    name: str
    truth: NDArray[np.float64]
    frames: Frames | None = None
    attributes: tuple[str, ...] = ()
    origin: int = 0
    size: tuple[int, int] | None = None

    @property
    def first(self) -> Box:
        """The box in the first image, pixels counted from 0."""
        x, y, w, h = self.truth[0].tolist()
        return Box(x - self.origin, y - self.origin, w, h)


def read_sequences(folder: Path, images: bool = True) -> list[Sequence]:
    """Read every sequence in `folder`, in the order of their names; hidden folders are passed over.

    Each is a folder with images in img/ (not looked at without `images`) and a groundtruth.txt. All
    are checked here, so that a long evaluation does not stop half-way for a missing file.

    Raises:
        DataError: no sequences, no ground truth, rows that do not fit the images, or no box in
            the first frame, each naming the sequence.
        ImageError: the first image of a sequence cannot be read.
    """
    check_folder(folder)
    if (folder / 'groundtruth.txt').exists():
        raise DataError(f'{folder}: this is one sequence; give the folder that holds it')
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith('.'))
    if not names:
        raise DataError(
            f'{folder}: no sequences; expected folders with images in img/ and a groundtruth.txt'
        )
    return [_read(folder / name, images) for name in names]


def check_folder(folder: Path) -> None:
    """Raise `DataError` unless there is a folder of this name."""
    if not folder.is_dir():
        raise DataError(f'{folder}: no such folder; give the folder that holds the sequences')


def _read(path: Path, images: bool) -> Sequence:
    if images and not (path / 'img').is_dir():
        raise DataError(
            f'{path}: no folder img; every folder beside it must be a sequence, with images in '
            'img/ and a groundtruth.txt'
        )
    annotation = path / 'groundtruth.txt'
    truth = read_truth(annotation)
    frames = open_images(annotation, truth, path / 'img') if images else None
    return Sequence(path.name, truth, frames)


# --- what readers share


def sequence_names(folder: Path) -> list[str]:
    """Return the names in list.txt where it exists, else of the folders with a groundtruth.txt."""
    if (folder / 'list.txt').is_file():
        return [line.strip() for line in read_lines(folder / 'list.txt') if line.strip()]
    return sorted(path.parent.name for path in folder.glob('*/groundtruth.txt'))


def find_file(*places: Path) -> Path:
    """Return the first of these files that exists; raises `DataError` naming where it may lie."""
    for path in places:
        if path.is_file():
            return path
    others = ''.join(f', nor {path}' for path in places[1:])
    raise DataError(
        f'{places[0]}: no such file{others}; restore it from the published set, or give the '
        'folder that holds all of the set'
    )


def read_truth(path: Path) -> NDArray[np.float64]:
    """Read the boxes (N, 4) of a sequence; raises `DataError` naming what is missing or wrong."""
    if not path.is_file():
        raise DataError(f'{path}: missing; give one row x,y,w,h for each image')
    boxes = read_groundtruth(path)
    if not boxes or boxes[0] is None:
        raise DataError(f'{path}: row 1 is not a box; the tracker needs one to start from')
    return np.array([box or (np.nan,) * 4 for box in boxes], float)


def check_rows(annotation: Path, truth: NDArray[np.float64], count: int) -> None:
    """Raise `DataError` unless there is a row for each of the frames of a benchmark's sequence."""
    if len(truth) != count:
        raise DataError(
            f'{annotation}: {len(truth)} rows, but the benchmark has {count} frames of this '
            'sequence; restore the file from the published set'
        )


def open_images(annotation: Path, truth: NDArray[np.float64], folder: Path) -> ImageFiles:
    """Open all images in a folder; raises `DataError` where there is not one for each row."""
    _check_image_folder(folder)
    files = image_files(folder)
    if len(files) != len(truth):
        raise DataError(
            f'{annotation}: {len(truth)} rows for {len(files)} images in {folder}; '
            'there must be one row an image: restore the missing ones'
        )
    return ImageFiles(folder, files)


def open_numbered(folder: Path, pattern: str, first: int, last: int) -> ImageFiles:
    """Open the images `first` to `last` of a folder that may hold more, such as '{:06d}.jpg'.

    Raises `DataError` naming the first that is missing.
    """
    _check_image_folder(folder)
    there = {entry.name for entry in os.scandir(folder)}
    names = [pattern.format(number) for number in range(first, last + 1)]
    missing = [name for name in names if name not in there]
    if missing:
        raise DataError(
            f'{folder / missing[0]}: missing ({len(missing)} of {len(names)} images, {names[0]} to '
            f'{names[-1]}); restore what is missing from the published set'
        )
    return ImageFiles(folder, [folder / name for name in names])


def _check_image_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise DataError(f'{folder}: no such folder of images; restore it from the published set')
