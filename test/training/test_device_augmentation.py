"""Augmentation of batches as tensor operations, against that of single crops with OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.imaging.image import Image
from siamffn_model.training.augmentation import ColorJitter
from siamffn_model.training.device_augmentation import (
    add_noise,
    blur_line,
    change_levels,
    compress,
    enlarge,
    greyscale,
    planes,
)
from siamffn_model.training.device_pairs import _compose, _levels


def packed(image: Image) -> Tensor:
    """Return an image as pixels (1, H, W) int32."""
    alpha = np.full(image.shape[:2], 255, np.uint8)
    return torch.from_numpy(np.dstack([image, alpha]).view(np.int32)[None, ..., 0].copy())


def unpacked(pixels: Tensor) -> Image:
    return np.asarray(pixels.view(torch.uint8).view(*pixels.shape, 4)[0, ..., :3].numpy())


def to_image(crops: Tensor) -> Image:
    return enlarge(crops, crops.shape[-1])[0].numpy()


@pytest.fixture
def image(scene: Scene) -> Image:
    return np.ascontiguousarray(scene.images[0][:203, :203])


def test_crops_become_planes_and_bytes_again(image: Image) -> None:
    assert np.array_equal(to_image(planes(packed(image))), image)


@pytest.mark.parametrize('quality', [25, 50, 90])
def test_compression_equals_that_of_jpeg(image: Image, quality: int) -> None:
    """Nearly: the loss, and the result except for the interpolation of colour."""
    data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    expected = cv2.imdecode(data, cv2.IMREAD_COLOR).astype(float)
    crops = planes(packed(image)).repeat(1, 2, 1, 1)
    result = compress(crops, torch.tensor([100.0, quality]))[:, 1].permute(1, 2, 0).numpy()
    loss, expected_loss = (np.abs(other - image).mean() for other in (result, expected))
    assert loss == pytest.approx(expected_loss, rel=0.25)
    assert np.abs(result - expected).mean() < 0.5 * expected_loss + 0.5


@pytest.mark.parametrize(('length', 'degrees'), [(3, 10), (8, 80), (17, 45), (31, 0), (31, 155)])
def test_motion_blur_equals_a_convolution_with_a_line(
    image: Image, length: int, degrees: int
) -> None:
    angle = np.deg2rad(degrees)
    kernel = np.zeros((length, length), np.float32)
    offset = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) / 2
    ends = (((length - 1) / 2 + sign * offset).round().astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, *ends, 1.0)
    expected = cv2.filter2D(image, -1, kernel / kernel.sum())
    result = unpacked(blur_line(packed(image), length + 0.5, angle))
    assert np.abs(result.astype(int) - expected).max() <= 1


def test_noise_has_the_given_deviation() -> None:
    crops = torch.full((3, 2, 100, 100), 128.0)
    noisy = add_noise(crops, torch.tensor([2.0, 12.0]), torch.Generator().manual_seed(0))
    assert noisy.std(dim=(0, 2, 3)).tolist() == pytest.approx([2, 12], rel=0.03)


def test_levels_equal_those_of_colour_jitter(image: Image) -> None:
    bright = ColorJitter((0.8, 1.1, 1.2), 40, 1.3, grey=False)
    dark = ColorJitter((1, 1, 1), -60, 0.7, grey=False)
    expected = image
    changes = []
    for jitter in (bright, dark):
        expected = jitter.apply(expected)
        offset = 127 - 127 * jitter.contrast + jitter.brightness
        changes.append(_levels(np.array(jitter.gain) * jitter.contrast, offset))
    crops = planes(packed(image))
    change_levels(crops, torch.tensor(_compose(*changes)[None], dtype=torch.float32))
    assert np.abs(to_image(crops).astype(int) - expected).max() <= 2


def test_greyscale_equals_that_of_opencv(image: Image) -> None:
    expected = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None]
    assert np.abs(to_image(greyscale(planes(packed(image)))).astype(int) - expected).max() <= 1


def test_crops_are_enlarged_as_by_opencv(image: Image) -> None:
    small = np.ascontiguousarray(image[:90, :90])
    result = enlarge(planes(packed(small)), 255)[0].numpy()
    expected = cv2.resize(small, (255, 255), interpolation=cv2.INTER_LINEAR)
    assert np.abs(result.astype(int) - expected).max() <= 2
