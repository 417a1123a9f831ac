"""The files of a sequence, as the readers of all benchmarks open and check them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from siamffn_model.atomic_io import read_lines
from siamffn_model.errors import DataError
from siamffn_model.imaging.sources import ImageFiles, image_files, read_groundtruth


def check_folder(folder: Path) -> None:
    """Raise `DataError` unless there is a folder of this name."""
    if not folder.is_dir():
        raise DataError(f'{folder}: no such folder; give the folder that holds the sequences')


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


def read_boxes(path: Path) -> NDArray[np.float64]:
    """Read the boxes (N, 4) of a sequence; raises `DataError` naming what is missing or wrong."""
    if not path.is_file():
        raise DataError(f'{path}: missing; give one row x,y,w,h for each image')
    boxes = read_groundtruth(path)
    if not boxes or boxes[0] is None:
        raise DataError(f'{path}: row 1 is not a box; the tracker needs one to start from')
    return np.array([box or (np.nan,) * 4 for box in boxes], float)


def check_row_count(annotation: Path, truth: NDArray[np.float64], count: int) -> None:
    """Raise `DataError` unless there is a row for each of the frames of a benchmark's sequence."""
    if len(truth) != count:
        raise DataError(
            f'{annotation}: {len(truth)} rows, but the benchmark has {count} frames of this '
            'sequence; restore the file from the published set'
        )


def open_image_folder(annotation: Path, truth: NDArray[np.float64], folder: Path) -> ImageFiles:
    """Open all images in a folder; raises `DataError` where there is not one for each row."""
    _check_image_folder(folder)
    files = image_files(folder)
    if len(files) != len(truth):
        raise DataError(
            f'{annotation}: {len(truth)} rows for {len(files)} images in {folder}; '
            'there must be one row an image: restore the missing ones'
        )
    return ImageFiles(folder, files)


def open_numbered_images(folder: Path, pattern: str, first: int, last: int) -> ImageFiles:
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
