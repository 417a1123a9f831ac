"""Pairs made by pasting cut-out objects on backgrounds: exact boxes, as many as one likes."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from siamffn_model.imaging.crop import Image, context_side
from siamffn_model.imaging.geometry import Box

MASK_MARGIN = 2  # pixels by which a soft mask, interpolated, reaches over its outline


class Sprite(NamedTuple):
    """A cut-out object: its image (H, W, 3), its mask (H, W) and the outline (N, 2) of
    the mask: corners of its pixels, as x, y, counted from the first pixel's centre."""

    image: Image
    mask: Image
    outline: NDArray[np.float32]


class Pose(NamedTuple):
    """How a sprite is turned: angle in degrees, and the factor by which its width grows."""

    angle: float
    stretch: float

    def matrix(self) -> NDArray[np.float64]:
        """Return what turns points (x, y) so: a matrix (2, 2)."""
        turn = np.deg2rad(self.angle)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        return rotation @ np.diag([self.stretch, 1.0])


def make_sprite(image: Image, mask: Image, box: Box) -> Sprite:
    """Cut the object out of its image; `box` is the mask's own."""
    x1, y1 = max(int(box.x) - 2, 0), max(int(box.y) - 2, 0)
    x2, y2 = int(np.ceil(box.x + box.w)) + 2, int(np.ceil(box.y + box.h)) + 2
    mask = mask[y1:y2, x1:x2]
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    pixels = np.concatenate(contours)[:, 0]
    half = 0.5
    corners = np.concatenate([np.add(pixels, (x, y)) for x in (-half, half) for y in (-half, half)])
    hull = cv2.convexHull(corners.astype(np.float32))[:, 0]
    soft = np.asarray(cv2.blur(mask, (3, 3)), np.uint8)
    return Sprite(image[y1:y2, x1:x2], soft, np.asarray(hull, np.float32))


def backdrop(
    image: Image, size: int, center: tuple[float, float], scale: float, angle: float
) -> Image:
    """Show a background in a (size, size) view, with `center` (0..1 of the image) in its middle."""
    height, width = image.shape[:2]
    x, y = center[0] * width, center[1] * height
    matrix = np.asarray(cv2.getRotationMatrix2D((x, y), angle, scale), float)
    matrix[:, 2] += (size / 2 - x, size / 2 - y)
    view = cv2.warpAffine(image, matrix, (size, size), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(view, np.uint8)


def paste(view: Image, sprite: Sprite, pose: Pose, side: float, center: tuple[float, float]) -> Box:
    """Paste a sprite into the view, in place, and return its exact box (not clipped to the view).

    `side` is the side of its context square, in pixels of the view; `center` its box's centre.
    Centres of pixels are whole numbers, as in `crop_box`.
    """
    linear = pose.matrix()
    outline = sprite.outline @ linear.T
    low, high = outline.min(axis=0), outline.max(axis=0)
    scale = side / context_side(*(high - low))
    offset = np.array(center) - scale * (low + high) / 2
    margin = scale * MASK_MARGIN * np.abs(linear).sum(axis=1)
    size = view.shape[1::-1]
    x1, y1 = np.clip(np.floor(scale * low + offset - margin), 0, size).astype(int)
    x2, y2 = np.clip(np.ceil(scale * high + offset + margin) + 1, 0, size).astype(int)
    below = view[y1:y2, x1:x2]
    if below.size:
        matrix = np.hstack([scale * linear, (offset - (x1, y1))[:, None]])
        _blend(below, sprite, matrix, cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR)
    return Box.from_center(*center, *(scale * (high - low)))


def _blend(below: Image, sprite: Sprite, matrix: NDArray[np.float64], flags: int) -> None:
    """Draw a sprite, moved by an affine map (2, 3), over an image, in place."""
    size = below.shape[1::-1]
    colour = cv2.warpAffine(
        sprite.image, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    alpha = cv2.warpAffine(sprite.mask, matrix, size, flags=flags)[..., None].astype(np.uint16)
    mixed = (colour * alpha + below * (255 - alpha) + 127) // 255
    below[:] = mixed.astype(np.uint8)
