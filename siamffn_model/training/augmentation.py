"""Augmentation of crops: colour, contrast, motion blur, resolution, sensor noise, compression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from siamffn_model.imaging.image import Image

if TYPE_CHECKING:
    from siamffn_model.training.recipe import Augmentation

MAX_DOWNSAMPLING = 5.0  # factor of each side
MIN_CONTRAST = 0.25


@dataclass(frozen=True)
class ColorJitter:
    """A change of colour: gain of each channel (BGR), added brightness, contrast, and greyscale."""

    gain: tuple[float, float, float]
    brightness: float
    contrast: float
    grey: bool

    @classmethod
    def draw(cls, rng: np.random.Generator, strength: float, grey: float = 0.0) -> ColorJitter:
        """Draw a change at random.

        `strength` is from 0, no change, to 1; `grey` is the probability of greyscale.
        """
        blue, green, red = 1 + strength * rng.uniform(-0.3, 0.3, 3)
        brightness = strength * rng.uniform(-50, 50)
        contrast = 1 + strength * rng.uniform(-0.4, 0.4)
        return cls((blue, green, red), brightness, contrast, bool(rng.random() < grey))

    def apply(self, image: Image) -> Image:
        """Return the changed image (H, W, 3)."""
        if self.grey:
            grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
            image = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)
        levels = np.arange(256)[:, None] * np.array(self.gain)
        levels = (levels - 127) * self.contrast + 127 + self.brightness
        table = levels.clip(0, 255).astype(np.uint8)[:, None]
        return np.asarray(cv2.LUT(image, table), np.uint8)


def augment(
    rng: np.random.Generator, template: Image, search: Image, augmentation: Augmentation
) -> tuple[Image, Image]:
    """Return both crops, changed at random.

    Both get the same camera (colour, contrast, resolution, noise, compression); light and motion
    blur differ between them.
    """
    camera = ColorJitter.draw(rng, augmentation.colour, augmentation.grey)
    template, search = camera.apply(template), camera.apply(search)
    template = ColorJitter.draw(rng, augmentation.light).apply(template)
    search = ColorJitter.draw(rng, augmentation.light).apply(search)
    if rng.random() < augmentation.faint:
        contrast, level = rng.uniform(MIN_CONTRAST, 1), rng.random()
        template, search = (reduce_contrast(crop, contrast, level) for crop in (template, search))
    if rng.random() < augmentation.blur:
        search = motion_blur(search, rng)
    downsampled, noisy, compressed = rng.random(3) < (
        augmentation.pixels,
        augmentation.noise,
        augmentation.compression,
    )
    factor = float(np.exp(rng.uniform(0, np.log(MAX_DOWNSAMPLING)))) if downsampled else 1.0
    return (
        simulate_camera(rng, template, factor, noisy, compressed),
        simulate_camera(rng, search, factor, noisy, compressed),
    )


def simulate_camera(
    rng: np.random.Generator, image: Image, factor: float, noisy: bool, compressed: bool
) -> Image:
    """Return the crop as from a frame in which the target is `factor` times smaller.

    Noise and compression apply to the smaller image, before it is enlarged to the size of the crop.
    """
    height, width = image.shape[:2]
    size = (max(int(width / factor), 8), max(int(height / factor), 8))
    frame = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    if noisy:
        frame = sensor_noise(frame, rng)
    if compressed:
        frame = compress(frame, rng)
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def reduce_contrast(image: Image, contrast: float, level: float) -> Image:
    """Scale the range of grey levels by `contrast`, 0 to 1.

    `level` positions the new range: 0 at the dark end, 1 at the bright end, as in fog.
    """
    brightness = (1 - contrast) * (255 * level - 127)
    return ColorJitter((1.0, 1.0, 1.0), brightness, contrast, grey=False).apply(image)


def motion_blur(image: Image, rng: np.random.Generator) -> Image:
    """Blur the image along a random direction, by 3 to 31 pixels; short blurs are more frequent."""
    length = int(3 * (32 / 3) ** rng.random())
    kernel = line_kernel(length, rng.uniform(0, np.pi))
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def line_kernel(length: int, angle: float) -> NDArray[np.float32]:
    """Return a kernel (length, length): 1 on a line through its middle, at an angle in radians."""
    kernel = np.zeros((length, length), np.float32)
    offset = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) / 2
    start, end = (length - 1) / 2 - offset, (length - 1) / 2 + offset
    cv2.line(kernel, start.round().astype(int).tolist(), end.round().astype(int).tolist(), 1.0)
    return kernel


def sensor_noise(image: Image, rng: np.random.Generator) -> Image:
    """Add Gaussian noise with a standard deviation of 2 to 12 grey levels."""
    noise = rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(2, 12)
    return (image + noise).clip(0, 255).astype(np.uint8)


def compress(image: Image, rng: np.random.Generator) -> Image:
    """Encode and decode the image as JPEG of quality 25 to 90."""
    quality = int(rng.integers(25, 91))
    _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
