"""The rate at which a camera takes images, estimated from the stamps of those that arrive."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

WINDOW = 30  # intervals between stamps
MAX_GAP = 5_000_000_000  # nanoseconds: a longer interval is a pause of the camera
MIN_LOSS = 0.25  # fraction that is reported
TOLERANCE = 0.2  # of a period, by which an interval may differ from a multiple
MIN_REGULAR = 0.8  # fraction of intervals within the tolerance


class Loss(NamedTuple):
    """Images per second that the camera takes, and that do not arrive."""

    taken: float
    lost: float


class StampRate:
    """Compare the number of images that arrive with the rate that their stamps show.

    Lost images leave intervals of two periods and more between those of one. A camera of variable
    rate has other intervals, and one that changes its rate has long and short ones in turn.
    """

    def __init__(self) -> None:
        self._intervals: deque[int] = deque(maxlen=WINDOW)
        self._last = 0

    def add(self, stamp: int) -> None:
        """Count an image that has arrived; `stamp` in nanoseconds."""
        interval, self._last = stamp - self._last, stamp
        if interval < 0 or interval > MAX_GAP:
            self._intervals.clear()
        elif interval:
            self._intervals.append(interval)

    def loss(self) -> Loss | None:
        """Return how many images are lost; None for few, and for too few to tell."""
        intervals = list(self._intervals)
        if len(intervals) < WINDOW:
            return None
        shortest = sorted(intervals)[1]  # one may be shorter by jitter
        period = statistics.median(each for each in intervals if each < 1.5 * shortest)
        multiples = [max(round(each / period), 1) for each in intervals]
        regular = sum(
            abs(each / period - multiple) < TOLERANCE
            for each, multiple in zip(intervals, multiples, strict=True)
        )
        halves = multiples[: WINDOW // 2], multiples[WINDOW // 2 :]
        if regular < MIN_REGULAR * WINDOW or not all(map(_is_lossy, halves)):
            return None
        taken = 1e9 / period
        return Loss(taken, taken * (1 - len(multiples) / sum(multiples)))


def _is_lossy(multiples: Sequence[int]) -> bool:
    return 1 in multiples and 1 - len(multiples) / sum(multiples) >= MIN_LOSS
