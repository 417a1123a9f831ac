"""Square crops round a target, as the network wants them."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from siamffn_model.errors import ImageError
from siamffn_model.imaging.geometry import Box

TEMPLATE_SIZE = 127  # pixels of the template crop's side
SEARCH_SIZE = 255  # pixels of the search crop's side
CONTEXT = 0.5  # share of the mean side that is added to both sides (SiamFC, section 4.1)

Image = NDArray[np.uint8]


class View(NamedTuple):
    """A square of an image: its centre and side in pixels, and the colour (BGR) beyond the image.

    The image's pixels count from their edges, as boxes do, so that its first pixel's centre is
    (0.5, 0.5).
    """

    image: Image
    x: float
    y: float
    side: float
    fill: tuple[float, ...]

    def crop(self, size: int) -> Image:
        """Cut the square and scale it to (size, size, 3)."""
        return crop_window(self.image, (self.x, self.y), (self.side, self.side), size, self.fill)


def check_image(image: Any) -> Image:
    """Return the image if it is BGR uint8 (H, W, 3) and not empty, else raise `ImageError`."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(f'image is {kind}: give a BGR uint8 array of shape (H, W, 3)')
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(f'image has shape {image.shape}: give a BGR uint8 array (H, W, 3)')
    return image


def context_side(w: float, h: float) -> float:
    """Return the side, in pixels, of the template's square for a target of size (w, h).

    The square's area is (w + p)(h + p) with p = (w + h) / 2.
    """
    margin = CONTEXT * (w + h)
    return float(np.sqrt((w + margin) * (h + margin)))


def search_side(w: float, h: float) -> float:
    """Return the side of the search's square, which is as much larger as its crop is."""
    return context_side(w, h) * SEARCH_SIZE / TEMPLATE_SIZE


def crop_window(
    image: Image,
    center: tuple[float, float],
    sides: tuple[float, float],
    size: int,
    fill: tuple[float, ...],
) -> Image:
    """Cut the window of this centre, width and height, and stretch it to (size, size, 3).

    See `View` for where pixels are; `fill` is the colour (BGR) beyond the image.
    """
    across, down = (side / size for side in sides)
    middle = (size - 1) / 2
    x, y = center[0] - 0.5 - across * middle, center[1] - 0.5 - down * middle  # OpenCV's is (0, 0)
    matrix = np.array([[across, 0, x], [0, down, y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(
        image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=fill
    )
    return np.asarray(crop, np.uint8)


def crop_box(box: Box, center: tuple[float, float], sides: tuple[float, float], size: int) -> Box:
    """Return where `box` lies in the crop that `crop_window` cuts with the same numbers.

    In the crop the centres of pixels are whole numbers, as those of the score map's cells are.
    """
    across, down = (size / side for side in sides)
    middle = (size - 1) / 2
    return Box(
        (box.x - center[0]) * across + middle,
        (box.y - center[1]) * down + middle,
        box.w * across,
        box.h * down,
    )


def mean_colour(image: Image) -> tuple[float, float, float]:
    """Return the mean of each channel."""
    blue, green, red = cv2.mean(image)[:3]
    return blue, green, red
