"""Rendered scenes with exact boxes: ground truth for tests and training without any data files."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from siamffn_model.errors import ConfigError
from siamffn_model.imaging.geometry import Box

MIN_SIDE = 64  # pixels of the image's shorter side
TARGET_SIDE = 0.19  # height of the target as a fraction of the image's shorter side
SCALE_AMPLITUDE = 0.15  # relative change of the target's size
BORDER = 2.0  # pixels between the target and the image border, at least
MAX_AMPLITUDE = 3.0  # of the target's motion, in sides of the target, however large the image is


class Scene(NamedTuple):
    """A rendered video: BGR uint8 images (H, W, 3) and the target's box in each."""

    images: list[np.ndarray]
    boxes: list[Box]


def render_scene(frames: int = 60, size: tuple[int, int] = (320, 240), seed: int = 0) -> Scene:
    """Render a textured target that moves over textured ground, seen by a moving camera.

    Both move smoothly with changing speed and direction. The camera also rolls and zooms slightly,
    and the target changes its size. The target is always completely inside the image.

    Args:
        frames: number of images, at least 1.
        size: (width, height) in pixels, each at least 64.
        seed: seed of all random values.

    Raises:
        ConfigError: `frames` or `size` is too small.
    """
    width, height = size
    if frames < 1 or min(size) < MIN_SIDE:
        raise ConfigError(
            f'cannot render {frames} frames of {width}x{height}: '
            f'request at least 1 frame and {MIN_SIDE} pixels a side'
        )
    rng = np.random.default_rng(seed)
    ground = _ground(rng, size)
    patch, mask = _target(rng, round(TARGET_SIDE * min(size)))
    boxes = _target_path(rng, frames, size, patch.shape[1], patch.shape[0])
    images = []
    for view, box in zip(_camera_path(rng, frames, size), boxes, strict=True):
        image = cv2.warpAffine(ground, view, size, borderMode=cv2.BORDER_REFLECT)
        _paste(image, patch, mask, box)
        images.append(image)
    return Scene(images, boxes)


def _noise(rng: np.random.Generator, width: int, height: int, cells: list[int]) -> np.ndarray:
    """Return smooth noise (height, width, 3), float32 with a standard deviation of about 1.

    It is the sum of one layer for each cell size in pixels.
    """
    total = np.zeros((height, width, 3), np.float32)
    for cell in cells:
        grid = (math.ceil(height / cell) + 1, math.ceil(width / cell) + 1)
        grey = rng.standard_normal((*grid, 1), dtype=np.float32)
        tint = 0.35 * rng.standard_normal((*grid, 3), dtype=np.float32)
        total += cv2.resize(grey + tint, (width, height), interpolation=cv2.INTER_CUBIC)
    total /= math.sqrt(len(cells))
    return total


def _ground(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Return the ground (2 * height, 2 * width, 3): noise of several scales with random patches."""
    width, height = 2 * size[0], 2 * size[1]
    colour = rng.uniform((60, 85, 75), (95, 120, 110)).astype(np.float32)
    shades = colour + 22 * _noise(rng, width, height, [3, 8, 24, 64])
    ground: np.ndarray = np.clip(shades, 0, 255).astype(np.uint8)
    side = TARGET_SIDE * min(size)
    for _ in range(60):
        centre = rng.integers((0, 0), (width, height))
        axes = rng.uniform(0.15 * side, 0.6 * side, 2)
        patch_colour = np.clip(colour + rng.normal(0, 28, 3), 0, 255)
        rect = (centre.astype(float).tolist(), axes.tolist(), float(rng.uniform(0, 180)))
        if rng.random() < 0.5:
            cv2.ellipse(ground, rect, patch_colour.tolist(), -1, cv2.LINE_AA)
        else:
            corners = np.round(cv2.boxPoints(rect)).astype(np.int32)
            cv2.fillConvexPoly(ground, corners, patch_colour.tolist(), cv2.LINE_AA)
    return ground


def _target(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the target's image (h, w, 3), uint8, and its mask (h, w), float32 from 0 to 1.

    The mask is a rounded rectangle that touches all four edges.
    """
    height, width = side, round(side * rng.uniform(1.0, 1.4))
    hues = (rng.integers(0, 180) + np.array([0, 70, 115])) % 180
    hsv = np.stack([hues, [210, 190, 170], [235, 70, 190]], -1)[None].astype(np.uint8)
    body, stripe, spot = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0].astype(float).tolist()
    patch = np.full((height, width, 3), body, np.uint8)
    offset = width * rng.uniform(0.15, 0.3)
    for x in (offset, width - offset):
        cv2.line(patch, (round(x), 0), (round(x - 0.1 * width), height), stripe, side // 8 + 1)
    centre = np.round(rng.uniform((0.4, 0.25), (0.6, 0.75)) * (width, height)).astype(int)
    cv2.circle(patch, centre.tolist(), side // 5, spot, -1)
    noise = 16 * _noise(rng, width, height, [2, 5])
    patch = np.clip(patch.astype(np.float32) + noise, 0, 255).astype(np.uint8)
    radius = side // 3
    mask = np.zeros((height, width), np.float32)
    cv2.rectangle(mask, (radius, 0), (width - 1 - radius, height - 1), 1.0, -1)
    cv2.rectangle(mask, (0, radius), (width - 1, height - 1 - radius), 1.0, -1)
    for x in (radius, width - 1 - radius):
        for y in (radius, height - 1 - radius):
            cv2.circle(mask, (x, y), radius, 1.0, -1)
    return patch, mask


def smooth_curve(rng: np.random.Generator, frames: int, slow: float, fast: float) -> np.ndarray:
    """Return the sum (frames,) of a slow and a fast sine with the given amplitudes.

    The periods, in frames, and the phases are random.
    """
    t = np.arange(frames)
    periods = rng.uniform((90, 28), (140, 45))
    phases = rng.uniform(0, 2 * math.pi, 2)
    sines = np.sin(2 * math.pi * t[:, None] / periods + phases) * (slow, fast)
    curve: np.ndarray = sines.sum(axis=1)
    return curve


def _target_path(
    rng: np.random.Generator, frames: int, size: tuple[int, int], width: int, height: int
) -> list[Box]:
    """Return the boxes of a target of about this width and height, all inside the image."""
    scale = 1 + smooth_curve(rng, frames, SCALE_AMPLITUDE, 0)
    room_x, room_y = (
        min(image / 2 - BORDER - side * (1 + SCALE_AMPLITUDE) / 2, MAX_AMPLITUDE * side)
        for image, side in zip(size, (width, height), strict=True)
    )
    cx = size[0] / 2 + smooth_curve(rng, frames, 0.8 * room_x, 0.1 * room_x)
    cy = size[1] / 2 + smooth_curve(rng, frames, 0.8 * room_y, 0.1 * room_y)
    return [
        Box.from_center(float(x), float(y), float(s * width), float(s * height))
        for x, y, s in zip(cx, cy, scale, strict=True)
    ]


def _camera_path(rng: np.random.Generator, frames: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Return affine matrices (2, 3) from the ground to the image, one for each frame."""
    width, height = size
    pan_x = width + smooth_curve(rng, frames, 0.2 * width, 0.02 * width)
    pan_y = height + smooth_curve(rng, frames, 0.2 * height, 0.02 * height)
    roll = smooth_curve(rng, frames, 4, 0.5)  # degrees
    zoom = 1.1 + smooth_curve(rng, frames, 0.08, 0)
    views = []
    for x, y, angle, factor in zip(pan_x, pan_y, roll, zoom, strict=True):
        view = cv2.getRotationMatrix2D((float(x), float(y)), float(angle), float(factor))
        view[:, 2] += (width / 2 - x, height / 2 - y)
        views.append(view)
    return views


def _paste(image: np.ndarray, patch: np.ndarray, mask: np.ndarray, box: Box) -> None:
    """Draw the patch into `box` of the image, in place, with subpixel accuracy."""
    x0, y0 = math.floor(box.x), math.floor(box.y)
    x1, y1 = math.ceil(box.x + box.w), math.ceil(box.y + box.h)
    sx, sy = box.w / patch.shape[1], box.h / patch.shape[0]
    # The first pixel's centre is (0, 0) for OpenCV and (0.5, 0.5) for a box; hence the 0.5s.
    matrix = np.array([[sx, 0, box.x - x0 + 0.5 * sx - 0.5], [0, sy, box.y - y0 + 0.5 * sy - 0.5]])
    window = (x1 - x0, y1 - y0)
    colour = cv2.warpAffine(patch, matrix, window, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(mask, matrix, window)[..., None]
    region = image[y0:y1, x0:x1]
    region[:] = np.round(alpha * colour + (1 - alpha) * region).astype(np.uint8)
