"""Square crops around a target: the input of the networks."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image

TEMPLATE_SIZE = 127  # side of the template crop in pixels
SEARCH_SIZE = 255  # side of the search crop in pixels
CONTEXT_AMOUNT = 0.5  # fraction of w + h that is added to both sides (SiamFC, section 4.1)


class View(NamedTuple):
    """A square region of an image.

    Attributes:
        image: BGR uint8 (H, W, 3).
        x: horizontal centre in pixels. As in boxes, the centre of the first pixel is at 0.5.
        y: vertical centre in pixels.
        side: side of the square in pixels.
        fill: colour (BGR) of the pixels outside the image.
    """

    image: Image
    x: float
    y: float
    side: float
    fill: tuple[float, ...]

    def crop(self, size: int) -> Image:
        """Return the region, resized to (size, size, 3)."""
        return crop_window(self.image, (self.x, self.y), (self.side, self.side), size, self.fill)


def context_side(w: float, h: float) -> float:
    """Return the side of the template region, in pixels, for a target of size (w, h).

    It is sqrt((w + p)(h + p)) with p = (w + h) / 2 (SiamFC, section 4.1).
    """
    margin = CONTEXT_AMOUNT * (w + h)
    return float(np.sqrt((w + margin) * (h + margin)))


def search_side(w: float, h: float) -> float:
    """Return the side of the search region, in pixels, for a target of size (w, h).

    The search crop has the same scale as the template crop.
    """
    return context_side(w, h) * SEARCH_SIZE / TEMPLATE_SIZE


def search_region(box: Box) -> Box:
    """Return the square that is searched for a target whose last box is `box`, in pixels."""
    side = search_side(box.w, box.h)
    return Box.from_center(box.cx, box.cy, side, side)


def crop_window(
    image: Image,
    center: tuple[float, float],
    sides: tuple[float, float],
    size: int,
    fill: tuple[float, ...],
) -> Image:
    """Crop the window with this centre, width and height, and stretch it to (size, size, 3).

    Coordinates are those of `View`; `fill` is the colour (BGR) of the pixels outside the image.
    """
    scale_x, scale_y = (side / size for side in sides)
    middle = (size - 1) / 2
    # In OpenCV, the centre of the first pixel is at 0, not at 0.5.
    x, y = center[0] - 0.5 - scale_x * middle, center[1] - 0.5 - scale_y * middle
    matrix = np.array([[scale_x, 0, x], [0, scale_y, y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(
        image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=fill
    )
    return np.asarray(crop, np.uint8)


def crop_box(box: Box, center: tuple[float, float], sides: tuple[float, float], size: int) -> Box:
    """Return `box` in the coordinates of the crop that `crop_window` makes with these arguments.

    In the crop, the centres of pixels are at integers, as those of the score map's cells are.
    """
    scale_x, scale_y = (size / side for side in sides)
    middle = (size - 1) / 2
    return Box(
        (box.x - center[0]) * scale_x + middle,
        (box.y - center[1]) * scale_y + middle,
        box.w * scale_x,
        box.h * scale_y,
    )


def mean_colour(image: Image) -> tuple[float, float, float]:
    """Return the mean (B, G, R) of an image."""
    blue, green, red = cv2.mean(image)[:3]
    return blue, green, red
