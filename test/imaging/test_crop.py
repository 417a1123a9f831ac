"""Crops around a target."""

from __future__ import annotations

import numpy as np
import pytest

from siamffn_model.errors import ImageError
from siamffn_model.imaging.crop import (
    View,
    context_side,
    crop_box,
    crop_window,
    mean_colour,
    search_region,
)
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import check_image


def test_a_crop_at_scale_one_is_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    crop = View(image, 40.5, 30.5, 21, (0, 0, 0)).crop(21)
    assert np.array_equal(crop, image[20:41, 30:51])


def test_the_outside_is_filled_with_the_mean() -> None:
    image = np.full((20, 20, 3), (10, 20, 30), np.uint8)
    image[:, 10:] = (30, 40, 50)
    fill = mean_colour(image)
    assert fill == pytest.approx((20, 30, 40))
    crop = View(image, 0, 0, 41, fill).crop(41)
    assert (crop[:19, :19] == (20, 30, 40)).all()
    assert (crop[21:30, 21:30] == (10, 20, 30)).all()


@pytest.mark.parametrize('scale', [0.125, 0.5, 1.0, 2.7])
def test_the_box_in_the_crop_is_where_the_target_is(scale: float) -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    box = Box(100, 120, 40, 60)
    image[120:180, 100:140] = 255
    crop = View(image, 130, 140, 127 * scale, (0, 0, 0)).crop(127)
    assert white_edges(crop) == pytest.approx(
        expected_edges(crop_box(box, (130, 140), (127 * scale, 127 * scale), 127)), abs=0.75
    )


def test_a_window_and_its_box_are_stretched_to_a_square() -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    image[120:180, 100:140] = 255
    sides = (200.0, 90.0)
    crop = crop_window(image, (130, 140), sides, 127, (0, 0, 0))
    box = crop_box(Box(100, 120, 40, 60), (130, 140), sides, 127)
    assert white_edges(crop) == pytest.approx(expected_edges(box), abs=0.75)
    assert box.w / box.h == pytest.approx(40 / 60 * 90 / 200)


def white_edges(crop: np.ndarray) -> tuple[int, ...]:
    """Return the left, right, top and bottom edge of the white area in pixels."""
    rows, columns = np.nonzero(crop[..., 0] > 127)
    return columns.min(), columns.max() + 1, rows.min(), rows.max() + 1


def expected_edges(box: Box) -> np.ndarray:
    x, y, w, h = box
    return np.clip([x, x + w, y, y + h], -0.5, 126.5) + 0.5


def test_context_side_is_that_of_siamfc() -> None:
    assert context_side(30, 30) == pytest.approx(60)
    assert context_side(10, 40) ** 2 == pytest.approx(35 * 65)


@pytest.mark.parametrize(
    'image',
    [
        None,
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_a_bad_image_is_reported(image: object) -> None:
    with pytest.raises(ImageError, match='give a BGR uint8 array'):
        check_image(image)


def test_the_search_region_has_the_target_in_its_centre() -> None:
    region = search_region(Box(10, 20, 30, 40))
    assert (region.cx, region.cy) == (25, 40)
    assert region.w == region.h == pytest.approx(np.sqrt(65 * 75) * 255 / 127)
