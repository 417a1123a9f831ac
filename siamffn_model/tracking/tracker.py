"""Siamese tracking of one target (SiamRPN's inference, as SiamBAN uses it)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siamffn_model.errors import SiamFFNError
from siamffn_model.geometry import Box
from siamffn_model.networks.score_map import SEARCH_SIZE, TEMPLATE_SIZE
from siamffn_model.networks.siamese import Network
from siamffn_model.tracking.crop import (
    Image,
    check_image,
    context_side,
    crop_square,
    mean_colour,
)

RINGS = 12  # of searches round a lost target, at most
SMOOTHING = 0.5  # share of the last step in the motion
MIN_SIDE = 10.0  # pixels: a target is never shrunk below this, so that it can be found again
# Where to look for a lost target, in halves of the search's side: ring after ring.
ROUND_ABOUT = sorted(
    ((x, y) for x in range(-RINGS, RINGS + 1) for y in range(-RINGS, RINGS + 1)),
    key=lambda place: (max(map(abs, place)), math.atan2(place[1], place[0])),
)


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


class AnyTracker(Protocol):
    """What a tracker is to the rest: ours, or another's; `init` may be called again."""

    def init(self, image: Image, box: Box) -> None:
        """Learn the target in `box` of a BGR uint8 image (H, W, 3)."""

    def update(self, image: Image) -> Track:
        """Find the target in the next image."""


@dataclass(frozen=True)
class Settings:
    """How responses become a box.

    `window` is the weight of the Hanning window, `penalty_k` that of changes in size and ratio,
    `lr` the share of the new size. `motion` is the share of its motion, as smoothed over images,
    by which the target is looked for farther on. Below `uncertain` it is UNCERTAIN, below `lost`
    LOST.
    """

    window: float = 0.30
    penalty_k: float = 0.10
    lr: float = 0.30
    motion: float = 0.80
    uncertain: float = 0.90
    lost: float = 0.40


class Tracker:
    """Follow one target; several trackers may share one model.

    A target that is LOST keeps its last box and is looked for there and, in every other image,
    farther and farther away, at the cost of one search an image. There its score must be that of
    TRACKING, since more things are seen.

    >>> tracker = Tracker(load_model())          # doctest: +SKIP
    >>> tracker.init(first_image, Box(10, 20, 30, 40))          # doctest: +SKIP
    >>> box, score, state = tracker.update(next_image)          # doctest: +SKIP
    """

    def __init__(self, model: Network, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._model = model
        self._device = next(model.parameters()).device
        self._template: list[Tensor] | None = None
        self._points = model.score_map.points()
        self._window = model.score_map.window()

    def init(self, image: Image, box: Box) -> None:
        """Learn the target in `box` of a BGR uint8 image (H, W, 3).

        Raises `ImageError` or `BoxError`; an earlier target is then still followed.
        """
        height, width = check_image(image).shape[:2]
        box = Box(*map(float, box))
        box.check(width, height)
        fill = mean_colour(image)
        side = context_side(box.w, box.h)
        crop = crop_square(image, box.cx, box.cy, side, TEMPLATE_SIZE, fill)
        with torch.inference_mode():
            self._template = self._model.template(self._tensor(crop))
        self._box, self._fill, self._missed = box, fill, 0
        self._motion = np.zeros(2)

    def update(self, image: Image) -> Track:
        """Find the target in the next image; raises `ImageError`; before `init`, `SiamFFNError`."""
        if self._template is None:
            raise SiamFFNError('update() before init(): give the first image and its box to init()')
        height, width = check_image(image).shape[:2]
        last = self._box = _centred_inside(self._box, width, height)
        side = context_side(last.w, last.h) * SEARCH_SIZE / TEMPLATE_SIZE
        away = self._missed > 0 and self._missed % 2 == 0
        x, y = self._place_away(side, width, height) if away else self._place_ahead(width, height)
        scores, boxes = self._search(crop_square(image, x, y, side, SEARCH_SIZE, self._fill))
        scale = side / SEARCH_SIZE
        if not self._model.score_map.sized:
            boxes[:, 2:] = last.w / scale, last.h / scale
        penalty = self._penalty(boxes, last.w / scale, last.h / scale)
        s = self.settings
        window = 0.0 if away else s.window
        ranked = (1 - window) * penalty * scores + window * self._window
        best = int(ranked.argmax())
        score = float(scores[best])
        if score < (s.uncertain if away else s.lost):
            self._missed += 1
            self._motion[:] = 0
            return Track(last, score, State.LOST)
        rate = s.lr * penalty[best] * score
        cx, cy, w, h = boxes[best] * scale
        self._box = _inside(
            x + cx,
            y + cy,
            last.w + rate * (w - last.w),
            last.h + rate * (h - last.h),
            (width, height),
        )
        if not self._missed:
            moved = (self._box.cx - last.cx, self._box.cy - last.cy)
            self._motion += SMOOTHING * (moved - self._motion)
        self._missed = 0
        return Track(self._box, score, State.UNCERTAIN if score < s.uncertain else State.TRACKING)

    def _place_ahead(self, width: int, height: int) -> tuple[float, float]:
        """Return where the target will be if it keeps `motion` of its motion."""
        x, y = self.settings.motion * self._motion
        return _on_image(self._box.cx + x, self._box.cy + y, width, height)

    def _place_away(self, side: float, width: int, height: int) -> tuple[float, float]:
        """Return where to look for a lost target next: a place in the image near its last box."""
        cx, cy = self._box.cx, self._box.cy
        places = [(cx + dx * side / 2, cy + dy * side / 2) for dx, dy in ROUND_ABOUT]
        inside = [(x, y) for x, y in places if 0 <= x <= width and 0 <= y <= height]
        return inside[self._missed // 2 % len(inside)]

    def _search(self, crop: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return scores (N) and boxes (N, 4): centre from the crop's centre, and size."""
        assert self._template is not None
        with torch.inference_mode():
            cls, reg = self._model.search(self._tensor(crop), self._template)
            scores = cls.softmax(dim=1)[0, 1]
            left, top, right, bottom = reg[0].double().cpu().numpy()
        x, y = self._points
        center = [x + (right - left) / 2, y + (bottom - top) / 2]
        boxes = np.stack([*center, left + right, top + bottom], axis=1)
        return scores.double().cpu().numpy(), boxes

    def _penalty(self, boxes: NDArray[np.float64], w: float, h: float) -> NDArray[np.float64]:
        """Return (N) factors in (0, 1]: 1 for the last size and ratio (SiamRPN, Eq. 13)."""

        def change(ratio: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.maximum(ratio, 1 / ratio)

        new_w, new_h = np.maximum(boxes[:, 2:], 1e-3).T
        margin = (new_w + new_h) / 2
        size = np.sqrt((new_w + margin) * (new_h + margin)) / context_side(w, h)
        ratio = (new_w / new_h) / (w / h)
        return np.exp(-self.settings.penalty_k * (change(size) * change(ratio) - 1))

    def _tensor(self, crop: Image) -> Tensor:
        pixels = torch.from_numpy(crop).to(self._device)
        return pixels.permute(2, 0, 1)[None].float()


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
