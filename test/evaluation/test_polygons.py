"""Tests of the overlap of polygons, against a plain implementation and by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from siamffn_model.evaluation import polygons
from siamffn_model.evaluation.polygons import polygon_overlap
from siamffn_model.imaging.geometry import Box, polygon_to_box

NAN = math.nan
SIZE = (24, 18)  # width, height of the images
Polygon = tuple[float, ...]
Pixels = set[tuple[int, int]]


def overlap(a: Polygon, b: Polygon, size: tuple[int, int] = SIZE) -> float:
    return polygon_overlap([a], [b], size).item()


def outline(x: float, y: float, w: float, h: float) -> Polygon:
    return (x, y, x + w, y, x + w, y + h, x, y + h)


# --- reference implementation: sets of pixels and exact fractions


def plain_overlap(a: Polygon, b: Polygon) -> float:
    bounds_a, bounds_b = plain_bounds(a), plain_bounds(b)
    left, top = (max(bounds_a[i], bounds_b[i]) for i in (0, 1))
    right, bottom = (min(bounds_a[i], bounds_b[i]) for i in (2, 3))
    if left >= right or top >= bottom:
        return 0
    origin = min(bounds_a[0], bounds_b[0]), min(bounds_a[1], bounds_b[1])
    end = max(bounds_a[2], bounds_b[2]), max(bounds_a[3], bounds_b[3])
    pixels_a, pixels_b = plain_fill(a, origin, end), plain_fill(b, origin, end)
    union = pixels_a | pixels_b
    return len(pixels_a & pixels_b) / len(union) if union else 0


def plain_bounds(polygon: Polygon) -> tuple[int, int, int, int]:
    x, y = polygon[0::2], polygon[1::2]
    return (
        max(math.floor(min(x)), 0),
        max(math.floor(min(y)), 0),
        min(math.ceil(max(x)), SIZE[0] - 1),
        min(math.ceil(max(y)), SIZE[1] - 1),
    )


def plain_fill(polygon: Polygon, origin: tuple[int, int], end: tuple[int, int]) -> Pixels:
    """Shift to `origin`, round, fill row by row, and crop to the region from `origin` to `end`."""
    points = [
        (math.floor(x - origin[0] + 0.5), math.floor(y - origin[1] + 0.5))
        for x, y in zip(polygon[0::2], polygon[1::2], strict=True)
    ]
    width, height = end[0] - origin[0] + 1, end[1] - origin[1] + 1
    pixels = set()
    for row in range(height):
        crossings = []
        for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1], strict=True):
            if y1 == y2 == row:
                crossings += [x1, x2]
            elif min(y1, y2) <= row <= max(y1, y2):
                crossings.append(math.floor(x1 + Fraction(row - y1, y2 - y1) * (x2 - x1)))
        for column in range(width):
            if crossings and min(crossings) <= column <= max(crossings):
                pixels.add((column, row))
    return pixels


def quarters(low: float, high: float) -> st.SearchStrategy[float]:
    """Return multiples of 1/4, which are exact in binary."""
    return st.integers(round(low * 4), round(high * 4)).map(lambda quarter: quarter / 4)


@st.composite
def parallelograms(draw: st.DrawFn) -> Polygon:
    """Return rotated, sheared and degenerate ones, also partly or completely outside the image."""
    x, y = draw(quarters(-6, 28)), draw(quarters(-6, 22))
    (ux, uy), (vx, vy) = (draw(st.tuples(quarters(-9, 9), quarters(-9, 9))) for _ in range(2))
    return (x, y, x + ux, y + uy, x + ux + vx, y + uy + vy, x + vx, y + vy)


@pytest.mark.slow
@given(st.lists(st.tuples(parallelograms(), parallelograms()), min_size=1, max_size=5))
def test_agrees_with_plain_implementation(pairs: list[tuple[Polygon, Polygon]]) -> None:
    a, b = (np.array(column) for column in zip(*pairs, strict=True))
    assert polygon_overlap(a, b, SIZE) == pytest.approx([plain_overlap(*pair) for pair in pairs])


@given(st.tuples(quarters(0, 12), quarters(0, 8), quarters(1, 9), quarters(1, 9)))
def test_overlap_with_itself_is_one(box: tuple[float, float, float, float]) -> None:
    assert overlap(outline(*box), outline(*box)) == 1


# --- cases computed by hand


def test_both_ends_are_counted() -> None:
    """Boxes of 4 x 2 cover 5 x 3 pixels; shifted by two columns, they share 3 x 3 of 21."""
    assert overlap(outline(3, 3, 4, 2), outline(5, 3, 4, 2)) == 9 / 21


def test_corners_are_rounded_halves_up() -> None:
    """2.5 to 5.5 is 3 to 6: 4 x 4 pixels, of which 2 to 5 has 3 x 3 of 16 + 16 - 9."""
    assert overlap(outline(2.5, 2.5, 3, 3), outline(2, 2, 3, 3)) == 9 / 23


def test_edges_are_rounded_down() -> None:
    """The rows of a triangle 3 wide and 2 high end at column 3, 1.5 (rounded to 1), 0: 4 + 2 + 1.

    The rows of the mirrored triangle begin at column 0, 1.5 (rounded to 1) and 3: 4 + 3 + 1.
    """
    box = outline(4, 4, 3, 2)
    assert overlap((4, 4, 7, 4, 4, 6, 4, 6), box) == 7 / 12
    assert overlap((4, 4, 7, 4, 7, 6, 7, 6), box) == 8 / 12


def test_diamond() -> None:
    """Rows of 1, 3, 5, 3, 1 pixels in a square of 25, for any first corner and direction."""
    points = [(8, 6), (10, 8), (8, 10), (6, 8)]
    for shift in range(4):
        rotated = points[shift:] + points[:shift]
        for order in (rotated, rotated[::-1]):
            diamond = tuple(float(value) for point in order for value in point)
            assert overlap(diamond, outline(6, 6, 4, 4)) == 13 / 25


def test_only_pixels_of_the_image_count() -> None:
    """5 x 5 pixels of the box from (-5, -5) to (4, 4) are inside, and 10 x 10 of that to (9, 9)."""
    assert overlap(outline(-5, -5, 9, 9), outline(-5, -5, 14, 14)) == 25 / 100
    assert overlap(outline(20, 14, 30, 30), outline(22, 14, 30, 30)) == 8 / 16


@pytest.mark.parametrize(
    'box',
    [(-9, 2, 5, 5), (25, 2, 5, 5), (2, -9, 5, 5), (2, 19, 5, 5)],
    ids=['left', 'right', 'above', 'below'],
)
def test_overlap_outside_the_image_is_zero(box: tuple[float, float, float, float]) -> None:
    assert overlap(outline(*box), outline(*box)) == 0


def test_overlap_of_touching_boxes_is_zero() -> None:
    """They have a column of pixels in common, but no area."""
    assert overlap(outline(2, 2, 4, 4), outline(6, 2, 4, 4)) == 0
    assert overlap(outline(2, 2, 4, 4), outline(5, 2, 4, 4)) > 0


def test_overlap_with_nan_and_infinity_is_zero() -> None:
    a = [outline(2, 2, 4, 4)] * 4
    b = [a[0], (NAN,) * 8, (NAN, *a[0][1:]), (*a[0][:7], math.inf)]
    assert polygon_overlap(a, b, SIZE).tolist() == [1, 0, 0, 0]
    assert polygon_overlap(b, a, SIZE).tolist() == [1, 0, 0, 0]


def test_without_frames() -> None:
    assert polygon_overlap(np.empty((0, 8)), np.empty((0, 8)), SIZE).shape == (0,)


def test_frames_keep_their_order() -> None:
    """More than one chunk, of all heights; with a box of half the height."""
    heights = np.random.default_rng(1).permutation(3 * polygons.CHUNK) % 50 + 2
    a = [outline(5, 0, 10, 2 * height) for height in heights]
    b = [outline(5, 0, 10, height) for height in heights]
    expected = (heights + 1) / (2 * heights + 1)
    assert polygon_overlap(a, b, (100, 200)) == pytest.approx(expected)


@given(st.integers(1, 7679), st.integers(1, 4319))
@example(1, 49)  # 49 * (1 / 49) is below 1
def test_edges_are_exact_in_large_images(w: int, h: int) -> None:
    """A triangle on the left and lower sides of a box covers y w / h + 1 pixels in row y."""
    triangle = (0, 0, w, h, 0, h, 0, h)
    pixels = sum(row * w // h + 1 for row in range(h + 1))
    found = overlap(triangle, outline(0, 0, w, h), (7680, 4320))
    assert found * (w + 1) * (h + 1) == pytest.approx(pixels, abs=0.01)


def test_rows_below_the_image_do_not_count_in_a_chunk_with_a_taller_polygon() -> None:
    """All pairs in a chunk get the rows of the tallest; the first pair shares 3 of 4 rows."""
    a = [outline(2, 14, 4, 20), outline(2, 0, 4, 17)]
    b = [outline(2, 15, 4, 30), outline(2, 0, 4, 17)]
    assert polygon_overlap(a, b, SIZE).tolist() == [3 / 4, 1]


def test_box_of_an_axis_aligned_polygon_is_a_pixel_larger() -> None:
    assert polygon_to_box(outline(10, 20, 30, 40)) == Box(9.5, 19.5, 31, 41)


def test_box_of_a_square_on_its_corner() -> None:
    """Half the area of the bounding box of 20 x 20: sides of 20 / sqrt(2), and a pixel."""
    box = polygon_to_box((50, 40, 60, 50, 50, 60, 40, 50))
    assert (box.cx, box.cy) == (50, 50)
    assert (box.w, box.h) == (pytest.approx(15.1421356), pytest.approx(15.1421356))


def test_box_of_a_line_and_of_a_point() -> None:
    assert polygon_to_box((10, 20, 18, 20, 18, 20, 10, 20)) == Box(9.5, 19.5, 9, 1)
    assert polygon_to_box((10, 20) * 4) == Box(9.5, 19.5, 1, 1)
