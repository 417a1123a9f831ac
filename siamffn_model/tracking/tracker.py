"""Siamese tracking of one target: the inference of SiamRPN and SiamBAN, plus re-detection."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from itertools import chain
from typing import NamedTuple, Protocol

import numpy as np

from siamffn_model.errors import NotReadyError
from siamffn_model.imaging.crop import SEARCH_SIZE, View, context_side, mean_colour, search_side
from siamffn_model.imaging.geometry import Box, clip_point
from siamffn_model.imaging.image import Image, check_image
from siamffn_model.runtimes.runtime import Floats, Runtime, Template
from siamffn_model.tracking.appearance import Appearance
from siamffn_model.tracking.aspect_ratio import size_correction
from siamffn_model.tracking.motion import Motion
from siamffn_model.tracking.redetection import TILE_SPACING, SearchTiles
from siamffn_model.tracking.settings import TrackerSettings
from siamffn_model.tracking.steadiness import (
    displacement_factor,
    mean_candidate,
    overlaps,
    size_factor,
)

MIN_SIDE = 10.0  # smallest width and height of an updated box, in pixels
MIN_SEARCH_SIDE = search_side(MIN_SIDE, MIN_SIDE)  # lower bound for the distance of tiles
RIVAL_SCORE = 0.9  # fraction of the best score that a candidate elsewhere needs to be a rival
RIVAL_OVERLAP = 0.1  # largest IoU of a rival with the best candidate


class State(IntEnum):
    """State of a target, with the values of msg/TrackStatus.msg."""

    IDLE = 0
    TRACKING = 1
    UNCERTAIN = 2
    LOST = 3


class Track(NamedTuple):
    """Result for one frame: box in pixels of the image, score in [0, 1], state."""

    box: Box
    score: float
    state: State


class TrackerProtocol(Protocol):
    """Interface of all trackers, including baselines; `init` may be called again."""

    def init(self, image: Image, box: Box) -> None:
        """Initialise the tracker with the target in `box` of a BGR uint8 image (H, W, 3)."""

    def update(self, image: Image) -> Track:
        """Track the target in the next image, BGR uint8 (H, W, 3)."""


class Tracker:
    """Track one target; several trackers may share one model (see `update_all`).

    A LOST target keeps its last box. It is searched there and in tiles around it, from the nearest
    to the farthest, until they have covered the image, and then from the nearest again. It is not
    found in what looks like neither its template nor what it changed to (see `Appearance`). Where
    there is only that, a target with a score too low for TRACKING is LOST.

    A target that scores high is reported as UNCERTAIN nevertheless while the search region contains
    a rival, a candidate elsewhere with almost the same score, and after it was LOST until it is as
    similar to its template as it was before (see `Appearance`).

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
        """Initialise the tracker with the target in `box` of a BGR uint8 image (H, W, 3).

        Raises `ImageError` or `BoxError`; the tracker then keeps its previous target.
        """
        height, width = check_image(image).shape[:2]
        box = Box(*map(float, box))
        box.check(width, height)
        fill = mean_colour(image)
        template = self._model.template(_template_view(image, box, fill))
        self._size_correction = self._measure_size_correction(image, box, fill, template)
        self._appearance = Appearance(self._model.features(template))
        self._template = template
        self._box, self._size, self._fill, self._frames_lost = box, (width, height), fill, 0
        self._motion = Motion()
        self._state = State.TRACKING

    def update(self, image: Image) -> Track:
        """Track the target in the next image, BGR uint8 (H, W, 3).

        Raises `ImageError`, or `NotReadyError` before `init`.
        """
        return update_all([self], [image])[0]

    def check_input(self, image: Image) -> None:
        """Raise what `update` raises; change nothing."""
        if self._template is None:
            raise NotReadyError(
                'update() was called before init(): call init() with the first image and box'
            )
        check_image(image)

    def search_views(self, image: Image) -> list[View]:
        """Return the search regions of the next image; the first is at the predicted position.

        The image must have passed `check_input`.
        """
        height, width = image.shape[:2]
        self._fit_box((width, height))
        last = self._box
        side = search_side(last.w, last.h)
        predicted = self._motion.predict(last.cx, last.cy, self.settings.motion_gain)
        centers = [clip_point(*predicted, width, height)]
        if self._frames_lost:
            step = TILE_SPACING * max(side, MIN_SEARCH_SIDE)
            tiles = SearchTiles(last.cx, last.cy, step, self._size)
            count = self.settings.max_searches - 1
            first = (self._frames_lost - 1) * count
            centers += [tiles[(first + n) % len(tiles)] for n in range(min(count, len(tiles)))]
        return [View(image, x, y, side, self._fill) for x, y in centers]

    def decode(self, views: list[View], candidates: Floats) -> Track:
        """Update the state from the candidates (V, 5, N) of V views; return the track."""
        scale = views[0].side / SEARCH_SIZE  # pixels of the image per pixel of the search crop
        last_w, last_h = self._box.w / scale, self._box.h / scale
        scores, sizes = candidates[:, 0], candidates[:, 3:]
        if not self._model.score_map.sized:
            sizes[:, 0], sizes[:, 1] = last_w, last_h
        sizes *= self._size_correction[:, None]
        penalty = self._penalty(sizes, last_w, last_h)
        pscore = penalty * scores
        influence = self.settings.window_influence
        pscore[0] = (1 - influence) * pscore[0] + influence * self._window
        best_idx = pscore.argmax(axis=1)
        best_scores = [float(scores[v, idx]) for v, idx in enumerate(best_idx)]
        for v in self._eligible_views(best_scores):
            best = best_idx[v]
            candidate = scale * mean_candidate(candidates[v, 1:], pscore[v], best)
            if self._is_sure(best_scores[v]) or self._resembles_target(views[v], candidate):
                break
        else:
            self._frames_lost += 1
            self._motion.reset()
            self._appearance.lose()
            self._state = State.LOST
            return Track(self._box, best_scores[0], self._state)
        track = self._follow(views[v], candidate, best_scores[v], penalty[v, best])
        self._check_appearance(views[v].image)
        if self._appearance.doubtful or _has_rival(candidates[v], best):
            return track._replace(state=State.UNCERTAIN)
        return track

    def _measure_size_correction(
        self, image: Image, box: Box, fill: tuple[float, float, float], template: Template
    ) -> Floats:
        """Return the factors (2) of the widths and heights of candidates in later images."""
        if not self._model.score_map.sized:
            return np.ones(2)
        view = View(image, box.cx, box.cy, search_side(box.w, box.h), fill)
        candidates = self._model.search([view], [template])[0]
        candidates[1:] *= view.side / SEARCH_SIZE
        return size_correction(candidates, box)

    def _eligible_views(self, scores: list[float]) -> list[int]:
        """Return the indices of the views that may show the target, given the best score of each.

        The first view, at the predicted position, takes precedence; the others are in descending
        order of their scores.
        """
        s = self.settings
        recent = self._frames_lost <= s.lost_patience
        threshold = s.lost_threshold if recent else s.reacquire_threshold
        first = [0] if scores[0] >= threshold else []
        others = [v for v in range(1, len(scores)) if scores[v] >= s.reacquire_threshold]
        return first + sorted(others, key=scores.__getitem__, reverse=True)

    def _is_sure(self, score: float) -> bool:
        """Return whether a candidate with this score is followed without a comparison."""
        if self._frames_lost:
            return False
        return not self.settings.lost_threshold or self._visible_state(score) == State.TRACKING

    def _resembles_target(self, view: View, candidate: Floats) -> bool:
        """Return whether a candidate of a view, see `_follow`, looks like the target."""
        dx, dy, w, h = candidate.tolist()
        box = _limited_box(view.x + dx, view.y + dy, w, h, self._size)
        return self._appearance.resembles(self._features(view.image, box))

    def _follow(self, view: View, candidate: Floats, score: float, penalty: float) -> Track:
        """Update box and state from the best candidate of a view.

        Args:
            view: the search region.
            candidate: (4), x and y of the centre relative to the view's, width and height, in
                pixels of the image.
            score: score of the best candidate.
            penalty: penalty of the best candidate.
        """
        last = self._box
        self._state = self._visible_state(score)
        lr = self.settings.lr * penalty * score if self._state == State.TRACKING else 0.0
        dx, dy, w, h = candidate.tolist()
        lr *= size_factor(w, h, last)
        if not self._frames_lost:
            factor = displacement_factor(dx, dy, last)
            dx, dy = factor * dx, factor * dy
        self._box = _limited_box(
            view.x + dx,
            view.y + dy,
            last.w + lr * (w - last.w),
            last.h + lr * (h - last.h),
            self._size,
        )
        if not self._frames_lost:
            self._motion.update((self._box.cx - last.cx, self._box.cy - last.cy))
        self._frames_lost = 0
        return Track(self._box, score, self._state)

    def _check_appearance(self, image: Image) -> None:
        if self._state == State.TRACKING and self._appearance.due():
            self._appearance.measure(self._features(image, self._box))

    def _features(self, image: Image, box: Box) -> Floats:
        """Return the features (C, H, W) of what is in a box, as those of the template."""
        view = _template_view(image, box, self._fill)
        return self._model.features(self._model.template(view))

    def _fit_box(self, size: tuple[int, int]) -> None:
        """Scale the box to images of another size (width, height); keep its centre inside."""
        if size != self._size:
            factor_x, factor_y = size[0] / self._size[0], size[1] / self._size[1]
            x, y, w, h = self._box
            self._box = Box(x * factor_x, y * factor_y, w * factor_x, h * factor_y)
            self._motion.reset()
            self._size = size
        cx, cy = clip_point(self._box.cx, self._box.cy, *size)
        if (cx, cy) != (self._box.cx, self._box.cy):
            self._box = Box.from_center(cx, cy, self._box.w, self._box.h)

    def _visible_state(self, score: float) -> State:
        """Return the state for a score that does not make the target LOST."""
        tracking = self._state == State.TRACKING
        s = self.settings
        threshold = s.uncertain_threshold if tracking else s.reacquire_threshold
        return State.TRACKING if score >= threshold else State.UNCERTAIN

    def _penalty(self, sizes: Floats, w: float, h: float) -> Floats:
        """Return the penalty (V, N) in (0, 1] on changes of scale and ratio (SiamRPN, Eq. 13).

        Args:
            sizes: (V, 2, N), widths and heights in pixels of the search crop.
            w: last width in pixels of the search crop.
            h: last height in pixels of the search crop.
        """

        def change(ratio: Floats) -> Floats:
            return np.maximum(ratio, 1 / ratio)

        new_w, new_h = np.moveaxis(np.maximum(sizes, 1e-3), 1, 0)
        margin = (new_w + new_h) / 2
        s_c = change(np.sqrt((new_w + margin) * (new_h + margin)) / context_side(w, h))
        r_c = change((new_w / new_h) / (w / h))
        return np.exp(-self.settings.penalty_k * (s_c * r_c - 1))


def update_all(trackers: Sequence[Tracker], images: Sequence[Image]) -> list[Track]:
    """Update trackers of one model, each with its image, in one call of `Runtime.search`.

    Raises what `Tracker.update` raises; the targets of all trackers are then unchanged.
    """
    if not trackers:
        return []
    for tracker, image in zip(trackers, images, strict=True):
        tracker.check_input(image)
    views = [tracker.search_views(image) for tracker, image in zip(trackers, images)]
    templates = [tracker._template for tracker, own in zip(trackers, views) for _ in own]
    candidates = trackers[0]._model.search(list(chain.from_iterable(views)), templates)
    tracks, start = [], 0
    for tracker, own in zip(trackers, views):
        stop = start + len(own)
        tracks.append(tracker.decode(own, candidates[start:stop]))
        start = stop
    return tracks


def _template_view(image: Image, box: Box, fill: tuple[float, float, float]) -> View:
    """Return the region of the template: the box with context."""
    return View(image, box.cx, box.cy, context_side(box.w, box.h), fill)


def _has_rival(candidates: Floats, best: int) -> bool:
    """Return whether another of the candidates (5, N) of a view scores almost as high elsewhere."""
    high = candidates[:, candidates[0] >= RIVAL_SCORE * candidates[0, best]]
    return bool((overlaps(high[1:], candidates[1:, best]) < RIVAL_OVERLAP).any())


def _limited_box(cx: float, cy: float, w: float, h: float, size: tuple[int, int]) -> Box:
    """Return the box with its centre in the image and its size in [MIN_SIDE, image size]."""
    width, height = size
    cx, cy = clip_point(cx, cy, width, height)
    w = min(max(w, MIN_SIDE), float(width))
    h = min(max(h, MIN_SIDE), float(height))
    return Box.from_center(cx, cy, w, h)
