"""Crops sampled from uploaded regions equal those that OpenCV cuts from the full image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from siamffn_model.imaging.crop import View
from siamffn_model.runtimes.gpu_crops import buffer_size, header_size, pack_views, sample_crops

NOISE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
IMAGE = cv2.GaussianBlur(NOISE, (0, 0), 2)
FILL = (10.0, 100.0, 200.0)


def crops_of(views: list[View], size: int, slots: int) -> np.ndarray:
    buffer = np.zeros(buffer_size(slots, size), np.uint8)
    used = pack_views(views, size, slots, buffer)
    assert used <= len(buffer)
    return sample_crops(torch.from_numpy(buffer), slots, size).numpy()


@settings(max_examples=60, deadline=None)
@given(st.floats(-30, 120), st.floats(-30, 90), st.floats(2, 200))
def test_a_crop_equals_that_of_opencv(x: float, y: float, side: float) -> None:
    view = View(IMAGE, x, y, side, FILL)
    (crop,) = crops_of([view], 31, 1)
    # OpenCV rounds coordinates to 1/32 pixel: up to eight grey levels at the border to the fill
    difference = np.abs(crop.astype(int) - view.crop(31))
    assert difference.max() <= 8 and difference.mean() < 1


def test_views_of_several_images_are_one_batch() -> None:
    other = np.ascontiguousarray(IMAGE[::-1, :50])
    views = [
        View(IMAGE, 30, 30, 40, FILL),
        View(other, 10, 50, 64, FILL),
        View(IMAGE, 80, 5, 9, FILL),
    ]
    crops = crops_of(views, 31, 4)
    assert crops.shape == (4, 31, 31, 3)
    for crop, view in zip(crops, views):
        assert np.abs(crop.astype(int) - view.crop(31)).max() <= 8


@pytest.mark.parametrize(('x', 'y'), [(-500, 30), (45, 1e6)])
def test_a_view_outside_the_image_has_the_fill_colour(x: float, y: float) -> None:
    (crop,) = crops_of([View(IMAGE, x, y, 20, FILL)], 31, 1)
    assert (crop == FILL).all()


def test_only_the_sampled_region_is_uploaded() -> None:
    large = np.zeros((2160, 3840, 3), np.uint8)
    view = View(large, 2000, 1000, 200, FILL)
    used = pack_views([view], 255, 1, np.zeros(buffer_size(1, 255), np.uint8))
    assert used - header_size(1) == pytest.approx(3 * 200**2, rel=0.03)


@given(st.floats(-50, 250), st.floats(-50, 200), st.floats(1, 200))
def test_any_region_fits_into_a_slot(x: float, y: float, side: float) -> None:
    image = np.zeros((150, 200, 3), np.uint8)
    buffer = np.zeros(buffer_size(1, 31), np.uint8)
    assert pack_views([View(image, x, y, side, FILL)], 31, 1, buffer) <= len(buffer)


def test_a_crop_of_a_region_with_more_pixels_is_that_of_opencv() -> None:
    large = cv2.resize(IMAGE, (3840, 2160))
    view = View(large, 2000.3, 1000.7, 1900, FILL)
    (crop,) = crops_of([view], 255, 1)
    assert np.array_equal(crop, view.crop(255))


def test_crops_are_sampled_on_the_device_of_the_buffer() -> None:
    crops = sample_crops(torch.zeros(header_size(2), dtype=torch.uint8, device='meta'), 2, 31)
    assert crops.device.type == 'meta' and crops.shape == (2, 31, 31, 3)
