"""Pasted objects are exactly in their boxes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from siamffn_model.datasets.copy_paste import Pose, backdrop, make_sprite, paste
from siamffn_model.imaging.crop import context_side
from siamffn_model.imaging.geometry import Box

WHITE = np.full((100, 120, 3), 255, np.uint8)


def ellipse() -> tuple[np.ndarray, Box]:
    """Return the mask (100, 120) of an ellipse and its bounding box."""
    mask = np.zeros((100, 120), np.uint8)
    cv2.ellipse(mask, (60, 50), (40, 20), 0, 0, 360, 255, -1)
    return mask, Box(*map(float, cv2.boundingRect(mask)))


@pytest.mark.parametrize('pose', [Pose(0, 1), Pose(30, 1), Pose(-75, 1.4)])
@pytest.mark.parametrize('side', [60, 160])
def test_box_fits_the_pixels(pose: Pose, side: float) -> None:
    mask, box = ellipse()
    view = np.zeros((255, 255, 3), np.uint8)
    pasted = paste(view, make_sprite(WHITE, mask, box), pose, side, (100, 140))
    assert context_side(pasted.w, pasted.h) == pytest.approx(side)
    assert (pasted.cx, pasted.cy) == pytest.approx((100, 140))
    visible = cv2.boundingRect((view[..., 0] > 127).astype(np.uint8))
    assert visible == pytest.approx(pasted, abs=2.5)


def test_only_the_object_is_pasted() -> None:
    mask, box = ellipse()
    view = np.full((255, 255, 3), 7, np.uint8)
    pasted = paste(view, make_sprite(WHITE, mask, box), Pose(0, 1), 127, (127, 127))
    x, y, w, h = map(round, pasted)
    assert (view[y + 1, x + 1] == 7).all()
    assert (view[y + h // 2, x + w // 2] == 255).all()


def test_box_may_extend_outside_the_image() -> None:
    mask, box = ellipse()
    view = np.zeros((127, 127, 3), np.uint8)
    pasted = paste(view, make_sprite(WHITE, mask, box), Pose(0, 1), 127, (0, 60))
    assert pasted.x < 0
    assert pasted.cx == pytest.approx(0)


def test_a_backdrop_fills_the_view() -> None:
    image = np.full((30, 40, 3), 200, np.uint8)
    view = backdrop(image, 255, (0.5, 0.5), 1.0, 20)
    assert view.shape == (255, 255, 3)
    assert (view > 190).all()
