"""Synthetic videos of cut-out objects that move over a background, with exact boxes.

A clip describes the motion of all objects; each of its frames can be rendered independently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from siamffn_model.datasets.copy_paste import Pose, Sprite, backdrop, paste
from siamffn_model.datasets.synthetic import smooth_curve
from siamffn_model.errors import ConfigError
from siamffn_model.imaging.crop import context_side
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image

MIN_SIDE = 64  # pixels of the image's shorter side
MIN_TARGET_SIZE = 20  # pixels
MAX_TARGET_SIZE = 0.4  # fraction of the image's shorter side
SIMILAR_DISTRACTORS = (0.55, 0.30, 0.15)  # probabilities of 0, 1 and 2 in a clip
DISTRACTORS = (0.25, 0.35, 0.25, 0.15)  # probabilities of 0 to 3 in a clip
OCCLUDER = 0.35  # probability of one in a clip

Curve = NDArray[np.float64]
Rng = np.random.Generator


@dataclass(frozen=True)
class MovingSprite:
    """A sprite with its motion over the frames of a clip.

    Attributes:
        sprite: the object.
        center: (length, 2), centre of its box in each frame, in pixels.
        size: (length,), square root of the area of its box in each frame, in pixels.
        poses: its rotation and stretch in each frame.
    """

    sprite: Sprite
    center: Curve
    size: Curve
    poses: list[Pose]

    @classmethod
    def draw(cls, rng: Rng, sprite: Sprite, center: Curve, size: Curve) -> MovingSprite:
        """Draw random rotation and stretch for a sprite with a given path and size."""
        length = len(size)
        angle = rng.uniform(-30, 30) + rng.uniform(3, 25) * _unit_curve(rng, length)
        stretch = np.exp(
            rng.uniform(-0.15, 0.15) + rng.uniform(0.02, 0.15) * _unit_curve(rng, length)
        )
        poses = [Pose(*values) for values in zip(angle.tolist(), stretch.tolist())]
        return cls(_shrink(sprite, float(size.max())), center, size, poses)

    def extent(self, number: int) -> Curve:
        """Return the width and height (2,) of the box in a frame, in pixels."""
        extent = np.ptp(self.sprite.outline @ self.poses[number].matrix().T, axis=0)
        return extent * (self.size[number] / np.sqrt(extent.prod()))

    def paste(self, view: Image, number: int) -> Box:
        """Paste the sprite, as it is in a frame, into the view in place, and return its box."""
        side = context_side(*self.extent(number))
        # The first pixel's centre is (0, 0) for OpenCV and (0.5, 0.5) for a box; hence the 0.5s.
        x, y = (self.center[number] - 0.5).tolist()
        box = paste(view, self.sprite, self.poses[number], side, (x, y))
        return box._replace(x=box.x + 0.5, y=box.y + 0.5)


@dataclass(frozen=True)
class Clip:
    """A video whose frames are rendered on request.

    Attributes:
        size: (width, height) of the images in pixels.
        ground: the background, BGR uint8 (H, W, 3).
        camera: (length, 4), for each frame the point of the ground in the middle of the image (x
            and y as fractions of the ground's size), the scale, and the roll in degrees.
        light: (length,), gain of all grey levels in each frame.
        distractors: other objects, below the target.
        similar_distractors: copies of the target in other colours, below it and beside it.
        target: the target.
        occluder: an object that passes over the target, if any.
    """

    size: tuple[int, int]
    ground: Image
    camera: Curve
    light: Curve
    distractors: list[MovingSprite]
    similar_distractors: list[MovingSprite]
    target: MovingSprite
    occluder: MovingSprite | None

    @classmethod
    def draw(
        cls,
        rng: Rng,
        target: Sprite,
        others: Sequence[Sprite],
        ground: Image,
        length: int,
        size: tuple[int, int] = (320, 240),
    ) -> Clip:
        """Draw a random clip; the same state of `rng` gives the same clip.

        The target's centre stays inside the image. Its size, the square root of its box's area, is
        between 20 pixels and 40 % of the image's shorter side.

        Args:
            rng: source of all random values.
            target: the target.
            others: sprites to draw distractors and the occluder from, at least one.
            ground: the background, BGR uint8 (H, W, 3).
            length: number of frames, at least 1.
            size: (width, height) of the images in pixels, each at least 64.

        Raises:
            ConfigError: no `others`, no frame, or a side below 64 pixels.
        """
        if not others or length < 1 or min(size) < MIN_SIDE:
            raise ConfigError(
                f'cannot draw {length} frames of {size[0]}x{size[1]} with {len(others)} other '
                f'sprites: give at least 1 frame, {MIN_SIDE} pixels a side and 1 other sprite'
            )
        camera = _camera(rng, length, ground, size)
        light = np.exp(rng.uniform(-0.15, 0.1) + rng.uniform(0, 0.2) * _unit_curve(rng, length))
        scale = _target_size(rng, length, min(size))
        moving = MovingSprite.draw(rng, target, _path(rng, scale, size, margin=0.1), scale)
        first, *rest = (others[int(i)] for i in rng.integers(len(others), size=4))
        count = rng.choice(4, p=DISTRACTORS)
        distractors = [_distractor(rng, sprite, moving, size) for sprite in rest[:count]]
        similar_distractors = [
            _similar_distractor(rng, target, moving)
            for _ in range(rng.choice(3, p=SIMILAR_DISTRACTORS))
        ]
        occluder = _occluder(rng, first, moving) if rng.random() < OCCLUDER else None
        return cls(size, ground, camera, light, distractors, similar_distractors, moving, occluder)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.light)

    def frame(self, number: int) -> tuple[Image, Box]:
        """Render a frame, counted from 0: BGR uint8 (H, W, 3), and the exact box of the target.

        The box is that of the entire target, also where it is occluded or outside of the image.
        """
        x, y, scale, roll = self.camera[number].tolist()
        width, height = self.size
        square = backdrop(self.ground, max(self.size), (x, y), scale, roll)
        left, top = (max(self.size) - width) // 2, (max(self.size) - height) // 2
        view = square[top : top + height, left : left + width]
        for distractor in (*self.distractors, *self.similar_distractors):
            distractor.paste(view, number)
        box = self.target.paste(view, number)
        if self.occluder:
            self.occluder.paste(view, number)
        return np.asarray(cv2.convertScaleAbs(view, alpha=self.light[number]), np.uint8), box


def _unit_curve(rng: Rng, length: int) -> Curve:
    """Draw a smooth curve (length,) between -1 and 1."""
    return smooth_curve(rng, length, 0.8, 0.2)


def _camera(rng: Rng, length: int, ground: Image, size: tuple[int, int]) -> Curve:
    """Draw the camera's pan, zoom and roll (length, 4), see `Clip`.

    Without roll, the edges of the ground are never visible.
    """
    fit = np.array(size) / ground.shape[1::-1]
    zoom = np.exp(rng.uniform(0.2, 0.6) + rng.uniform(0, 0.12) * _unit_curve(rng, length))
    zoom *= fit.max()
    room = np.minimum(0.5 - 0.5 * fit / zoom[:, None], rng.uniform(0, 0.2, 2))
    pan = 0.5 + room * np.column_stack([_unit_curve(rng, length), _unit_curve(rng, length)])
    return np.column_stack([pan, zoom, rng.uniform(0, 8) * _unit_curve(rng, length)])


def _target_size(rng: Rng, length: int, side: int) -> Curve:
    """Draw the target's size (length,) in pixels; small ones are frequent, as in aerial videos."""
    low, high = np.log(MIN_TARGET_SIZE), np.log(MAX_TARGET_SIZE * side)
    amplitude = min(rng.uniform(0.05, 0.4), (high - low) / 2)
    middle = low + amplitude + (high - low - 2 * amplitude) * rng.random() ** 1.5
    return np.exp(middle + amplitude * _unit_curve(rng, length))


def _path(rng: Rng, scale: Curve, size: tuple[int, int], margin: float) -> Curve:
    """Draw the path (length, 2) of an object's centre in pixels; small objects move less.

    It keeps a distance of `margin`, a fraction of the image's size, from the edges.
    """
    low, high = np.outer((margin, 1 - margin), size)
    amplitude = np.minimum(rng.uniform(0.5, 3, 2) * scale.mean(), (high - low) / 2)
    curves = np.column_stack([_unit_curve(rng, len(scale)), _unit_curve(rng, len(scale))])
    return low + amplitude + (high - low - 2 * amplitude) * rng.random(2) + amplitude * curves


def _distractor(
    rng: Rng, sprite: Sprite, target: MovingSprite, size: tuple[int, int]
) -> MovingSprite:
    """Draw the motion of an object that moves independently of the target."""
    scale = target.size * np.exp(rng.uniform(-0.9, 0.3) + 0.2 * _unit_curve(rng, len(target.size)))
    return MovingSprite.draw(rng, sprite, _path(rng, scale, size, margin=0), scale)


def _similar_distractor(rng: Rng, sprite: Sprite, target: MovingSprite) -> MovingSprite:
    """Draw the colours and the motion of a copy of the target that moves beside it."""
    levels = np.arange(256)[:, None] * rng.uniform(0.85, 1.15, 3) + rng.uniform(-25, 25)
    table = levels.clip(0, 255).astype(np.uint8)[:, None]
    recoloured = sprite._replace(image=np.asarray(cv2.LUT(sprite.image, table), np.uint8))
    length = len(target.size)
    longest = max(max(target.extent(i)) / target.size[i] for i in range(length))
    distance = longest * (1.1 + rng.uniform(0.2, 1) * (1 + _unit_curve(rng, length)))
    angle = rng.uniform(0, 2 * np.pi) + rng.uniform(0.2, 1) * _unit_curve(rng, length)
    offset = distance * target.size * (np.cos(angle), np.sin(angle))
    scale = target.size * np.exp(rng.uniform(-0.2, 0.2) + 0.1 * _unit_curve(rng, length))
    return MovingSprite.draw(rng, recoloured, target.center + offset.T, scale)


def _occluder(rng: Rng, sprite: Sprite, target: MovingSprite) -> MovingSprite:
    """Draw the motion of an object that crosses the target, a little off its centre."""
    length = len(target.size)
    along = (np.arange(length) - rng.uniform(0.2, 0.8) * length) / rng.uniform(8, 25)
    line = np.column_stack([along, np.full(length, rng.uniform(0.2, 0.5))])
    offset = line @ Pose(rng.uniform(0, 360), 1.0).matrix() * target.size[:, None]
    return MovingSprite.draw(rng, sprite, target.center + offset, target.size * rng.uniform(0.6, 1))


def _shrink(sprite: Sprite, size: float) -> Sprite:
    """Scale the sprite down to about this size, if it is larger, to avoid aliasing when pasted."""
    height, width = sprite.mask.shape
    factor = min(1.0, size / float(np.sqrt(np.ptp(sprite.outline, axis=0).prod())))
    new_size = max(1, round(factor * width)), max(1, round(factor * height))
    image, mask = (cv2.resize(part, new_size, interpolation=cv2.INTER_AREA) for part in sprite[:2])
    outline = (sprite.outline + 0.5) * np.divide(new_size, (width, height)) - 0.5
    return Sprite(
        np.asarray(image, np.uint8), np.asarray(mask, np.uint8), np.asarray(outline, np.float32)
    )
