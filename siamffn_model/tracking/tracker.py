"""Siamese tracking of one target (SiamRPN's inference, as SiamBAN uses it)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol

import numpy as np

from siamffn_model.errors import NotReadyError
from siamffn_model.imaging.crop import (
    SEARCH_SIZE,
    Image,
    View,
    check_image,
    context_side,
    mean_colour,
    search_side,
)
from siamffn_model.imaging.geometry import Box, clip_point
from siamffn_model.runtimes.runtime import Floats, Runtime, Template
from siamffn_model.tracking.motion import Motion
from siamffn_model.tracking.redetection import TILE_SPACING, SearchTiles

MIN_SIDE = 10.0  # pixels: a target is never shrunk below this, so that it can be found again
MIN_SEARCH_SIDE = search_side(MIN_SIDE, MIN_SIDE)


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
        self._box, self._fill, self._frames_lost = box, fill, 0
        self._motion = Motion()
        self._state = State.TRACKING

    def update(self, image: Image) -> Track:
        """Find the target in the next image; raises `ImageError`; before `init`, `NotReadyError`."""
        return update_all([self], [image])[0]

    def search_views(self, image: Image) -> list[View]:
        """Return the search regions of the next image: where the target is expected, first."""
        if self._template is None:
            raise NotReadyError(
                'update() before init(): give the first image and its box to init()'
            )
        height, width = check_image(image).shape[:2]
        self._size = width, height
        last = self._box = _recentered(self._box, width, height)
        side = search_side(last.w, last.h)
        predicted = self._motion.predict(last.cx, last.cy, self.settings.motion_gain)
        centers = [clip_point(*predicted, width, height)]
        if self._frames_lost:
            tiles = SearchTiles(
                last.cx, last.cy, TILE_SPACING * max(side, MIN_SEARCH_SIDE), self._size
            )
            count = self.settings.max_searches - 1
            first = (self._frames_lost - 1) * count
            centers += [tiles[(first + n) % len(tiles)] for n in range(min(count, len(tiles)))]
        return [View(image, x, y, side, self._fill) for x, y in centers]

    def decode(self, views: list[View], candidates: Floats) -> Track:
        """Return the track that the best of the candidates (V, 5, N) of all views gives."""
        scale = views[0].side / SEARCH_SIZE  # pixels of the image per pixel of the search crop
        last_w, last_h = self._box.w / scale, self._box.h / scale
        scores, sizes = candidates[:, 0], candidates[:, 3:]
        if not self._model.score_map.sized:
            sizes[:, 0], sizes[:, 1] = last_w, last_h
        penalty = self._penalty(sizes, last_w, last_h)
        pscore = penalty * scores
        influence = self.settings.window_influence
        pscore[0] = (1 - influence) * pscore[0] + influence * self._window
        best_idx = pscore.argmax(axis=1)
        best_scores = [float(scores[v, idx]) for v, idx in enumerate(best_idx)]
        v = self._choose_view(best_scores)
        if v is None:
            self._frames_lost += 1
            self._motion.reset()
            self._state = State.LOST
            return Track(self._box, best_scores[0], self._state)
        best = best_idx[v]
        return self._follow(
            views[v], candidates[v, 1:, best] * scale, best_scores[v], penalty[v, best]
        )

    def _choose_view(self, scores: list[float]) -> int | None:
        """Return the view whose best score suffices, the first if possible; None if none does."""
        s = self.settings
        threshold = (
            s.lost_threshold if self._frames_lost <= s.lost_patience else s.reacquire_threshold
        )
        if scores[0] >= threshold:
            return 0
        v = max(range(1, len(scores)), key=scores.__getitem__, default=0)
        return v if v and scores[v] >= s.reacquire_threshold else None

    def _follow(self, view: View, candidate: Floats, score: float, penalty: float) -> Track:
        """Move the box to a candidate: centre from the view's, width and height, in pixels."""
        last = self._box
        self._state = self._visible_state(score)
        lr = self.settings.lr * penalty * score if self._state == State.TRACKING else 0.0
        cx, cy, w, h = candidate
        self._box = _limited_box(
            view.x + cx,
            view.y + cy,
            last.w + lr * (w - last.w),
            last.h + lr * (h - last.h),
            self._size,
        )
        if not self._frames_lost:
            self._motion.update((self._box.cx - last.cx, self._box.cy - last.cy))
        self._frames_lost = 0
        return Track(self._box, score, self._state)

    def _visible_state(self, score: float) -> State:
        """Return the state of a target that has been found with this score."""
        tracking = self._state == State.TRACKING
        s = self.settings
        threshold = s.uncertain_threshold if tracking else s.reacquire_threshold
        return State.TRACKING if score >= threshold else State.UNCERTAIN

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


def _recentered(box: Box, width: int, height: int) -> Box:
    """Move a box whose centre is outside of the image: images may change their size."""
    cx, cy = clip_point(box.cx, box.cy, width, height)
    return box if (cx, cy) == (box.cx, box.cy) else Box.from_center(cx, cy, box.w, box.h)


def _limited_box(cx: float, cy: float, w: float, h: float, size: tuple[int, int]) -> Box:
    """Keep the centre in the image and the size between MIN_SIDE and the image's own."""
    width, height = size
    cx, cy = clip_point(cx, cy, width, height)
    w = min(max(w, MIN_SIDE), float(width))
    h = min(max(h, MIN_SIDE), float(height))
    return Box.from_center(cx, cy, w, h)
