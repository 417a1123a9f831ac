"""Short videos of cut-out objects over a background: exact boxes, and any frame by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from siamffn_model.datasets.copy_paste import Pose, Sprite, backdrop, paste
from siamffn_model.datasets.synthetic import wave
from siamffn_model.errors import ConfigError
from siamffn_model.imaging.crop import Image, context_side
from siamffn_model.imaging.geometry import Box

MIN_SIDE = 64
SMALLEST, LARGEST = 20, 0.4  # size of the target: pixels, and share of the image's shorter side
LOOK_ALIKES = (0.55, 0.30, 0.15)  # shares of the clips with none, one, two
OTHERS = (0.25, 0.35, 0.25, 0.15)
OCCLUDED = 0.35

Curve = NDArray[np.float64]
Rng = np.random.Generator


@dataclass(frozen=True)
class Actor:
    """A sprite on its way: in each frame its box's centre (length, 2) and size (length,), the
    root of the box's area, both in pixels, and its pose."""

    sprite: Sprite
    center: Curve
    size: Curve
    poses: list[Pose]

    @classmethod
    def draw(cls, rng: Rng, sprite: Sprite, center: Curve, size: Curve) -> Actor:
        """Draw how the sprite turns and stretches on the way."""
        length = len(size)
        angle = rng.uniform(-30, 30) + rng.uniform(3, 25) * _swing(rng, length)
        stretch = np.exp(rng.uniform(-0.15, 0.15) + rng.uniform(0.02, 0.15) * _swing(rng, length))
        poses = [Pose(*values) for values in zip(angle.tolist(), stretch.tolist())]
        return cls(_shrunk(sprite, float(size.max())), center, size, poses)

    def extent(self, number: int) -> Curve:
        """Return width and height (2,), in pixels, of the box in a frame."""
        extent = np.ptp(self.sprite.outline @ self.poses[number].matrix().T, axis=0)
        return extent * (self.size[number] / np.sqrt(extent.prod()))

    def paste(self, view: Image, number: int) -> Box:
        """Paste the sprite of a frame into the view, in place, and return its box."""
        side = context_side(*self.extent(number))
        # Pixel centres lie at whole numbers for OpenCV, at halves for a box; hence the 0.5s.
        x, y = (self.center[number] - 0.5).tolist()
        box = paste(view, self.sprite, self.poses[number], side, (x, y))
        return box._replace(x=box.x + 0.5, y=box.y + 0.5)


@dataclass(frozen=True)
class Clip:
    """A video of this (width, height), each frame of which is rendered when asked for.

    `camera` (length, 4) is x and y (shares of the ground) of the image's middle, scale, and roll
    in degrees; `light` (length,) is the gain of all grey levels.
    """

    size: tuple[int, int]
    ground: Image
    camera: Curve
    light: Curve
    below: list[Actor]
    look_alikes: list[Actor]
    target: Actor
    occluder: Actor | None

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
        """Draw what happens in so many frames of this (width, height), over a ground (H, W, 3).

        The target's centre stays inside the image, its size (root of the box's area) between 20
        pixels and 40 % of the shorter side. Below it move some of the `others` and, beside it,
        look-alikes: its own sprite in other colours. In a share of the clips one of the `others`
        crosses over it. The same state of `rng` gives the same clip.

        Raises:
            ConfigError: no `others`, no frame, or a side below 64 pixels.
        """
        if not others or length < 1 or min(size) < MIN_SIDE:
            raise ConfigError(
                f'cannot draw {length} frames of {size[0]}x{size[1]} with {len(others)} other '
                f'sprites: give at least 1 frame, {MIN_SIDE} pixels a side and 1 other sprite'
            )
        camera = _camera(rng, length, ground, size)
        light = np.exp(rng.uniform(-0.15, 0.1) + rng.uniform(0, 0.2) * _swing(rng, length))
        scale = _scale(rng, length, min(size))
        hero = Actor.draw(rng, target, _path(rng, scale, size, margin=0.1), scale)
        top, *cast = (others[int(i)] for i in rng.integers(len(others), size=4))
        below = [_passer(rng, one, hero, size) for one in cast[: rng.choice(4, p=OTHERS)]]
        look_alikes = [_look_alike(rng, target, hero) for _ in range(rng.choice(3, p=LOOK_ALIKES))]
        occluder = _occluder(rng, top, hero) if rng.random() < OCCLUDED else None
        return cls(size, ground, camera, light, below, look_alikes, hero, occluder)

    def __len__(self) -> int:
        return len(self.light)

    def frame(self, number: int) -> tuple[Image, Box]:
        """Render a frame, counted from 0: BGR uint8 (H, W, 3), and the exact box of the target,
        whole also where it is covered or reaches outside."""
        x, y, scale, roll = self.camera[number].tolist()
        width, height = self.size
        square = backdrop(self.ground, max(self.size), (x, y), scale, roll)
        left, top = (max(self.size) - width) // 2, (max(self.size) - height) // 2
        view = square[top : top + height, left : left + width]
        for actor in (*self.below, *self.look_alikes):
            actor.paste(view, number)
        box = self.target.paste(view, number)
        if self.occluder:
            self.occluder.paste(view, number)
        return np.asarray(cv2.convertScaleAbs(view, alpha=self.light[number]), np.uint8), box


def _swing(rng: Rng, length: int) -> Curve:
    """A smooth curve (length,) between -1 and 1."""
    return wave(rng, length, 0.8, 0.2)


def _camera(rng: Rng, length: int, ground: Image, size: tuple[int, int]) -> Curve:
    """Pan, zoom and roll over the ground; without the roll, its edges are never seen."""
    fit = np.array(size) / ground.shape[1::-1]
    zoom = np.exp(rng.uniform(0.2, 0.6) + rng.uniform(0, 0.12) * _swing(rng, length)) * fit.max()
    room = np.minimum(0.5 - 0.5 * fit / zoom[:, None], rng.uniform(0, 0.2, 2))
    pan = 0.5 + room * np.column_stack([_swing(rng, length), _swing(rng, length)])
    return np.column_stack([pan, zoom, rng.uniform(0, 8) * _swing(rng, length)])


def _scale(rng: Rng, length: int, side: int) -> Curve:
    """The target's size; small ones are frequent, as aircraft see them."""
    low, high = np.log(SMALLEST), np.log(LARGEST * side)
    reach = min(rng.uniform(0.05, 0.4), (high - low) / 2)
    middle = low + reach + (high - low - 2 * reach) * rng.random() ** 1.5
    return np.exp(middle + reach * _swing(rng, length))


def _path(rng: Rng, scale: Curve, size: tuple[int, int], margin: float) -> Curve:
    """A way (length, 2) off the image's edges by `margin` (share), shorter for small objects."""
    low, high = np.outer((margin, 1 - margin), size)
    reach = np.minimum(rng.uniform(0.5, 3, 2) * scale.mean(), (high - low) / 2)
    swings = np.column_stack([_swing(rng, len(scale)), _swing(rng, len(scale))])
    return low + reach + (high - low - 2 * reach) * rng.random(2) + reach * swings


def _passer(rng: Rng, sprite: Sprite, target: Actor, size: tuple[int, int]) -> Actor:
    """Another object with a way of its own."""
    scale = target.size * np.exp(rng.uniform(-0.9, 0.3) + 0.2 * _swing(rng, len(target.size)))
    return Actor.draw(rng, sprite, _path(rng, scale, size, margin=0), scale)


def _look_alike(rng: Rng, sprite: Sprite, target: Actor) -> Actor:
    """The target's sprite in other colours, which wanders beside the target."""
    levels = np.arange(256)[:, None] * rng.uniform(0.85, 1.15, 3) + rng.uniform(-25, 25)
    table = levels.clip(0, 255).astype(np.uint8)[:, None]
    recoloured = sprite._replace(image=np.asarray(cv2.LUT(sprite.image, table), np.uint8))
    length = len(target.size)
    longest = max(max(target.extent(i)) / target.size[i] for i in range(length))
    away = longest * (1.1 + rng.uniform(0.2, 1) * (1 + _swing(rng, length)))
    angle = rng.uniform(0, 2 * np.pi) + rng.uniform(0.2, 1) * _swing(rng, length)
    offset = away * target.size * (np.cos(angle), np.sin(angle))
    scale = target.size * np.exp(rng.uniform(-0.2, 0.2) + 0.1 * _swing(rng, length))
    return Actor.draw(rng, recoloured, target.center + offset.T, scale)


def _occluder(rng: Rng, sprite: Sprite, target: Actor) -> Actor:
    """Another object that crosses over the target, a little off its middle."""
    length = len(target.size)
    along = (np.arange(length) - rng.uniform(0.2, 0.8) * length) / rng.uniform(8, 25)
    line = np.column_stack([along, np.full(length, rng.uniform(0.2, 0.5))])
    offset = line @ Pose(rng.uniform(0, 360), 1.0).matrix() * target.size[:, None]
    return Actor.draw(rng, sprite, target.center + offset, target.size * rng.uniform(0.6, 1))


def _shrunk(sprite: Sprite, size: float) -> Sprite:
    """The sprite at about this size, if larger, so that no warp skips pixels."""
    height, width = sprite.mask.shape
    share = min(1.0, size / float(np.sqrt(np.ptp(sprite.outline, axis=0).prod())))
    small = max(1, round(share * width)), max(1, round(share * height))
    image, mask = (cv2.resize(part, small, interpolation=cv2.INTER_AREA) for part in sprite[:2])
    outline = (sprite.outline + 0.5) * np.divide(small, (width, height)) - 0.5
    return Sprite(
        np.asarray(image, np.uint8), np.asarray(mask, np.uint8), np.asarray(outline, np.float32)
    )
