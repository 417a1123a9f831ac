"""Pairs made by pasting cut-out objects on backgrounds: exact boxes, as many as one likes."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from siamffn_model.geometry import Box
from siamffn_model.tracking.crop import Image, context_side


class Sprite(NamedTuple):
    """A cut-out object: its image (H, W, 3), its mask (H, W) and the outline (N, 2) of
    the mask: corners of its pixels, as x, y."""

    image: Image
    mask: Image
    outline: NDArray[np.float32]


class Pose(NamedTuple):
    """How a sprite is turned: angle in degrees, and the factor by which its width grows."""

    angle: float
    stretch: float


def make_sprite(image: Image, mask: Image, box: Box) -> Sprite:
    """Cut the object out of its image; `box` is the mask's own."""
    x1, y1 = max(int(box.x) - 2, 0), max(int(box.y) - 2, 0)
    x2, y2 = int(np.ceil(box.x + box.w)) + 2, int(np.ceil(box.y + box.h)) + 2
    mask = mask[y1:y2, x1:x2]
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    pixels = np.concatenate(contours)[:, 0]
    corners = np.concatenate([pixels + corner for corner in ((0, 0), (1, 0), (0, 1), (1, 1))])
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
    """
    turn = np.deg2rad(pose.angle)
    linear = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.diag(
        [pose.stretch, 1.0]
    )
    outline = sprite.outline @ linear.T
    low, high = outline.min(axis=0), outline.max(axis=0)
    scale = side / context_side(*(high - low))
    offset = np.array(center) - scale * (low + high) / 2
    matrix = np.hstack([scale * linear, offset[:, None]])
    size = view.shape[1::-1]
    flags = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
    colour = cv2.warpAffine(
        sprite.image, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    alpha = cv2.warpAffine(sprite.mask, matrix, size, flags=flags)[..., None].astype(np.uint16)
    mixed = (colour * alpha + view * (255 - alpha) + 127) // 255
    view[:] = mixed.astype(np.uint8)
    return Box.from_center(*center, *(scale * (high - low)))
