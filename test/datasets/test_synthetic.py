"""Rendered scenes: exact boxes, smooth motion, and the same images for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from siamffn_model.datasets.synthetic import Scene, _paste, render_scene
from siamffn_model.errors import ConfigError
from siamffn_model.imaging.geometry import Box


@pytest.mark.parametrize('size', [(320, 240), (64, 64), (101, 303)])
@pytest.mark.parametrize('seed', range(4))
def test_target_stays_inside_and_moves_smoothly(size: tuple[int, int], seed: int) -> None:
    images, boxes = render_scene(90, size, seed)
    assert len(images) == len(boxes) == 90
    assert all(image.shape == (size[1], size[0], 3) for image in images)
    assert all(image.dtype == np.uint8 for image in images)
    x, y, w, h = np.array(boxes).T
    assert min(x.min(), y.min()) >= 0
    assert (x + w).max() <= size[0] and (y + h).max() <= size[1]
    centres = np.stack([x + w / 2, y + h / 2])
    steps = np.diff(centres)
    assert np.hypot(*steps).max() < 0.3 * np.sqrt(w * h).max()
    assert np.abs(np.diff(steps)).max() < 0.05 * np.sqrt(w * h).max()
    assert np.ptp(w) > 0.02 * w.mean()


def test_result_depends_on_the_seed_only() -> None:
    first, again, other = render_scene(3), render_scene(3), render_scene(3, seed=1)
    assert first.boxes == again.boxes
    assert all(np.array_equal(a, b) for a, b in zip(first.images, again.images, strict=True))
    assert first.boxes != other.boxes
    assert not np.array_equal(first.images[0], other.images[0])


def test_ground_moves_and_is_textured(scene: Scene) -> None:
    corner = [image[:40, :40].astype(float) for image in scene.images]
    assert corner[0].std() > 8
    assert np.abs(corner[0] - corner[10]).mean() > 8


@pytest.mark.parametrize('box', [Box(10, 12, 30, 20), Box(10.25, 12.6, 31.5, 17.3)])
def test_box_is_exact(box: Box) -> None:
    """The grey levels of a white target on black give its extent with subpixel accuracy."""
    image = np.zeros((60, 80, 3), np.uint8)
    _paste(image, np.full((18, 30, 3), 255, np.uint8), np.ones((18, 30), np.float32), box)
    coverage = image[..., 0] / 255
    across, down = coverage.max(axis=0), coverage.max(axis=1)
    assert across.sum() == pytest.approx(box.w, abs=0.25)
    assert down.sum() == pytest.approx(box.h, abs=0.25)
    assert (across * (np.arange(80) + 0.5)).sum() / across.sum() == pytest.approx(box.cx, abs=0.25)
    assert (down * (np.arange(60) + 0.5)).sum() / down.sum() == pytest.approx(box.cy, abs=0.25)


@pytest.mark.parametrize(('frames', 'size'), [(0, (320, 240)), (5, (63, 240))])
def test_rejects_invalid_arguments(frames: int, size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match='at least 1 frame and 64 pixels'):
        render_scene(frames, size)
