"""Images made by pasting cut-out objects on backgrounds, with exact boxes."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from siamffn_model.imaging.crop import context_side
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image

MASK_MARGIN = 2  # pixels by which a blurred mask, interpolated, extends beyond its outline


class Sprite(NamedTuple):
    """A cut-out object.

    Attributes:
        image: BGR (H, W, 3).
        mask: (H, W), 0 outside of the object to 255 inside, blurred at the edge.
        outline: (N, 2), the convex hull of the corners of the mask's pixels, as x, y; the centre
            of the first pixel is (0, 0).
    """

    image: Image
    mask: Image
    outline: NDArray[np.float32]


class Pose(NamedTuple):
    """How a sprite is transformed: its width times `stretch`, then rotated by `angle` degrees."""

    angle: float
    stretch: float

    def matrix(self) -> NDArray[np.float64]:
        """Return the matrix (2, 2) that transforms points (x, y)."""
        radians = np.deg2rad(self.angle)
        rotation = np.array(
            [[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]]
        )
        return rotation @ np.diag([self.stretch, 1.0])


def sprite_corner(box: Box) -> tuple[int, int]:
    """Return x and y of a sprite's first pixel in the image that `make_sprite` cuts it from."""
    return max(int(box.x) - 2, 0), max(int(box.y) - 2, 0)


def make_sprite(image: Image, mask: Image, box: Box) -> Sprite:
    """Cut the object out of its image; `box` is the bounding box of the mask (H, W), 0 or 255."""
    x1, y1 = sprite_corner(box)
    x2, y2 = int(np.ceil(box.x + box.w)) + 2, int(np.ceil(box.y + box.h)) + 2
    mask = mask[y1:y2, x1:x2]
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    pixels = np.concatenate(contours)[:, 0]
    half = 0.5
    corners = np.concatenate([np.add(pixels, (x, y)) for x in (-half, half) for y in (-half, half)])
    hull = cv2.convexHull(corners.astype(np.float32))[:, 0]
    blurred = np.asarray(cv2.blur(mask, (3, 3)), np.uint8)
    return Sprite(image[y1:y2, x1:x2], blurred, np.asarray(hull, np.float32))


def backdrop(
    image: Image, size: int, center: tuple[float, float], scale: float, angle: float
) -> Image:
    """Return a view of a background, mirrored beyond its edges: BGR uint8 (size, size, 3).

    Args:
        image: the background, BGR uint8 (H, W, 3).
        size: side of the view in pixels.
        center: the point in the middle of the view, x and y as fractions of the image's size.
        scale: pixels of the view per pixel of the image.
        angle: rotation in degrees.
    """
    height, width = image.shape[:2]
    x, y = center[0] * width, center[1] * height
    matrix = np.asarray(cv2.getRotationMatrix2D((x, y), angle, scale), float)
    matrix[:, 2] += (size / 2 - x, size / 2 - y)
    view = cv2.warpAffine(image, matrix, (size, size), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(view, np.uint8)


def paste(view: Image, sprite: Sprite, pose: Pose, side: float, center: tuple[float, float]) -> Box:
    """Paste a sprite into an image, in place, and return its exact box, not clipped to the image.

    Coordinates are counted so that the centre of the first pixel is (0, 0), as in `crop_box`.

    Args:
        view: the image, BGR uint8 (H, W, 3).
        sprite: the object.
        pose: its rotation and stretch.
        side: side of its context square (see `context_side`) in pixels of the view.
        center: centre of its box in pixels of the view.
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
    region = view[y1:y2, x1:x2]
    if region.size:
        matrix = np.hstack([scale * linear, (offset - (x1, y1))[:, None]])
        _blend(region, sprite, matrix, cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR)
    return Box.from_center(*center, *(scale * (high - low)))


def _blend(region: Image, sprite: Sprite, matrix: NDArray[np.float64], flags: int) -> None:
    """Blend a sprite, transformed by an affine matrix (2, 3), into an image in place."""
    size = region.shape[1::-1]
    colour = cv2.warpAffine(
        sprite.image, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    alpha = cv2.warpAffine(sprite.mask, matrix, size, flags=flags)[..., None].astype(np.uint16)
    mixed = (colour * alpha + region * (255 - alpha) + 127) // 255
    region[:] = mixed.astype(np.uint8)


def rotate_and_stretch(rng: np.random.Generator, image: Image, box: Box) -> tuple[Image, Box]:
    """Rotate and stretch an image slightly, at random, as `transform` does."""
    return transform(image, box, Pose(rng.normal(0, 5), float(np.exp(rng.normal(0, 0.08)))))


def transform(image: Image, box: Box, pose: Pose) -> tuple[Image, Box]:
    """Rotate and stretch an image around the centre of a box; the box is stretched, not rotated."""
    linear = pose.matrix()
    center = np.array([box.cx, box.cy]) - 0.5  # in OpenCV the centre of the first pixel is (0, 0)
    matrix = np.column_stack([linear, center - linear @ center])
    warped = cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT_101)
    stretched = Box.from_center(box.cx, box.cy, box.w * pose.stretch, box.h)
    return np.asarray(warped, np.uint8), stretched
