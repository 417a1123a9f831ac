"""Crops that the device samples, whatever an earlier batch has left in the buffer."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from siamffn_model.imaging.crop import View
from siamffn_model.runtimes.gpu_crops import (
    HEADER_FIELDS,
    buffer_size,
    header_size,
    pack_views,
    sample_crops,
)

IMAGE = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 256, (120, 180, 3), dtype=np.uint8), (0, 0), 2
)
FILL = (10.0, 100.0, 200.0)
SIZE = 15
# Of an old batch: a region that ends far behind the buffer.
OLD_FIELDS = np.array([0, 0, 1, 1e12, 1e3, 1e3, 9, 9, 9])


def sampled(
    views: list[View], size: int, slots: int, buffer: np.ndarray, device: str
) -> np.ndarray:
    used = pack_views(views, size, slots, buffer)
    assert used <= len(buffer)
    return sample_crops(torch.from_numpy(buffer).to(device), slots, size).cpu().numpy()


def test_crops_equal_those_of_opencv(device: str) -> None:
    places = [(90, 60, 40), (10, 110, 64), (170, -20, 9), (400, 60, 30), (90, 60, 300), (5, 5, 2)]
    views = [View(IMAGE, x, y, side, FILL) for x, y, side in places]
    crops = sampled(views, 31, 8, np.zeros(buffer_size(8, 31), np.uint8), device)
    for crop, view in zip(crops, views):
        # OpenCV rounds coordinates to 1/32 pixel: up to eight grey levels at the border to the fill
        difference = np.abs(crop.astype(int) - view.crop(31))
        assert difference.max() <= 8 and difference.mean() < 1


@pytest.mark.parametrize('slots', range(1, 33))
def test_unused_slots_are_black_whatever_the_buffer_contains(slots: int, device: str) -> None:
    assert len(OLD_FIELDS) == HEADER_FIELDS
    views = [View(IMAGE, 9 * n, 5 * n, 4 + n, FILL) for n in range(slots)]
    clean = sampled(views, SIZE, slots, np.zeros(buffer_size(slots, SIZE), np.uint8), device)
    for count in {0, 1, slots // 2, slots - 1, slots}:
        buffer = np.full(buffer_size(slots, SIZE), 255, np.uint8)
        buffer[: header_size(slots)] = np.tile(OLD_FIELDS, slots).view(np.uint8)
        crops = sampled(views[:count], SIZE, slots, buffer, device)
        assert np.array_equal(crops[:count], clean[:count])
        assert not crops[count:].any()
