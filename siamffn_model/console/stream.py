"""The newest images and results of one tracker, and figures of them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Executor
from statistics import median

from siamffn_model.console.backend import CameraFrame
from siamffn_model.console.picture import Picture
from siamffn_model.live.results import Result

RESULT_TIMEOUT = 0.15  # seconds that an image waits for its targets
KEPT_PICTURES = 10  # images that wait for their targets, at most
CATCH_UP_SECONDS = 10.0  # that a late target may take until it is in the results
PERIOD = 1.0  # seconds over which the figures are taken
MAX_RATE = 1000  # images in a period that are counted


class Stream:
    """What pages that watch a tracker are sent.

    Attributes:
        result: the newest result; None before the first.
        recording: path of the bag that is recorded; empty if none is.
    """

    def __init__(self) -> None:
        self.result: Result | None = None
        self._operators: dict[str, tuple[str, float]] = {}  # with the time of the last sight
        self._starting: dict[str, float] = {}  # times when targets were given
        self._missed: set[str] = set()  # those of them that were not in the result after that
        self.recording = ''
        self._pictures: deque[Picture] = deque(maxlen=KEPT_PICTURES)
        self._arrivals: deque[float] = deque(maxlen=MAX_RATE)
        self._latencies: deque[tuple[float, float]] = deque(maxlen=MAX_RATE)  # with the time
        self._received = 0

    @property
    def has_targets(self) -> bool:
        """Whether the newest result has targets."""
        return bool(self.result and self.result.targets)

    def add_frame(self, frame: CameraFrame, sequence: int, pool: Executor) -> Picture | None:
        """Add an image; return None if its stamp is that of the image before, and not 0."""
        if self._pictures and self._pictures[-1].stamp == frame.stamp != 0:
            return None
        if self._pictures and frame.stamp < self._pictures[-1].stamp:
            self._pictures.clear()  # time has jumped back
        picture = Picture(frame, sequence, pool)
        self._pictures.append(picture)
        self._received += 1
        self._arrivals.append(picture.arrival)
        return picture

    def add_result(self, result: Result) -> None:
        """Add the targets of an image."""
        self.result = result
        now = time.monotonic()
        for picture in self._pictures:
            if picture.stamp == result.stamp:
                picture.result = result
                self._latencies.append((now, now - picture.arrival))
        present = {target.id for target in result.targets}
        for name in self._missed & present:
            self.forget(name)
        self._missed.update(self._starting.keys() - present)
        for target in result.targets:
            if target.id in self._operators:
                self._operators[target.id] = self._operators[target.id][0], now

    @property
    def operators(self) -> Mapping[str, str]:
        """Who has given each target, by its id, while it is tracked."""
        oldest = time.monotonic() - CATCH_UP_SECONDS
        return {name: who for name, (who, seen) in self._operators.items() if seen > oldest}

    @property
    def starting(self) -> list[str]:
        """The ids of targets that were given and may still have to reach the newest image."""
        oldest = time.monotonic() - CATCH_UP_SECONDS
        return [name for name, given in self._starting.items() if given > oldest]

    def forget(self, target_id: str) -> None:
        """Take that a target has started or was stopped; all if the id is empty."""
        for name in [target_id] if target_id else list(self._starting):
            self._starting.pop(name, None)
            self._missed.discard(name)

    def give(self, target_id: str, operator: str) -> None:
        """Take who has given a target."""
        self.forget(target_id)
        self._starting[target_id] = time.monotonic()
        present = self.operators
        self._operators = {name: self._operators[name] for name in present}
        self._operators[target_id] = operator, time.monotonic()

    def ready(self, sequence: int) -> Picture | None:
        """Return the newest image after number `sequence` that can be shown, if there is one.

        It can be shown if its targets are known, if there are none, or if they are overdue.
        """
        overdue = time.monotonic() - RESULT_TIMEOUT
        for picture in reversed(self._pictures):
            if picture.sequence <= sequence:
                return None
            if picture.result or not self.has_targets or picture.arrival <= overdue:
                return picture
        return None

    def figures(self) -> dict[str, float | None]:
        """Return the figures of the last second.

        `fps`, `received` images, how many of them the tracker has left out (`dropped`), and its
        latency in ms; None where nothing has arrived.
        """
        oldest = time.monotonic() - PERIOD
        while self._arrivals and self._arrivals[0] < oldest:
            self._arrivals.popleft()
        while self._latencies and self._latencies[0][0] < oldest:
            self._latencies.popleft()
        latencies = [seconds for _, seconds in self._latencies]
        targets = self.result.targets if self.result else ()
        dropped = max((target.dropped for target in targets), default=0)
        return {
            'fps': round(len(self._arrivals) / PERIOD, 1),
            'received': self._received,
            'dropped': dropped if self._arrivals else None,
            'latency_ms': round(1000 * median(latencies), 1) if latencies else None,
        }
