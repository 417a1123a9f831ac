"""What cameras do to images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.training.augmentation import (
    ColorJitter,
    compress,
    motion_blur,
    reduce_contrast,
    sensor_noise,
    simulate_camera,
)


def detail(image: np.ndarray) -> float:
    return float(np.abs(np.diff(image.astype(float), axis=1)).mean())


@pytest.mark.parametrize('seed', range(5))
def test_all_keep_shape_and_type_and_change_the_image(scene: Scene, seed: int) -> None:
    image = scene.images[0]
    rng = np.random.default_rng(seed)
    for changed in (
        ColorJitter.draw(rng, 1.0).apply(image),
        motion_blur(image, rng),
        simulate_camera(rng, image, 3.0, False, False),
        sensor_noise(image, rng),
        compress(image, rng),
        reduce_contrast(image, 0.5, 0.3),
    ):
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8
        assert not np.array_equal(changed, image)


def test_a_look_of_no_strength_changes_nothing(scene: Scene) -> None:
    look = ColorJitter.draw(np.random.default_rng(0), 0.0)
    assert np.array_equal(look.apply(scene.images[0]), scene.images[0])


def test_a_grey_look_has_equal_channels(scene: Scene) -> None:
    look = ColorJitter((1.0, 1.0, 1.0), 0.0, 1.0, grey=True)
    assert np.ptp(look.apply(scene.images[0]), axis=2).max() == 0


@pytest.mark.parametrize(('darkest', 'lowest'), [(0.0, 0), (1.0, 191)])
def test_a_faint_image_has_a_share_of_the_contrast(darkest: float, lowest: int) -> None:
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    image = reduce_contrast(levels, 0.25, darkest)
    assert (int(image.min()), int(image.max())) == pytest.approx((lowest, lowest + 63), abs=1)


def test_blur_and_few_pixels_lose_detail(scene: Scene) -> None:
    image, rng = scene.images[0], np.random.default_rng(1)
    coarse, fine = (simulate_camera(rng, image, factor, False, False) for factor in (4.0, 2.0))
    assert detail(coarse) < detail(fine) < detail(image)
    assert detail(motion_blur(image, rng)) < detail(image)


def test_a_camera_with_all_pixels_changes_nothing(scene: Scene) -> None:
    rng = np.random.default_rng(0)
    assert np.array_equal(simulate_camera(rng, scene.images[0], 1.0, False, False), scene.images[0])


@pytest.mark.parametrize(('noisy', 'compressed'), [(True, False), (False, True)])
def test_noise_and_compression_are_as_coarse_as_the_cameras_pixels(
    noisy: bool, compressed: bool
) -> None:
    smooth = np.full((160, 160, 3), 128, np.uint8)
    cv2.circle(smooth, (80, 80), 40, (60, 120, 180), -1)
    seen = []
    for factor in (1.0, 4.0):
        rng = np.random.default_rng(2)
        clean = simulate_camera(rng, smooth, factor, False, False).astype(float)
        change = simulate_camera(rng, smooth, factor, noisy, compressed) - clean
        seen.append(float(np.abs(np.diff(change, axis=1)).mean() / np.abs(change).mean()))
    assert seen[1] < 0.6 * seen[0]
