"""siamffn_ros/mavlink/pixels.py"""

from __future__ import annotations

import math
import struct

import pytest

from siamffn_model.errors import BoxError
from siamffn_model.imaging.geometry import Box
from siamffn_ros.mavlink.pixels import to_box, to_corners, to_point

SIZE = 1920, 1080


@pytest.mark.parametrize(
    'box',
    [Box(0, 0, 1920, 1080), Box(0, 0, 4, 3), Box(1911, 1075, 9, 5), Box(333.3, 7.1, 64.2, 90.9)],
)
def test_a_box_comes_back_as_float32_within_a_thousandth_of_a_pixel(box: Box) -> None:
    corners = struct.unpack('<4f', struct.pack('<4f', *to_corners(box, SIZE)))
    assert to_box(corners, SIZE) == pytest.approx(box, abs=1e-3)


def test_a_box_is_clipped_to_the_picture() -> None:
    assert to_corners(Box(-192, 540, 384, 1080), SIZE) == (0, 0.5, 0.1, 1)
    assert to_corners(Box(-20, 10, 20, 30), SIZE) is None
    assert to_corners(Box(1920, 10, 20, 30), SIZE) is None


@pytest.mark.parametrize('position', range(4))
@pytest.mark.parametrize('value', [math.nan, math.inf, -0.001, 1.001])
def test_values_outside_the_picture_are_refused(position: int, value: float) -> None:
    corners = [0.25, 0.25, 0.75, 0.75]
    corners[position] = value
    with pytest.raises(BoxError, match='numbers from 0 to 1'):
        to_box(corners, SIZE)
    if position < 2:
        with pytest.raises(BoxError, match='numbers from 0 to 1'):
            to_point(*corners[:2], SIZE)


@pytest.mark.parametrize('corners', [(0.5, 0.5, 0.5, 0.6), (0.6, 0.5, 0.5, 0.6), (0, 1, 1, 0)])
def test_rectangles_without_area_are_refused(corners: tuple[float, ...]) -> None:
    with pytest.raises(BoxError, match='no area'):
        to_box(corners, SIZE)


def test_points_are_in_the_picture() -> None:
    assert to_point(0.5, 0.25, SIZE) == (960, 270)
    assert to_point(0, 0, SIZE) == (0, 0)
    assert to_point(1, 1, SIZE) == (1919, 1079)
