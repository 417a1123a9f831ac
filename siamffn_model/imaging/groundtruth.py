"""Read ground truth files: one box or polygon per row."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from siamffn_model.atomic_io import read_lines
from siamffn_model.errors import DataError
from siamffn_model.imaging.geometry import Box, polygon_to_box


def read_groundtruth(path: Path) -> list[Box | None]:
    """Read one box per row; None where the target is absent.

    A row is x,y,w,h, or the corners x1,y1,...,x4,y4 of a polygon, for which the box is that of
    `polygon_to_box`. The target is absent where a row has NaN, or has no area, such as 0,0,0,0.

    Raises `DataError` with the file and the row that has another form.
    """
    return [_parse_row(path, number, row) for number, row in enumerate(read_lines(path), 1)]


def _parse_row(path: Path, number: int, row: str) -> Box | None:
    try:
        values = split_numbers(row)
    except ValueError:
        values = []
    if len(values) not in (4, 8):
        raise DataError(
            f'{path}: row {number} is {row!r}; each row must be x,y,w,h or x1,y1,...,x4,y4, '
            'or NaN,NaN,NaN,NaN where the target is absent'
        )
    if not np.isfinite(values).all():
        return None
    if len(values) == 4:
        box = Box(*values)
        return box if box.w > 0 and box.h > 0 else None
    has_area = np.ptp(np.reshape(values, (4, 2)), axis=0).all()
    return polygon_to_box(values) if has_area else None


def split_numbers(row: str) -> list[float]:
    """Return the numbers of a comma, tab or space separated row; raise `ValueError` if invalid.

    A separator at the end is ignored.
    """
    return [float(word) for word in re.split(r'[,;\s]+', row.strip(',; \t\r\n'))]
