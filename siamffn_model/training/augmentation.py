"""What cameras do to images: colour, blur, few pixels, noise and compression."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from siamffn_model.imaging.crop import Image
from siamffn_model.training.recipe import Augmentation

FEWEST = 5.0  # times fewer pixels a side, at most
LEAST_CONTRAST = 0.25


@dataclass(frozen=True)
class ColorJitter:
    """Colour of one view: gain a channel (BGR), added brightness, contrast, and grey or not."""

    gain: tuple[float, float, float]
    brightness: float
    contrast: float
    grey: bool

    @classmethod
    def draw(cls, rng: np.random.Generator, strength: float, grey: float = 0.0) -> ColorJitter:
        """Draw a look; `strength` 0 changes nothing, 1 much; `grey` is the share of grey views."""
        blue, green, red = 1 + strength * rng.uniform(-0.3, 0.3, 3)
        brightness, contrast = (
            strength * rng.uniform(-50, 50),
            1 + strength * rng.uniform(-0.4, 0.4),
        )
        return cls((blue, green, red), brightness, contrast, bool(rng.random() < grey))

    def apply(self, image: Image) -> Image:
        """Return the image (H, W, 3) in this look."""
        if self.grey:
            grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
            image = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)
        levels = np.arange(256)[:, None] * np.array(self.gain)
        levels = (levels - 127) * self.contrast + 127 + self.brightness
        table = levels.clip(0, 255).astype(np.uint8)[:, None]
        return np.asarray(cv2.LUT(image, table), np.uint8)


def distort(
    rng: np.random.Generator, template: Image, search: Image, how: Augmentation
) -> tuple[Image, Image]:
    """Let one camera have taken both crops, under light that changed between them."""
    look = ColorJitter.draw(rng, how.colour, how.grey)
    template, search = look.apply(template), look.apply(search)
    template = ColorJitter.draw(rng, how.light).apply(template)
    search = ColorJitter.draw(rng, how.light).apply(search)
    if rng.random() < how.faint:
        contrast, darkest = rng.uniform(LEAST_CONTRAST, 1), rng.random()
        template, search = (faint(crop, contrast, darkest) for crop in (template, search))
    if rng.random() < how.blur:
        search = motion_blur(search, rng)
    few, noisy, compressed = rng.random(3) < (how.pixels, how.noise, how.compression)
    factor = float(np.exp(rng.uniform(0, np.log(FEWEST)))) if few else 1.0
    return (
        recorded(rng, template, factor, noisy, compressed),
        recorded(rng, search, factor, noisy, compressed),
    )


def recorded(
    rng: np.random.Generator, image: Image, factor: float, noisy: bool, compressed: bool
) -> Image:
    """Show the image as if its target had been `factor` times smaller in the camera's frame.

    Noise and compression are of the camera's pixels, which the crop enlarges.
    """
    height, width = image.shape[:2]
    small = (max(int(width / factor), 8), max(int(height / factor), 8))
    frame = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
    if noisy:
        frame = sensor_noise(frame, rng)
    if compressed:
        frame = compress(frame, rng)
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def faint(image: Image, contrast: float, darkest: float) -> Image:
    """Press all grey levels into the share `contrast`; `darkest` 0 is dark, 1 is foggy."""
    brightness = (1 - contrast) * (255 * darkest - 127)
    return ColorJitter((1.0, 1.0, 1.0), brightness, contrast, grey=False).apply(image)


def motion_blur(image: Image, rng: np.random.Generator) -> Image:
    """Smear the image along a random direction, by 3 to 31 pixels, mostly few."""
    length = int(3 * (32 / 3) ** rng.random())
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    reach = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) / 2
    start, end = (length - 1) / 2 - reach, (length - 1) / 2 + reach
    cv2.line(kernel, start.round().astype(int).tolist(), end.round().astype(int).tolist(), 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def sensor_noise(image: Image, rng: np.random.Generator) -> Image:
    """Add normal noise of 2 to 12 grey levels."""
    noise = rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(2, 12)
    return (image + noise).clip(0, 255).astype(np.uint8)


def compress(image: Image, rng: np.random.Generator) -> Image:
    """Write and read the image as JPEG of quality 25 to 90."""
    quality = int(rng.integers(25, 91))
    _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
