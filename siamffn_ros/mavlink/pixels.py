"""Convert between MAVLink's normalised picture coordinates (0 to 1, origin top left) and pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from siamffn_model.errors import BoxError
from siamffn_model.imaging.geometry import Box

Size = tuple[int, int]  # width and height of the picture in pixels


class Corners(NamedTuple):
    """The top left and the bottom right corner of a box, 0 to 1."""

    left: float
    top: float
    right: float
    bottom: float


def to_box(corners: Sequence[float], size: Size) -> Box:
    """Return the box in pixels with these corners: left, top, right, bottom, 0 to 1.

    Raises `BoxError` for corners that are no numbers from 0 to 1, or not in this order.
    """
    left, top, right, bottom = corners
    _check(corners)
    if not (left < right and top < bottom):
        raise BoxError(
            f'rectangle {_text(corners)} has no area: give the top left corner, then the bottom '
            'right one'
        )
    width, height = size
    return Box(left * width, top * height, (right - left) * width, (bottom - top) * height)


def to_point(x: float, y: float, size: Size) -> tuple[float, float]:
    """Return the point in pixels; raises `BoxError` for values that are no numbers from 0 to 1.

    A point on the right or lower edge is the last pixel.
    """
    _check((x, y))
    width, height = size
    return min(x * width, width - 1), min(y * height, height - 1)


def to_corners(box: Box, size: Size) -> Corners | None:
    """Return the corners of the part of a box that is in the picture; None if there is none."""
    width, height = size
    clipped = box.clip(width, height)
    if clipped.area <= 0:
        return None
    return Corners(
        clipped.x / width,
        clipped.y / height,
        min((clipped.x + clipped.w) / width, 1.0),
        min((clipped.y + clipped.h) / height, 1.0),
    )


def _check(values: Sequence[float]) -> None:
    if not all(0 <= value <= 1 for value in values):  # also if one is not a number
        raise BoxError(f'{_text(values)} is not in the picture: give numbers from 0 to 1')


def _text(values: Sequence[float]) -> str:
    return ', '.join(f'{value:g}' for value in values)
