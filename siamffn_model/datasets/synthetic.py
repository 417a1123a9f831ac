"""Rendered scenes with exact boxes: known ground truth for tests, without any data on disk."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from siamffn_model.errors import ConfigError
from siamffn_model.imaging.geometry import Box

MIN_SIDE = 64
TARGET_SHARE = 0.19  # side of the target as a share of the image's shorter side
SCALE_SWING = 0.15  # the target grows and shrinks by this share
BORDER = 2.0  # pixels kept free between target and image border
FASTEST = 3.0  # longest swing in sides of the target: in long images too it moves moderately


class Scene(NamedTuple):
    """One rendered clip: BGR uint8 images (H, W, 3) and the target's box in each."""

    images: list[np.ndarray]
    boxes: list[Box]


def render_scene(frames: int = 60, size: tuple[int, int] = (320, 240), seed: int = 0) -> Scene:
    """A textured target that moves over textured ground, seen by a moving camera.

    Both move smoothly and keep changing speed and direction; the camera also rolls and zooms a
    little, the target changes its scale. The target is always wholly inside the image.

    Args:
        frames: number of images, at least 1.
        size: (width, height) in pixels, each at least 64.
        seed: the same seed gives the same scene, another seed another one.

    Raises:
        ConfigError: `frames` or `size` too small.
    """
    width, height = size
    if frames < 1 or min(size) < MIN_SIDE:
        raise ConfigError(
            f'cannot render {frames} frames of {width}x{height}: '
            f'ask for at least 1 frame and {MIN_SIDE} pixels a side'
        )
    rng = np.random.default_rng(seed)
    ground = _ground(rng, size)
    patch, mask = _target(rng, round(TARGET_SHARE * min(size)))
    boxes = _target_path(rng, frames, size, patch.shape[1], patch.shape[0])
    images = []
    for view, box in zip(_camera_path(rng, frames, size), boxes, strict=True):
        image = cv2.warpAffine(ground, view, size, borderMode=cv2.BORDER_REFLECT)
        _paste(image, patch, mask, box)
        images.append(image)
    return Scene(images, boxes)


def _noise(rng: np.random.Generator, width: int, height: int, cells: list[int]) -> np.ndarray:
    """Smooth noise (height, width, 3) float32 of about unit deviation, one layer a cell size."""
    total = np.zeros((height, width, 3), np.float32)
    for cell in cells:
        grid = (math.ceil(height / cell) + 1, math.ceil(width / cell) + 1)
        grey = rng.standard_normal((*grid, 1), dtype=np.float32)
        tint = 0.35 * rng.standard_normal((*grid, 3), dtype=np.float32)
        total += cv2.resize(grey + tint, (width, height), interpolation=cv2.INTER_CUBIC)
    total /= math.sqrt(len(cells))
    return total


def _ground(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Dull ground, twice the image's size: noise from coarse to fine with patches strewn over."""
    width, height = 2 * size[0], 2 * size[1]
    colour = rng.uniform((60, 85, 75), (95, 120, 110)).astype(np.float32)
    shades = colour + 22 * _noise(rng, width, height, [3, 8, 24, 64])
    ground: np.ndarray = np.clip(shades, 0, 255).astype(np.uint8)
    side = TARGET_SHARE * min(size)
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
    """Patch (h, w, 3) uint8 and mask (h, w) float32 of a shape that touches all four edges."""
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


def wave(rng: np.random.Generator, frames: int, slow: float, quick: float) -> np.ndarray:
    """A smooth curve (frames,) of a slow and a quick swing with the given amplitudes."""
    t = np.arange(frames)
    periods = rng.uniform((90, 28), (140, 45))
    phases = rng.uniform(0, 2 * math.pi, 2)
    swings = np.sin(2 * math.pi * t[:, None] / periods + phases) * (slow, quick)
    curve: np.ndarray = swings.sum(axis=1)
    return curve


def _target_path(
    rng: np.random.Generator, frames: int, size: tuple[int, int], width: int, height: int
) -> list[Box]:
    scale = 1 + wave(rng, frames, SCALE_SWING, 0)
    room_x, room_y = (
        min(image / 2 - BORDER - side * (1 + SCALE_SWING) / 2, FASTEST * side)
        for image, side in zip(size, (width, height), strict=True)
    )
    cx = size[0] / 2 + wave(rng, frames, 0.8 * room_x, 0.1 * room_x)
    cy = size[1] / 2 + wave(rng, frames, 0.8 * room_y, 0.1 * room_y)
    return [
        Box.from_center(float(x), float(y), float(s * width), float(s * height))
        for x, y, s in zip(cx, cy, scale, strict=True)
    ]


def _camera_path(rng: np.random.Generator, frames: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Affine maps (2, 3) from the ground to the image, one a frame."""
    width, height = size
    pan_x = width + wave(rng, frames, 0.2 * width, 0.02 * width)
    pan_y = height + wave(rng, frames, 0.2 * height, 0.02 * height)
    roll = wave(rng, frames, 4, 0.5)  # degrees
    zoom = 1.1 + wave(rng, frames, 0.08, 0)
    views = []
    for x, y, angle, factor in zip(pan_x, pan_y, roll, zoom, strict=True):
        view = cv2.getRotationMatrix2D((float(x), float(y)), float(angle), float(factor))
        view[:, 2] += (width / 2 - x, height / 2 - y)
        views.append(view)
    return views


def _paste(image: np.ndarray, patch: np.ndarray, mask: np.ndarray, box: Box) -> None:
    """Draw the patch into `box`, in place, exact to a fraction of a pixel."""
    x0, y0 = math.floor(box.x), math.floor(box.y)
    x1, y1 = math.ceil(box.x + box.w), math.ceil(box.y + box.h)
    sx, sy = box.w / patch.shape[1], box.h / patch.shape[0]
    # Pixel centres lie at whole numbers for OpenCV, at halves for a box; hence the 0.5s.
    place = np.array([[sx, 0, box.x - x0 + 0.5 * sx - 0.5], [0, sy, box.y - y0 + 0.5 * sy - 0.5]])
    window = (x1 - x0, y1 - y0)
    colour = cv2.warpAffine(patch, place, window, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(mask, place, window)[..., None]
    below = image[y0:y1, x0:x1]
    below[:] = np.round(alpha * colour + (1 - alpha) * below).astype(np.uint8)
