"""Augmentation of crops."""

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
def test_every_augmentation_changes_the_image_but_not_its_shape_and_type(
    scene: Scene, seed: int
) -> None:
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


def test_colour_jitter_of_strength_zero_changes_nothing(scene: Scene) -> None:
    jitter = ColorJitter.draw(np.random.default_rng(0), 0.0)
    assert np.array_equal(jitter.apply(scene.images[0]), scene.images[0])


def test_greyscale_images_have_equal_channels(scene: Scene) -> None:
    jitter = ColorJitter((1.0, 1.0, 1.0), 0.0, 1.0, grey=True)
    assert np.ptp(jitter.apply(scene.images[0]), axis=2).max() == 0


@pytest.mark.parametrize(('level', 'lowest'), [(0.0, 0), (1.0, 191)])
def test_reduced_contrast_narrows_the_range_of_grey_levels(level: float, lowest: int) -> None:
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    image = reduce_contrast(levels, 0.25, level)
    assert (int(image.min()), int(image.max())) == pytest.approx((lowest, lowest + 63), abs=1)


def test_blur_and_low_resolution_reduce_detail(scene: Scene) -> None:
    image, rng = scene.images[0], np.random.default_rng(1)
    coarse, fine = (simulate_camera(rng, image, factor, False, False) for factor in (4.0, 2.0))
    assert detail(coarse) < detail(fine) < detail(image)
    assert detail(motion_blur(image, rng)) < detail(image)


def test_full_resolution_changes_nothing(scene: Scene) -> None:
    rng = np.random.default_rng(0)
    assert np.array_equal(simulate_camera(rng, scene.images[0], 1.0, False, False), scene.images[0])


@pytest.mark.parametrize(('noisy', 'compressed'), [(True, False), (False, True)])
def test_noise_and_compression_apply_to_the_low_resolution_image(
    noisy: bool, compressed: bool
) -> None:
    smooth = np.full((160, 160, 3), 128, np.uint8)
    cv2.circle(smooth, (80, 80), 40, (60, 120, 180), -1)
    roughness = []
    for factor in (1.0, 4.0):
        rng = np.random.default_rng(2)
        clean = simulate_camera(rng, smooth, factor, False, False).astype(float)
        change = simulate_camera(rng, smooth, factor, noisy, compressed) - clean
        roughness.append(float(np.abs(np.diff(change, axis=1)).mean() / np.abs(change).mean()))
    assert roughness[1] < 0.6 * roughness[0]
