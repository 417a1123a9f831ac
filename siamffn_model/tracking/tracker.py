"""Siamese tracking of one target (SiamRPN's inference, as SiamBAN uses it)."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol

import numpy as np

from siamffn_model.errors import SiamFFNError
from siamffn_model.imaging.crop import (
    SEARCH_SIZE,
    Image,
    View,
    check_image,
    context_side,
    mean_colour,
    search_side,
)
from siamffn_model.imaging.geometry import Box
from siamffn_model.runtimes.runtime import Floats, Runtime, Template

SMOOTHING = 0.5  # share of the last step in the motion
MIN_SIDE = 10.0  # pixels: a target is never shrunk below this, so that it can be found again
LEAST_SIDE = search_side(MIN_SIDE, MIN_SIDE)  # of a search for it
TILE = 0.7  # of the search's side between places of searches: what the score map covers, nearly


class State(IntEnum):
    """What is known of a target; the numbers are those of msg/TrackStatus.msg."""

    IDLE = 0
    TRACKING = 1
    UNCERTAIN = 2
    LOST = 3


class Track(NamedTuple):
    """Where the target is: box in pixels of the image, score in [0, 1], state."""

    box: Box
    score: float
    state: State


class TrackerProtocol(Protocol):
    """What a tracker is to the rest: ours, or another's; `init` may be called again."""

    def init(self, image: Image, box: Box) -> None:
        """Learn the target in `box` of a BGR uint8 image (H, W, 3)."""

    def update(self, image: Image) -> Track:
        """Find the target in the next image."""


@dataclass(frozen=True)
class TrackerSettings:
    """How responses become a box, and scores a state.

    `window` is the weight of the Hanning window, `penalty_k` that of changes in size and ratio,
    `lr` the share of the new size. `motion` is the share of its motion, as smoothed over images,
    by which the target is looked for farther on.

    A target whose score falls below `uncertain` is UNCERTAIN, and keeps its size, until the score
    is `found` again. Below `lost` it is LOST; for `patience` images it needs no more than that
    score to be back at its place, later, and elsewhere at any time, `found`. While it is LOST, each
    image costs `searches` searches.
    """

    window_influence: float = 0.30
    penalty_k: float = 0.10
    lr: float = 0.30
    motion_gain: float = 0.80
    uncertain_threshold: float = 0.80
    lost_threshold: float = 0.40
    reacquire_threshold: float = 0.85
    lost_patience: int = 5
    max_searches: int = 3


class Tracker:
    """Follow one target; several trackers may share one model (see `update_all`).

    A target that is LOST keeps its last box. It is looked for there and in tiles round about,
    farther and farther away until they have covered the image, and then again.

    >>> tracker = Tracker(load_model())          # doctest: +SKIP
    >>> tracker.init(first_image, Box(10, 20, 30, 40))          # doctest: +SKIP
    >>> box, score, state = tracker.update(next_image)          # doctest: +SKIP
    """

    def __init__(self, model: Runtime, settings: TrackerSettings | None = None) -> None:
        self.settings = settings or TrackerSettings()
        self._model = model
        self._template: Template | None = None
        self._window = model.score_map.window()

    def init(self, image: Image, box: Box) -> None:
        """Learn the target in `box` of a BGR uint8 image (H, W, 3).

        Raises `ImageError` or `BoxError`; an earlier target is then still followed.
        """
        height, width = check_image(image).shape[:2]
        box = Box(*map(float, box))
        box.check(width, height)
        fill = mean_colour(image)
        view = View(image, box.cx, box.cy, context_side(box.w, box.h), fill)
        self._template = self._model.template(view)
        self._box, self._fill, self._missed = box, fill, 0
        self._motion = np.zeros(2)
        self._state = State.TRACKING

    def update(self, image: Image) -> Track:
        """Find the target in the next image; raises `ImageError`; before `init`, `SiamFFNError`."""
        return update_all([self], [image])[0]

    def search_views(self, image: Image) -> list[View]:
        """Return what is to be searched in the next image: where the target may be, first."""
        if self._template is None:
            raise SiamFFNError('update() before init(): give the first image and its box to init()')
        height, width = check_image(image).shape[:2]
        self._size = width, height
        last = self._box = _centred_inside(self._box, width, height)
        side = search_side(last.w, last.h)
        places = [self._place_ahead()]
        if self._missed:
            tiles = _Tiles(last.cx, last.cy, TILE * max(side, LEAST_SIDE), self._size)
            count = self.settings.max_searches - 1
            first = (self._missed - 1) * count
            places += [tiles[(first + n) % len(tiles)] for n in range(min(count, len(tiles)))]
        return [View(image, x, y, side, self._fill) for x, y in places]

    def decode(self, views: list[View], candidates: Floats) -> Track:
        """Choose among the candidates (V, 5, N) of all views."""
        s, last = self.settings, self._box
        scale = views[0].side / SEARCH_SIZE
        scores, sizes = candidates[:, 0], candidates[:, 3:]
        if not self._model.score_map.sized:
            sizes[:, 0], sizes[:, 1] = last.w / scale, last.h / scale
        penalty = self._penalty(sizes, last.w / scale, last.h / scale)
        ranked = penalty * scores
        ranked[0] = (1 - s.window_influence) * ranked[0] + s.window_influence * self._window
        best = ranked.argmax(axis=1)
        each = range(len(views))
        enough = [
            s.lost_threshold if self._missed <= s.lost_patience else s.reacquire_threshold,
            *[s.reacquire_threshold] * (len(views) - 1),
        ]
        top = [float(scores[v, best[v]]) for v in each]
        found = [v for v in each if top[v] >= enough[v]]
        if not found:
            self._missed += 1
            self._motion[:] = 0
            self._state = State.LOST
            return Track(last, top[0], self._state)
        view = 0 if found[0] == 0 else max(found, key=top.__getitem__)
        score, factor = top[view], penalty[view, best[view]]
        self._state = self._state_of(score)
        rate = s.lr * factor * score if self._state == State.TRACKING else 0.0
        cx, cy, w, h = candidates[view, 1:, best[view]] * scale
        self._box = _inside(
            views[view].x + cx,
            views[view].y + cy,
            last.w + rate * (w - last.w),
            last.h + rate * (h - last.h),
            self._size,
        )
        if not self._missed:
            moved = (self._box.cx - last.cx, self._box.cy - last.cy)
            self._motion += SMOOTHING * (moved - self._motion)
        self._missed = 0
        return Track(self._box, score, self._state)

    def _state_of(self, score: float) -> State:
        """Return the state of a target that is in sight."""
        sure = (
            self.settings.uncertain_threshold
            if self._state == State.TRACKING
            else self.settings.reacquire_threshold
        )
        return State.TRACKING if score >= sure else State.UNCERTAIN

    def _place_ahead(self) -> tuple[float, float]:
        """Return where the target will be if it keeps `motion` of its motion."""
        x, y = self.settings.motion_gain * self._motion
        return _on_image(self._box.cx + x, self._box.cy + y, *self._size)

    def _penalty(self, sizes: Floats, w: float, h: float) -> Floats:
        """Return (V, N) factors in (0, 1] for sizes (V, 2, N): 1 for the last size and ratio.

        They are those of SiamRPN, Eq. 13.
        """

        def change(ratio: Floats) -> Floats:
            return np.maximum(ratio, 1 / ratio)

        new_w, new_h = np.moveaxis(np.maximum(sizes, 1e-3), 1, 0)
        margin = (new_w + new_h) / 2
        size = np.sqrt((new_w + margin) * (new_h + margin)) / context_side(w, h)
        ratio = (new_w / new_h) / (w / h)
        return np.exp(-self.settings.penalty_k * (change(size) * change(ratio) - 1))


def update_all(trackers: Sequence[Tracker], images: Sequence[Image]) -> list[Track]:
    """Update trackers of one model, each with its image, by one search of the network for all.

    Raises as `Tracker.update`; then none of them has moved on.
    """
    if not trackers:
        return []
    looks = [tracker.search_views(image) for tracker, image in zip(trackers, images, strict=True)]
    templates = [tracker._template for tracker, views in zip(trackers, looks) for _ in views]
    together = [view for views in looks for view in views]
    candidates = trackers[0]._model.search(together, templates)
    tracks, start = [], 0
    for tracker, views in zip(trackers, looks):
        stop = start + len(views)
        tracks.append(tracker.decode(views, candidates[start:stop]))
        start = stop
    return tracks


class _Tiles:
    """The places round (cx, cy), `step` apart, that tile an image (width, height).

    They go ring after ring, and round in each. None is kept, for an image may have a million.
    """

    def __init__(self, cx: float, cy: float, step: float, size: tuple[int, int]) -> None:
        self._center, self._step, self._size = (cx, cy), step, size
        width, height = size
        self._left, self._right = math.ceil(cx / step), math.ceil((width - cx) / step)
        self._above, self._below = math.ceil(cy / step), math.ceil((height - cy) / step)
        self._rings = max(self._left, self._right, self._above, self._below)

    def __len__(self) -> int:
        return self._within(self._rings)

    def __getitem__(self, number: int) -> tuple[float, float]:
        if not 0 <= number < len(self):
            raise IndexError(number)
        ring = bisect_right(range(self._rings), number, key=self._within)
        x, y = self._ring(ring)[number - self._within(ring - 1)]
        cx, cy = self._center
        return _on_image(cx + x * self._step, cy + y * self._step, *self._size)

    def _ranges(self, ring: int) -> tuple[range, range]:
        """Return the columns and rows, counted from the middle, as far out as a ring."""
        columns = range(-min(self._left, ring), min(self._right, ring) + 1)
        return columns, range(-min(self._above, ring), min(self._below, ring) + 1)

    def _within(self, ring: int) -> int:
        """Return how many tiles there are as far out as a ring, without that in the middle."""
        columns, rows = self._ranges(ring)
        return len(columns) * len(rows) - 1

    def _ring(self, ring: int) -> list[tuple[int, int]]:
        """Return column and row of the tiles of one ring."""
        columns, rows = self._ranges(ring)
        tiles = {(x, y) for x in (-ring, ring) if x in columns for y in rows}
        tiles |= {(x, y) for y in (-ring, ring) if y in rows for x in columns}
        return sorted(tiles, key=lambda tile: math.atan2(tile[1], tile[0]))


def _centred_inside(box: Box, width: int, height: int) -> Box:
    """Move a box whose centre is outside of the image: images may change their size."""
    cx, cy = _on_image(box.cx, box.cy, width, height)
    return box if (cx, cy) == (box.cx, box.cy) else Box.from_center(cx, cy, box.w, box.h)


def _on_image(x: float, y: float, width: int, height: int) -> tuple[float, float]:
    return min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))


def _inside(cx: float, cy: float, w: float, h: float, size: tuple[int, int]) -> Box:
    """Keep the centre in the image and the size between MIN_SIDE and the image's own."""
    width, height = size
    cx, cy = _on_image(cx, cy, width, height)
    w = min(max(w, MIN_SIDE), float(width))
    h = min(max(h, MIN_SIDE), float(height))
    return Box.from_center(cx, cy, w, h)
