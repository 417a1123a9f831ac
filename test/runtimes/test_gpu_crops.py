"""Crops cut from windows are those that OpenCV cuts from whole images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from siamffn_model.imaging.crop import View
from siamffn_model.runtimes.gpu_crops import bytes_needed, head_size, pack, sample

NOISE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
IMAGE = cv2.GaussianBlur(NOISE, (0, 0), 2)
FILL = (10.0, 100.0, 200.0)


def cut(views: list[View], size: int, slots: int) -> np.ndarray:
    buffer = np.zeros(head_size(slots) + bytes_needed(views, size), np.uint8)
    used = pack(views, size, slots, buffer)
    assert used <= len(buffer)
    return sample(torch.from_numpy(buffer), slots, size).numpy()


@settings(max_examples=60, deadline=None)
@given(st.floats(-30, 120), st.floats(-30, 90), st.floats(2, 200))
def test_a_view_is_cut_as_opencv_cuts_it(x: float, y: float, side: float) -> None:
    view = View(IMAGE, x, y, side, FILL)
    (found,) = cut([view], 31, 1)
    # OpenCV rounds places to 1/32 of a pixel, which at an edge to the fill is up to eight levels
    difference = np.abs(found.astype(int) - view.crop(31))
    assert difference.max() <= 8 and difference.mean() < 1


def test_views_of_several_images_are_cut_together() -> None:
    other = np.ascontiguousarray(IMAGE[::-1, :50])
    views = [
        View(IMAGE, 30, 30, 40, FILL),
        View(other, 10, 50, 64, FILL),
        View(IMAGE, 80, 5, 9, FILL),
    ]
    found = cut(views, 31, 4)
    assert found.shape == (4, 31, 31, 3)
    for one, view in zip(found, views):
        assert np.abs(one.astype(int) - view.crop(31)).max() <= 8


@pytest.mark.parametrize(('x', 'y'), [(-500, 30), (45, 1e6)])
def test_a_view_beside_the_image_shows_the_fill(x: float, y: float) -> None:
    (found,) = cut([View(IMAGE, x, y, 20, FILL)], 31, 1)
    assert (found == FILL).all()


def test_only_what_is_shown_is_uploaded() -> None:
    large = np.zeros((2160, 3840, 3), np.uint8)
    view = View(large, 2000, 1000, 200, FILL)
    assert bytes_needed([view], 255) - head_size(1) == pytest.approx(3 * 200**2, rel=0.03)


def test_crops_are_cut_on_the_device_of_the_buffer() -> None:
    crops = sample(torch.zeros(head_size(2), dtype=torch.uint8, device='meta'), 2, 31)
    assert crops.device.type == 'meta' and crops.shape == (2, 31, 31, 3)
