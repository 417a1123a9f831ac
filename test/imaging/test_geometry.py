"""Boxes and their overlap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siamffn_model.errors import BoxError
from siamffn_model.imaging.geometry import Box, corners, iou

sides = st.floats(0.1, 500)
places = st.floats(-300, 300)
boxes = st.builds(Box, places, places, sides, sides)


def slow_iou(a: Box, b: Box) -> float:
    width = min(a.x + a.w, b.x + b.w) - max(a.x, b.x)
    height = min(a.y + a.h, b.y + b.h) - max(a.y, b.y)
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (a.area + b.area - width * height)


@given(boxes, boxes)
def test_iou_agrees_with_the_plain_formula(a: Box, b: Box) -> None:
    assert iou(a, b) == pytest.approx(slow_iou(a, b), abs=1e-9)
    assert iou(a, b) == pytest.approx(iou(b, a))


def test_iou_broadcasts_and_gives_zero_for_empty_boxes() -> None:
    some = np.array([[0, 0, 10, 10], [5, 0, 10, 10], [0, 0, 0, 0]])
    assert iou(some, Box(0, 0, 10, 10)) == pytest.approx([1, 1 / 3, 0])
    assert iou(np.empty((0, 4)), Box(0, 0, 1, 1)).shape == (0,)
    assert iou(Box(1, 1, 0, 0), Box(1, 1, 0, 0)) == 0


@given(boxes)
def test_center_and_size_give_the_box_back(box: Box) -> None:
    assert Box.from_center(box.cx, box.cy, box.w, box.h) == pytest.approx(box)


@given(boxes)
def test_a_box_is_parsed_from_its_text(box: Box) -> None:
    assert Box.parse(','.join(map(str, box))) == box
    assert Box.parse(' 1, 2.5,3,4e1 ') == (1, 2.5, 3, 40)


@pytest.mark.parametrize('text', ['', '1,2,3', '1,2,3,4,5', '1 2 3 4', '1,2,3,wide', 'x'])
def test_text_that_is_not_a_box_is_refused(text: str) -> None:
    with pytest.raises(BoxError, match=r'is not a box: give x,y,w,h in pixels, such as 73,25,63'):
        Box.parse(text)


@given(boxes)
def test_clip_stays_inside_and_never_grows(box: Box) -> None:
    part = box.clip(200, 100)
    assert 0 <= part.x <= part.x + part.w <= 200 + 1e-9
    assert 0 <= part.y <= part.y + part.h <= 100 + 1e-9
    assert part.area <= box.area + 1e-6


@pytest.mark.parametrize(
    ('box', 'says'),
    [
        (Box(math.nan, 0, 5, 5), 'not finite'),
        (Box(0, 0, math.inf, 5), 'not finite'),
        (Box(0, 0, 0, 5), 'no area'),
        (Box(0, 0, 5, -1), 'no area'),
        (Box(0, 0, 1.9, 5), 'at least 2 pixels'),
        (Box(0, 0, 1e300, 5), 'less than 10% .* is inside the 100x50 image'),
        (Box(-1e300, 0, 2e300, 1e300), 'less than 10%'),
        (Box(-9, -9, 10, 10), 'less than 10%'),
        (Box(100, 0, 5, 5), 'outside the 100x50 image'),
        (Box(-5, 0, 5, 5), 'outside the 100x50 image'),
    ],
)
def test_a_bad_box_is_named(box: Box, says: str) -> None:
    with pytest.raises(BoxError, match=says):
        box.check(100, 50)


def test_a_box_partly_outside_is_good() -> None:
    Box(-3, -3, 5, 5).check(100, 50)
    Box(-50, -25, 200, 100).check(100, 50)


def test_corners() -> None:
    assert corners([(1, 2, 30, 40)]).tolist() == [[1, 2, 31, 2, 31, 42, 1, 42]]
    assert corners([]).shape == (0, 8)
