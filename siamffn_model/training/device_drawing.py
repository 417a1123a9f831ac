"""Random targets of the training pack as numbers: what each crop shows and where.

The distributions are those of `pair_sources.PackSource`, `datasets.clips.Clip` and
`sampling.PairDataset`, drawn for many targets at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamffn_model.datasets.clips import (
    DISTRACTORS,
    MAX_TARGET_SIZE,
    MIN_TARGET_SIZE,
    OCCLUDER,
    SIMILAR_DISTRACTORS,
)
from siamffn_model.datasets.copy_paste import MASK_MARGIN
from siamffn_model.training.device_images import DeviceImages
from siamffn_model.training.device_targets import (
    CROPS,
    Floats,
    Ints,
    Rng,
    Targets,
    context_sides,
    draw_jitter,
)
from siamffn_model.training.pair_sources import (
    BACKGROUNDS,
    CLIP_LENGTH,
    KINDS,
    PARTS_OF_OBJECTS,
    PASTED_DISTRACTORS,
    PASTED_OCCLUDER,
    SAME_BACKGROUND,
    VIDEO_SOURCES,
)

if TYPE_CHECKING:
    from siamffn_model.training.recipe import Augmentation

CLIP_SIZE = np.array((320, 240))  # width and height of the frames of a clip
PART, PIECE, VIDEO = 1_000_000, 2_000_000, 3_000_000  # first identity of these kinds of target


class TargetSource:
    """Draws targets of the training pack with the probabilities of `PackSource`."""

    def __init__(self, images: DeviceImages, frame_range: int) -> None:
        """`frame_range` is the maximum distance in frames between images of a video or clip."""
        self.images, self.frame_range = images, frame_range
        sources = [name for name in VIDEO_SOURCES if name in images.videos]
        weights = np.array([VIDEO_SOURCES[name] for name in sources])
        sequences = [images.videos[name] for name in sources]
        # Probability of each sequence, and its frames.
        self._weights = np.concatenate(
            [np.full(len(s), w / weights.sum() / len(s)) for w, s in zip(weights, sequences)]
        )
        self._videos = [video for s in sequences for video in s]

    def draw(self, rng: Rng, stretch: Floats, augmentation: Augmentation) -> Targets:
        """Draw targets with given stretch (T, 2) at random."""
        targets = Targets.draw(rng, stretch, augmentation)
        kinds = rng.choice(len(KINDS), len(stretch), p=list(KINDS.values()))
        for number, kind in enumerate(KINDS):
            rows = np.flatnonzero(kinds == number)
            if len(rows):
                getattr(self, f'_{kind}')(rng, targets, rows)
        return targets

    def _paste(self, rng: Rng, targets: Targets, rows: Ints) -> None:
        """Paste an object into two views of a background, with distractors, an occluder."""
        n = len(rows)
        number, every = rng.integers(self.images.objects, size=n), np.ones((n, 2), bool)
        ground = np.stack([self._backgrounds(rng, n), self._backgrounds(rng, n)], axis=1)
        ground[:, 1] = np.where(rng.random(n) < SAME_BACKGROUND, ground[:, 0], ground[:, 1])
        angle = rng.uniform(-12, 12, (n, 1)) + (0, 1) * rng.normal(0, 8, (n, 1))
        stretch = rng.uniform(-0.15, 0.15, (n, 1)) + (0, 1) * rng.normal(0, 0.12, (n, 1))
        zoom = rng.uniform(0.9, 2, (n, 1)) * np.exp((0, 1) * rng.normal(0, 0.1, (n, 1)))
        middle = rng.uniform(0.2, 0.8, (n, 1, 2)) + [[0], [1]] * rng.normal(0, 0.1, (n, 1, 2))
        targets.identity[rows], targets.image[rows] = number, ground
        roll = rng.uniform(-10, 10, (n, 2))
        targets.matrix[rows] = self._backdrop(ground, middle, zoom, roll, CROPS[:, None] / 2)
        side, center = targets.side[rows], targets.center[rows]
        count = rng.choice(4, (n, 2), p=PASTED_DISTRACTORS)
        for layer in range(3):
            self._paste_distractor(rng, targets, layer, rows, count > layer)
        stretch = np.exp(stretch) * targets.stretch[rows]
        placed, size = self._place(number, _poses(angle, stretch), center, side=side)
        targets.box[rows] = np.concatenate([center - size / 2, size], axis=-1)
        targets.add(5, rows, every, number, placed, draw_jitter(rng, 0.3, (n, 2)))
        direction = _directions(rng.uniform(0, 2 * np.pi, (n, 2)))
        sides = rng.uniform(0.4, 0.9, (n, 2)) * context_sides(size)
        center = center + 0.6 * size * direction
        occluder, pose = rng.integers(self.images.objects, size=n), rng.uniform(-20, 20, (n, 2))
        placed, _ = self._place(occluder, _poses(pose, np.ones((n, 2))), center, side=sides)
        present = (rng.random((n, 2)) < PASTED_OCCLUDER) & [False, True]
        targets.add(6, rows, present, occluder, placed)

    def _paste_distractor(
        self, rng: Rng, targets: Targets, layer: int, rows: Ints, present: NDArray[np.bool_]
    ) -> None:
        """Paste different distractors into template and search crop, beside the target."""
        shape = present.shape
        direction = _directions(rng.uniform(0, 2 * np.pi, shape))
        distance = targets.side[rows] * rng.uniform(0.4, 1.2, shape)
        center = targets.center[rows] + distance[..., None] * direction
        side = targets.side[rows] * rng.uniform(0.4, 1.2, shape)
        linear = _poses(rng.uniform(-20, 20, shape), np.ones(shape))
        for role in (0, 1):
            number = rng.integers(self.images.objects, size=len(rows))
            placed, _ = self._place(number, linear, center, side=side)
            only = present & (np.arange(2) == role)
            targets.add(layer, rows, only, number, placed)

    def _clip(self, rng: Rng, targets: Targets, rows: Ints) -> None:
        """Draw two frames of a clip of moving objects, see `Clip`."""
        n = len(rows)
        first = rng.integers(CLIP_LENGTH, size=n)
        low = np.maximum(first - self.frame_range, 0)
        high = np.minimum(first + self.frame_range, CLIP_LENGTH - 1)
        t = np.stack([first, rng.integers(low, high + 1)], axis=1)
        number, ground = rng.integers(self.images.objects, size=n), self._backgrounds(rng, n)
        grounds = np.repeat(ground[:, None], 2, axis=1)
        targets.identity[rows], targets.image[rows] = number, grounds
        fit = (CLIP_SIZE / self.images.sizes[ground, 0])[:, None]
        zoom = np.exp(_uniform(rng, 0.2, 0.6, n) + _uniform(rng, 0, 0.12, n) * _curve(rng, t))
        zoom *= fit.max(axis=-1)
        room = np.minimum(0.5 - 0.5 * fit / zoom[..., None], rng.uniform(0, 0.2, (n, 1, 2)))
        pan = 0.5 + room * np.stack([_curve(rng, t), _curve(rng, t)], axis=-1)
        roll = _uniform(rng, 0, 8, n) * _curve(rng, t)
        targets.matrix[rows] = self._backdrop(grounds, pan, zoom, roll, CLIP_SIZE / 2)
        targets.window[rows] = np.concatenate([(-0.5, -0.5), CLIP_SIZE - 0.5])
        targets.fill[rows] = self.images.means[grounds]
        targets.light[rows] = np.exp(
            _uniform(rng, -0.15, 0.1, n) + _uniform(rng, 0, 0.2, n) * _curve(rng, t)
        )
        mean, size = _target_size(rng, t)
        center = _path(rng, t, mean, margin=0.1)
        every = np.ones((n, 2), bool)
        extent = self._move(rng, targets, 5, rows, every, t, number, center, size)
        targets.crop(rows, center, extent)
        targets.enlargement[rows] = np.maximum(
            1 / np.sqrt(targets.frame[rows][:, :, 0].prod(axis=-1)), 1
        )
        self._clip_distractors(rng, targets, rows, t, number, center, size, extent, mean)

    def _clip_distractors(
        self,
        rng: Rng,
        targets: Targets,
        rows: Ints,
        t: Ints,
        number: Ints,
        center: Floats,
        size: Floats,
        extent: Floats,
        mean: Floats,
    ) -> None:
        """Draw the other objects of clips, given the target's path and size, see `Clip.draw`."""
        n = len(rows)
        count = rng.choice(4, (n, 1), p=DISTRACTORS)
        for layer in range(3):
            factor = np.exp(_uniform(rng, -0.9, 0.3, n) + 0.2 * _curve(rng, t))
            path = _path(rng, t, mean * factor.mean(axis=1, keepdims=True), margin=0)
            other, present = rng.integers(self.images.objects, size=n), count > layer
            self._move(rng, targets, layer, rows, present, t, other, path, size * factor)
        count = rng.choice(3, (n, 1), p=SIMILAR_DISTRACTORS)
        longest = (extent.max(axis=-1) / size).max(axis=1, keepdims=True)
        for layer in range(2):
            distance = longest * (1.1 + _uniform(rng, 0.2, 1, n) * (1 + _curve(rng, t))) * size
            angle = _uniform(rng, 0, 2 * np.pi, n) + _uniform(rng, 0.2, 1, n) * _curve(rng, t)
            path = center + distance[..., None] * _directions(angle)
            own = size * np.exp(_uniform(rng, -0.2, 0.2, n) + 0.1 * _curve(rng, t))
            levels = np.stack(
                [rng.uniform(0.85, 1.15, (n, 1, 3)), rng.uniform(-25, 25, (n, 1, 3))], axis=2
            )
            present = count > layer
            self._move(rng, targets, 3 + layer, rows, present, t, number, path, own, levels)
        along = (t - _uniform(rng, 0.2, 0.8, n) * CLIP_LENGTH) / _uniform(rng, 8, 25, n)
        line = np.stack([along, np.broadcast_to(_uniform(rng, 0.2, 0.5, n), along.shape)], axis=-1)
        turned = line @ _poses(rng.uniform(0, 360, n), np.ones(n))
        path, own = center + turned * size[..., None], size * _uniform(rng, 0.6, 1, n)
        occluder, present = rng.integers(self.images.objects, size=n), rng.random((n, 1)) < OCCLUDER
        self._move(rng, targets, 6, rows, present, t, occluder, path, own)

    def _move(
        self,
        rng: Rng,
        targets: Targets,
        layer: int,
        rows: Ints,
        present: NDArray[np.bool_],
        t: Ints,
        number: Ints,
        center: Floats,
        size: Floats,
        levels: ArrayLike = ((1, 1, 1), (0, 0, 0)),
    ) -> Floats:
        """Draw the rotation and stretch of moving objects and add them, see `MovingSprite`.

        Returns the sizes (n, 2, 2) of their boxes.
        """
        n = len(t)
        angle = _uniform(rng, -30, 30, n) + _uniform(rng, 3, 25, n) * _curve(rng, t)
        stretch = _uniform(rng, -0.15, 0.15, n) + _uniform(rng, 0.02, 0.15, n) * _curve(rng, t)
        linear = _poses(angle, np.exp(stretch))
        placed, extent = self._place(number, linear, center - 0.5, size=size)
        targets.add(layer, rows, np.broadcast_to(present, (n, 2)), number, placed, levels)
        return extent

    def _image(self, rng: Rng, targets: Targets, rows: Ints) -> None:
        """Draw an object in its original image."""
        number = rng.integers(self.images.objects, size=len(rows))
        targets.identity[rows] = number
        self._still(rng, targets, rows, number, self.images.boxes[number])

    def _part(self, rng: Rng, targets: Targets, rows: Ints) -> None:
        """Draw a part of an object or of a background."""
        n, objects = len(rows), self.images.objects
        of_object = rng.random(n) < PARTS_OF_OBJECTS
        piece = objects + rng.integers(self.images.backgrounds, size=n)
        number = np.where(of_object, rng.integers(objects, size=n), piece)
        targets.identity[rows] = number + np.where(of_object, PART, PIECE)
        boxes = self.images.parts[number, rng.integers(self.images.parts.shape[1], size=n)]
        self._still(rng, targets, rows, number, boxes)

    def _still(self, rng: Rng, targets: Targets, rows: Ints, image: Ints, boxes: Floats) -> None:
        """Use images twice, rotated and stretched around the target, half within a background."""
        n = len(rows)
        inside = rng.random(n) < 0.5
        ground = np.where(inside, self._backgrounds(rng, n), image)
        margin = np.where(inside, np.round(context_sides(boxes[:, 2:])), 0)[:, None]
        size = self.images.sizes[image, 0] + 2 * margin
        center = boxes[:, :2] + boxes[:, 2:] / 2 + margin
        stretch = np.exp(rng.normal(0, 0.08, (n, 2)))
        linear = _poses(rng.normal(0, 5, (n, 2)), stretch)
        inverse = np.asarray(np.linalg.inv(linear), float)
        pivot = np.asarray(np.repeat(center[:, None] - 0.5, 2, axis=1), float)
        back = _affine(inverse, pivot - _apply(inverse, pivot))  # removes rotation and stretch
        targets.image[rows] = ground[:, None]
        ratio = (self.images.sizes[ground, 0] / size)[:, None, :, None]
        targets.matrix[rows] = ratio * back
        targets.matrix[rows, :, :, 2] += (ratio[..., 0] - 1) / 2
        targets.window[rows] = np.concatenate([np.full((n, 2), -0.5), size - 0.5], axis=1)[:, None]
        targets.fill[rows] = self.images.means[ground][:, None]
        extent = np.stack([boxes[:, 2:3] * stretch, np.repeat(boxes[:, 3:], 2, axis=1)], axis=-1)
        targets.crop(rows, np.repeat(center[:, None], 2, axis=1), extent)
        corners = np.array([(0, 0), (1, 0), (0, 1), (1, 1)]) * self.images.sizes[image, 0][:, None]
        corners = (corners + margin[:, None] - 0.5)[:, None] - pivot[:, :, None]
        corners = corners @ linear.swapaxes(-1, -2) + pivot[:, :, None]
        rect = np.concatenate([corners.min(axis=2), corners.max(axis=2)], axis=-1)
        back[..., 2] -= margin[:, None]
        present = np.repeat(inside[:, None], 2, axis=1)
        targets.add(0, rows, present, image, (back, rect), opaque=True)

    def _video(self, rng: Rng, targets: Targets, rows: Ints) -> None:
        """Draw two frames of one video."""
        number = rng.choice(len(self._videos), len(rows), p=self._weights)
        image = np.zeros((len(rows), 2), int)
        for row, video in enumerate(number):
            frames = self._videos[video]
            template, frame = frames[rng.integers(len(frames))]
            in_range = frames[np.abs(frames[:, 1] - frame) <= self.frame_range, 0]
            image[row] = template, in_range[rng.integers(len(in_range))]
        targets.identity[rows], targets.image[rows] = VIDEO + number, image
        size, boxes = self.images.sizes[image, 0], self.images.boxes[image]
        targets.window[rows] = np.concatenate([np.full(size.shape, -0.5), size - 0.5], axis=-1)
        targets.fill[rows] = self.images.means[image]
        targets.crop(rows, boxes[..., :2] + boxes[..., 2:] / 2, boxes[..., 2:])

    def _backgrounds(self, rng: Rng, count: int) -> Ints:
        """Draw backgrounds (count,), or the images of objects as ones."""
        objects = self.images.objects
        background = objects + rng.integers(self.images.backgrounds, size=count)
        return np.where(
            rng.random(count) < BACKGROUNDS, background, rng.integers(objects, size=count)
        )

    def _backdrop(
        self, image: Ints, center: Floats, zoom: Floats, angle: Floats, middle: Floats
    ) -> Floats:
        """Return (n, 2, 2, 3): maps views of backgrounds, see `backdrop`, to their images."""
        inverse: Floats = np.asarray(_poses(angle, np.ones_like(angle)) / zoom[..., None, None])
        points: Floats = center * self.images.sizes[image, 0]
        return _affine(inverse, points - _apply(inverse, np.broadcast_to(middle, points.shape)))

    def _place(
        self,
        number: Ints,
        linear: Floats,
        center: Floats,
        side: Floats | None = None,
        size: Floats | None = None,
    ) -> tuple[tuple[Floats, Floats], Floats]:
        """Place objects (n,) in frames; return ((matrix, rect), size of their boxes (n, 2, 2)).

        linear (n, 2, 2, 2) is their pose and center (n, 2, 2) that of their boxes. They have
        either the side of their context square or the square root of their area (n, 2).
        """
        outline: Floats = self.images.outlines[number][:, None] @ linear.swapaxes(-1, -2)
        low, high = outline.min(axis=2), outline.max(axis=2)
        extent = high - low
        if side is not None:
            scale = (side / context_sides(extent))[..., None]
        else:
            assert size is not None
            scale = (size / np.sqrt(extent.prod(axis=-1)))[..., None]
        offset = center - scale * (low + high) / 2
        inverse = np.linalg.inv(linear) / scale[..., None]
        margin = scale * MASK_MARGIN * np.abs(linear).sum(axis=-1)
        rect = np.concatenate(
            [scale * low + offset - margin, scale * high + offset + margin], axis=-1
        )
        return (_affine(inverse, -_apply(inverse, offset)), rect), scale * extent


def _poses(angle: Floats, stretch: Floats) -> Floats:
    """Return the matrices (..., 2, 2) of poses, see `Pose.matrix`."""
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    rows = [np.stack([cos * stretch, -sin], axis=-1), np.stack([sin * stretch, cos], axis=-1)]
    return np.stack(rows, axis=-2)


def _directions(angle: Floats) -> Floats:
    """Return the unit vectors (..., 2) at angles (...) in radians."""
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def _apply(linear: Floats, points: Floats) -> Floats:
    return np.asarray((linear @ points[..., None])[..., 0], float)


def _affine(linear: Floats, offset: Floats) -> Floats:
    return np.concatenate([linear, offset[..., None]], axis=-1)


def _uniform(rng: Rng, low: float, high: float, count: int) -> Floats:
    return rng.uniform(low, high, (count, 1))


def _curve(rng: Rng, t: Ints) -> Floats:
    """Draw smooth curves between -1 and 1, see `smooth_curve`; return values at times (n, 2)."""
    periods = rng.uniform((90, 28), (140, 45), (len(t), 1, 2))
    phases = rng.uniform(0, 2 * np.pi, (len(t), 1, 2))
    return np.asarray(np.sin(2 * np.pi * t[..., None] / periods + phases) @ (0.8, 0.2))


def _target_size(rng: Rng, t: Ints) -> tuple[Floats, Floats]:
    """Draw sizes of targets in pixels: the middle (n, 1) and at times (n, 2)."""
    low, high = np.log(MIN_TARGET_SIZE), np.log(MAX_TARGET_SIZE * CLIP_SIZE.min())
    amplitude = np.minimum(_uniform(rng, 0.05, 0.4, len(t)), (high - low) / 2)
    middle = low + amplitude + (high - low - 2 * amplitude) * rng.random((len(t), 1)) ** 1.5
    return np.exp(middle), np.exp(middle + amplitude * _curve(rng, t))


def _path(rng: Rng, t: Ints, mean: Floats, margin: float) -> Floats:
    """Draw centres (n, 2, 2) of objects of a mean size (n, 1) in pixels at times (n, 2)."""
    low, high = margin * CLIP_SIZE, (1 - margin) * CLIP_SIZE
    amplitude = np.minimum(rng.uniform(0.5, 3, (len(t), 1, 2)) * mean[..., None], (high - low) / 2)
    curves = np.stack([_curve(rng, t), _curve(rng, t)], axis=-1)
    room = (high - low - 2 * amplitude) * rng.random((len(t), 1, 2))
    return np.asarray(low + amplitude + room + amplitude * curves)
