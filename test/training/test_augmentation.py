"""What cameras do to images."""

from __future__ import annotations

import numpy as np
import pytest

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.training.augmentation import (
    Look,
    compress,
    few_pixels,
    motion_blur,
    sensor_noise,
)


def detail(image: np.ndarray) -> float:
    return float(np.abs(np.diff(image.astype(float), axis=1)).mean())


@pytest.mark.parametrize('seed', range(5))
def test_all_keep_shape_and_type_and_change_the_image(scene: Scene, seed: int) -> None:
    image = scene.images[0]
    rng = np.random.default_rng(seed)
    for changed in (
        Look.draw(rng, 1.0).apply(image),
        motion_blur(image, rng),
        few_pixels(image, 3.0),
        sensor_noise(image, rng),
        compress(image, rng),
    ):
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8
        assert not np.array_equal(changed, image)


def test_a_look_of_no_strength_changes_nothing(scene: Scene) -> None:
    look = Look.draw(np.random.default_rng(0), 0.0)
    assert np.array_equal(look.apply(scene.images[0]), scene.images[0])


def test_a_grey_look_has_equal_channels(scene: Scene) -> None:
    look = Look((1.0, 1.0, 1.0), 0.0, 1.0, grey=True)
    assert np.ptp(look.apply(scene.images[0]), axis=2).max() == 0


def test_blur_and_few_pixels_lose_detail(scene: Scene) -> None:
    image = scene.images[0]
    assert detail(few_pixels(image, 4.0)) < detail(few_pixels(image, 2.0)) < detail(image)
    assert detail(motion_blur(image, np.random.default_rng(1))) < detail(image)
