"""The short-term sets of the VOT challenges of 2016, 2018 and 2019: 60 sequences each.

Kristan et al., "A Novel Performance Evaluation Methodology for Single-Target Trackers", PAMI 2016.

Layout: list.txt (optional: the names of the sequences) and for each sequence a folder such as
ants1/ with groundtruth.txt and the images 00000001.jpg and so on, in the folder itself or in
color/. Annotations without images may also be in anno/, as ants1.txt and so on, beside a
sequences.csv with the columns name,count,width,height (number of frames and size of the images).

Rows are the corners x1,y1,...,x4,y4 of a rotated box, or an upright box x,y,w,h, in pixels, read
as counted from 0.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from siamffn_model.atomic_io import read_lines
from siamffn_model.datasets.sequence_files import (
    check_folder,
    check_row_count,
    find_file,
    open_image_folder,
    sequence_names,
)
from siamffn_model.datasets.sequences import Sequence
from siamffn_model.errors import DataError
from siamffn_model.imaging.geometry import corners
from siamffn_model.imaging.groundtruth import split_numbers
from siamffn_model.imaging.image import read_image


class _SequenceInfo(NamedTuple):
    """One row of sequences.csv: the number of frames, and the size of the images in pixels."""

    length: int
    width: int
    height: int


def read_vot(folder: Path, images: bool) -> list[Sequence]:
    """Read a set: corners (N, 8), and the size of the images, to which the overlap is clipped.

    Without `images` only the annotations are read; the size is then that of the first image, or
    that in sequences.csv.

    Raises:
        DataError: a file is missing, or its number of rows is not that of the frames; the message
            names the sequence.
        ImageError: the first image of a sequence cannot be read.
    """
    check_folder(folder)
    table = _read_table(folder / 'sequences.csv')
    names = sequence_names(folder) or list(table)
    if not names:
        raise DataError(
            f'{folder}: no sequences; expected folders with images and a groundtruth.txt, or '
            'anno/ and a sequences.csv'
        )
    return [_read(folder, images, name, table.get(name)) for name in names]


def _read(folder: Path, images: bool, name: str, info: _SequenceInfo | None) -> Sequence:
    annotation = find_file(folder / name / 'groundtruth.txt', folder / 'anno' / f'{name}.txt')
    truth = _read_corners(annotation)
    if info:
        check_row_count(annotation, truth, info.length)
    color = folder / name / 'color'
    image_folder = color if color.is_dir() else folder / name
    if images:
        frames = open_image_folder(annotation, truth, image_folder)
        return Sequence(name, truth, frames, size=frames.size)
    return Sequence(name, truth, size=_image_size(image_folder / '00000001.jpg', info))


def _image_size(first: Path, info: _SequenceInfo | None) -> tuple[int, int]:
    if first.is_file():
        height, width = read_image(first).shape[:2]
        return width, height
    if info:
        return info.width, info.height
    raise DataError(
        f'{first}: missing, and the overlap cannot be computed without the size of the images; '
        'restore it, or put sequences.csv with name,count,width,height beside the sequences'
    )


def _read_table(path: Path) -> dict[str, _SequenceInfo]:
    """Return the rows of sequences.csv by name; nothing if the file does not exist."""
    if not path.is_file():
        return {}
    rows = csv.DictReader(read_lines(path))
    try:
        return {
            row['name']: _SequenceInfo(int(row['count']), int(row['width']), int(row['height']))
            for row in rows
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f'{path}: line {rows.line_num} is not name,count,width,height with integers '
            f'({error}); correct it, or remove the file'
        ) from error


def _read_corners(path: Path) -> NDArray[np.float64]:
    lines = read_lines(path)
    if not lines:
        raise DataError(f'{path}: empty; restore the file from the published set')
    return np.array([_parse_corners(path, number, line) for number, line in enumerate(lines, 1)])


def _parse_corners(path: Path, number: int, line: str) -> list[float]:
    try:
        values = split_numbers(line)
    except ValueError:
        values = []
    if len(values) not in (4, 8) or not np.isfinite(values).all():
        raise DataError(
            f'{path}: row {number} is {line!r}; each row must be x1,y1,...,x4,y4, or x,y,w,h'
        )
    return values if len(values) == 8 else list(corners(values)[0])
