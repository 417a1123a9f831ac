"""Fixtures of the tests of evaluation."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from siamffn_model.imaging.geometry import Box
from siamffn_model.tracking import Track, TrackerProtocol


class Clock:
    """A simulated clock: reading an image takes 100 seconds, init 3, update 1."""

    def __init__(self) -> None:
        self.now = 0.0

    def reading(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the images and advance the clock for each."""
        for image in images:
            self.now += 100
            yield image

    def timed(self, tracker: TrackerProtocol) -> TrackerProtocol:
        """Return the tracker with calls that advance the clock."""
        return _TimedTracker(self, tracker)


class _TimedTracker:
    def __init__(self, clock: Clock, tracker: TrackerProtocol) -> None:
        self.clock, self.tracker = clock, tracker

    def init(self, image: np.ndarray, box: Box) -> None:
        self.clock.now += 3
        self.tracker.init(image, box)

    def update(self, image: np.ndarray) -> Track:
        self.clock.now += 1
        return self.tracker.update(image)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A simulated clock that replaces `time.perf_counter`."""
    clock = Clock()
    monkeypatch.setattr(time, 'perf_counter', lambda: clock.now)
    return clock
