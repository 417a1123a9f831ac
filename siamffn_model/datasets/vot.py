"""The VOT challenges' short-term sets of 2016, 2018 and 2019: 60 sequences each.

Kristan et al., "A Novel Performance Evaluation Methodology for Single-Target Trackers", PAMI 2016.
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
from siamffn_model.imaging.sources import read_image, split_numbers


class _Facts(NamedTuple):
    """What sequences.csv says of a sequence."""

    length: int
    width: int
    height: int


def read_vot(folder: Path, images: bool) -> list[Sequence]:
    """Read a set: corners (N, 8) and the size of the images, which the overlap is clipped to.

    The folder holds list.txt, which may be missing, and for each sequence ants1/groundtruth.txt
    with images in ants1/ or ants1/color/. Without `images` the first of them gives the size; or a
    sequences.csv with name,count,width,height, beside which the annotations may lie as
    anno/ants1.txt too. Rows are x1,y1,...,x4,y4, or x,y,w,h.

    Raises:
        DataError: something is missing, or rows do not fit the images, naming the sequence.
        ImageError: the first image of a sequence cannot be read.
    """
    check_folder(folder)
    facts = _read_facts(folder / 'sequences.csv')
    names = sequence_names(folder) or list(facts)
    if not names:
        raise DataError(
            f'{folder}: no sequences; expected folders with images and a groundtruth.txt, or '
            'anno/ and a sequences.csv'
        )
    return [_read(folder, images, name, facts.get(name)) for name in names]


def _read(folder: Path, images: bool, name: str, facts: _Facts | None) -> Sequence:
    annotation = find_file(folder / name / 'groundtruth.txt', folder / 'anno' / f'{name}.txt')
    truth = _read_corners(annotation)
    if facts:
        check_row_count(annotation, truth, facts.length)
    color = folder / name / 'color'
    path = color if color.is_dir() else folder / name
    if images:
        frames = open_image_folder(annotation, truth, path)
        return Sequence(name, truth, frames, size=frames.size)
    return Sequence(name, truth, size=_image_size(path / '00000001.jpg', facts))


def _image_size(first: Path, facts: _Facts | None) -> tuple[int, int]:
    if first.is_file():
        height, width = read_image(first).shape[:2]
        return width, height
    if facts:
        return facts.width, facts.height
    raise DataError(
        f'{first}: missing, and the overlap cannot be counted without the size of the images; '
        'restore it, or put sequences.csv with name,count,width,height beside the sequences'
    )


def _read_facts(path: Path) -> dict[str, _Facts]:
    """Return what a sequences.csv says by name, nothing where there is none."""
    if not path.is_file():
        return {}
    rows = csv.DictReader(read_lines(path))
    try:
        return {
            row['name']: _Facts(int(row['count']), int(row['width']), int(row['height']))
            for row in rows
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f'{path}: line {rows.line_num} is not name,count,width,height with whole numbers '
            f'({error}); mend it, or remove the file'
        ) from error


def _read_corners(path: Path) -> NDArray[np.float64]:
    lines = read_lines(path)
    if not lines:
        raise DataError(f'{path}: empty; restore the file from the published set')
    return np.array([_corners(path, number, line) for number, line in enumerate(lines, 1)])


def _corners(path: Path, number: int, line: str) -> list[float]:
    try:
        values = split_numbers(line)
    except ValueError:
        values = []
    if len(values) not in (4, 8) or not np.isfinite(values).all():
        raise DataError(
            f'{path}: row {number} is {line!r}; each row must be x1,y1,...,x4,y4, or x,y,w,h'
        )
    return values if len(values) == 8 else list(corners(values)[0])
