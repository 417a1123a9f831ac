"""A back end without trackers, which tests drive."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from siamffn_model.console.backend import Answer, CameraFrame, Listener, TrackerInfo
from siamffn_model.errors import BoxError, ConfigError
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image
from siamffn_model.live.results import Result, Target
from siamffn_model.tracking import State

WIDTH, HEIGHT = 320, 240
LEFT, RIGHT = '/left/tracker', '/right/tracker'
TRACKERS = [TrackerInfo(LEFT, '/left/image'), TrackerInfo(RIGHT, '/right/image')]


def numbered_image(number: int) -> Image:
    """Return a grey image whose brightness is the number."""
    return np.full((HEIGHT, WIDTH, 3), number, np.uint8)


BOX = Box(10, 20, 30, 40)


def target(name: str, box: Box = BOX, state: State = State.TRACKING) -> Target:
    lost = state == State.LOST
    return Target(name, state, None if lost else box, box if lost else None, 0.9, 5, 1, 3.0)


class FakeBackend:
    """A `Backend` with two trackers that accepts every box within the image.

    Attributes:
        calls: every request, with its arguments.
        answers: whether requests are answered.
    """

    can_record = True

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.watched: set[str] = set()
        self.answers = True
        self.closed = False
        self.listener: Listener

    def open(self, listener: Listener) -> None:
        self.listener = listener
        listener.on_trackers(TRACKERS)

    def watch(self, trackers: Collection[str]) -> None:
        self.watched = set(trackers)

    def init(self, tracker: str, box: Box, stamp: int, target_id: str) -> Future[Answer]:
        self.calls.append(('init', tracker, box, stamp, target_id))
        try:
            box.check(WIDTH, HEIGHT)
        except BoxError as error:
            return self._future(error)
        return self._future(Answer(target_id or '1', box))

    def init_point(
        self, tracker: str, point: tuple[float, float], radius: float, stamp: int, target_id: str
    ) -> Future[Answer]:
        self.calls.append(('point', tracker, point, radius, stamp, target_id))
        x, y = point
        return self._future(Answer(target_id or '1', Box(x - 5, y - 5, 10, 10)))

    def stop(self, tracker: str, target_id: str) -> Future[None]:
        self.calls.append(('stop', tracker, target_id))
        return self._future(None)

    def pause(self, tracker: str, paused: bool) -> Future[None]:
        self.calls.append(('pause', tracker, paused))
        return self._future(None)

    def record(self, tracker: str, images: bool) -> Future[Path]:
        self.calls.append(('record', tracker, images))
        return self._future(Path('/bags/1.mcap'))

    def stop_recording(self, tracker: str) -> Future[Path]:
        self.calls.append(('stop_recording', tracker))
        return self._future(ConfigError('nothing is recorded: start it first'))

    def close(self) -> None:
        self.closed = True

    def _future(self, value: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if not self.answers:
            return future
        if isinstance(value, Exception):
            future.set_exception(value)
        else:
            future.set_result(value)
        return future

    def frame(self, number: int, tracker: str = LEFT, jpeg: bool = False) -> None:
        """Report an image with this number as stamp in milliseconds and as brightness."""
        image = numbered_image(number)
        data = cv2.imencode('.jpg', image)[1].tobytes() if jpeg else None
        self.listener.on_frame(tracker, CameraFrame(number * 10**6, lambda: image, data))

    def result(self, number: int, targets: Sequence[Target] = (), tracker: str = LEFT) -> None:
        """Report the targets in the image with this number."""
        self.listener.on_result(tracker, Result(number * 10**6, targets))
