"""The files of a sequence, as the readers of all benchmarks find, open and check them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from siamffn_model.atomic_io import read_lines
from siamffn_model.errors import DataError
from siamffn_model.imaging.groundtruth import read_groundtruth
from siamffn_model.imaging.sources import ImageFiles, image_files


def check_folder(folder: Path) -> None:
    """Raise `DataError` unless the folder exists."""
    if not folder.is_dir():
        raise DataError(f'{folder}: no such folder; give the folder that contains the sequences')


def sequence_names(folder: Path) -> list[str]:
    """Return the names in list.txt if it exists, else of the folders with a groundtruth.txt."""
    if (folder / 'list.txt').is_file():
        return [line.strip() for line in read_lines(folder / 'list.txt') if line.strip()]
    return sorted(path.parent.name for path in folder.glob('*/groundtruth.txt'))


def find_file(*candidates: Path) -> Path:
    """Return the first of these files that exists; raise `DataError` naming all if none does."""
    for path in candidates:
        if path.is_file():
            return path
    others = ''.join(f', nor {path}' for path in candidates[1:])
    raise DataError(
        f'{candidates[0]}: no such file{others}; restore it from the published set, or give the '
        'folder that contains the complete set'
    )


def read_boxes(path: Path) -> NDArray[np.float64]:
    """Read the boxes (N, 4), x, y, w, h, of a sequence; NaN in rows where the target is absent.

    Raises `DataError` if the file is missing, a row is not four numbers, or the first is no box.
    """
    if not path.is_file():
        raise DataError(f'{path}: missing; provide one row x,y,w,h for each image')
    boxes = read_groundtruth(path)
    if not boxes or boxes[0] is None:
        raise DataError(f'{path}: row 1 is not a box; the tracker needs one to start from')
    return np.array([box or (np.nan,) * 4 for box in boxes], float)


def check_row_count(annotation: Path, truth: NDArray[np.float64], count: int) -> None:
    """Raise `DataError` unless the ground truth has `count` rows, the length of the sequence."""
    if len(truth) != count:
        raise DataError(
            f'{annotation}: {len(truth)} rows, but the benchmark has {count} frames of this '
            'sequence; restore the file from the published set'
        )


def open_image_folder(annotation: Path, truth: NDArray[np.float64], folder: Path) -> ImageFiles:
    """Open all images in a folder; raise `DataError` unless there is one image for each row.

    Raises `ImageError` if the first image cannot be read.
    """
    _check_image_folder(folder)
    files = image_files(folder)
    if len(files) != len(truth):
        raise DataError(
            f'{annotation}: {len(truth)} rows for {len(files)} images in {folder}; '
            'there must be one row for each image: restore what is missing'
        )
    return ImageFiles(folder, files)


def open_numbered_images(folder: Path, pattern: str, first: int, last: int) -> ImageFiles:
    """Open the images with the numbers `first` to `last` in a folder, which may contain others.

    Args:
        folder: folder of the images.
        pattern: format of the file names, such as '{:06d}.jpg'.
        first: number of the first image.
        last: number of the last image.

    Raises:
        DataError: an image is missing; the first such is named.
        ImageError: the first image cannot be read.
    """
    _check_image_folder(folder)
    existing = {entry.name for entry in os.scandir(folder)}
    names = [pattern.format(number) for number in range(first, last + 1)]
    missing = [name for name in names if name not in existing]
    if missing:
        raise DataError(
            f'{folder / missing[0]}: missing ({len(missing)} of {len(names)} images, {names[0]} to '
            f'{names[-1]}); restore the missing images from the published set'
        )
    return ImageFiles(folder, [folder / name for name in names])


def _check_image_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise DataError(f'{folder}: no such folder of images; restore it from the published set')
