"""The console's back end without ROS: one tracker on a video, folder, camera or stream."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple, TypeVar

from siamffn_model.console.backend import Answer, CameraFrame, Listener, TrackerInfo
from siamffn_model.errors import ConfigError, DataError, SiamFFNError
from siamffn_model.imaging.crop import search_region
from siamffn_model.imaging.frames import Frames
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image
from siamffn_model.imaging.live_source import read_live
from siamffn_model.live.frame_buffer import Frame
from siamffn_model.live.pipeline import TrackingPipeline
from siamffn_model.live.results import Result, Target
from siamffn_model.live.targets import TargetStatus
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.tracking import State, TrackerSettings

TRACKER = 'tracker'  # name of the only one
MAX_TARGETS = 16
BUFFER_SECONDS, BUFFER_MEGABYTES = 10.0, 1000.0  # of images for boxes that arrive late
RETRY_SECONDS = 2.0  # until a source that has failed is opened again
Given = TypeVar('Given')
Wanted = TypeVar('Wanted')


class _Place(NamedTuple):
    """An image of a repeated video: how often the video has ended before, and its number."""

    turn: int
    number: int


class VideoBackend:
    """One tracker in this process; a `Backend`.

    A video is played at its rate again and again. In each turn a target is LOST until the image in
    which it was given, and starts there again.

    Args:
        source: a video or folder, or the name of a live source.
        load_model: returns the model; called in the tracker's thread.
        settings: of the tracker.
    """

    can_record = False

    def __init__(
        self, source: Frames | str, load_model: Callable[[], Runtime], settings: TrackerSettings
    ) -> None:
        self._source = source
        self._camera = source if isinstance(source, str) else source.path.name
        self._paused = False
        self._problem = ''  # of the source
        self._complaint = ''  # the last problem that was reported as an event
        self._repeated = False
        self._lock = threading.Lock()  # a target is not started after it was stopped
        self._ids = itertools.count(1)
        self._turn = 0
        self._newest = _Place(0, 0)
        self._stamps: dict[int, _Place] = {}  # of the last images
        self._given: dict[str, tuple[_Place, Box]] = {}  # where each target was started last
        self._waiting: set[str] = set()  # targets that have not yet been found in this turn
        self._listener: Listener
        self._closed = threading.Event()
        self._pipeline = TrackingPipeline(
            load_model,
            settings,
            MAX_TARGETS,
            BUFFER_SECONDS,
            BUFFER_MEGABYTES,
            self._on_result,
            self._on_error,
        )
        self._thread = threading.Thread(target=self._run, name='source', daemon=True)

    def open(self, listener: Listener) -> None:
        """See `Backend`."""
        self._listener = listener
        self._report()
        self._thread.start()

    def watch(self, trackers: Collection[str]) -> None:
        """See `Backend`; all is reported in any case."""

    def init(self, tracker: str, box: Box, stamp: int, target_id: str) -> Future[Answer]:
        """See `Backend`."""
        future = self._pipeline.init(box, stamp, target_id or self._new_id())
        return _map(future, lambda name: self._remember(Answer(name, box), stamp))

    def init_point(
        self, tracker: str, point: tuple[float, float], radius: float, stamp: int, target_id: str
    ) -> Future[Answer]:
        """See `Backend`."""
        future = self._pipeline.init_point(point, radius, stamp, target_id or self._new_id())
        return _map(future, lambda answer: self._remember(Answer(*answer), stamp))

    def _new_id(self) -> str:
        """Return an id that no target has, also none that waits for its image."""
        return next(name for number in self._ids if (name := str(number)) not in self._given)

    def _remember(self, answer: Answer, stamp: int) -> Answer:
        with self._lock:
            self._given[answer.target_id] = self._stamps.get(stamp, self._newest), answer.box
            self._waiting.discard(answer.target_id)
        return answer

    def stop(self, tracker: str, target_id: str) -> Future[None]:
        """See `Backend`."""
        waits = target_id in self._waiting
        with self._lock:
            for name in [target_id] if target_id else list(self._given):
                self._given.pop(name, None)
                self._waiting.discard(name)
            future = self._pipeline.stop(target_id)
        return _done() if waits else _map(future, lambda _: None)

    def pause(self, tracker: str, paused: bool) -> Future[None]:
        """See `Backend`."""
        self._paused = paused
        self._pipeline.enable(not paused)
        self._report()
        return _done()

    def record(self, tracker: str, images: bool) -> Future[Path]:
        """See `Backend`."""
        raise ConfigError('recording needs the console of the ROS package')

    def stop_recording(self, tracker: str) -> Future[Path]:
        """See `Backend`."""
        return self.record(tracker, False)

    def close(self) -> None:
        """See `Backend`."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        self._pipeline.close()

    def _report(self) -> None:
        info = TrackerInfo(TRACKER, self._camera, self._problem, self._paused)
        self._listener.on_trackers([info])

    # --- in the thread of the source

    def _run(self) -> None:
        """Push the images until closed; open the source again when it has ended or failed."""
        while not self._closed.is_set():
            try:
                for number, image in self._images():
                    self._push(number, image)
                    if self._closed.is_set():
                        return
                if isinstance(self._source, str):
                    raise DataError(f'{self._source} has ended: it is opened again')
            except SiamFFNError as error:
                self._fail(str(error))
            else:
                self._restart()

    def _images(self) -> Iterator[tuple[int, Image]]:
        """Yield each image with its number when it is due; a live source delivers it then."""
        if isinstance(self._source, str):
            yield from enumerate(read_live(self._source))
            return
        start, due = time.monotonic(), 0.0
        for frame in self._source.read():
            if self._closed.wait(max(start + frame.time - time.monotonic(), 0)):
                return
            yield frame.number, frame.image
            due = frame.time + 1 / self._source.fps
        self._closed.wait(max(start + due - time.monotonic(), 0))

    def _push(self, number: int, image: Image) -> None:
        if self._problem:
            self._problem = ''
            self._report()
        stamp = time.time_ns()
        self._newest = self._stamps[stamp] = _Place(self._turn, number)
        while next(iter(self._stamps)) < stamp - BUFFER_SECONDS * 1e9:
            del self._stamps[next(iter(self._stamps))]
        self._listener.on_frame(TRACKER, CameraFrame(stamp, lambda: image))
        self._pipeline.push(Frame(stamp, lambda: image, image.nbytes, stamp, time.monotonic()))
        with self._lock:
            for name, (place, box) in self._given.items():
                if place.turn < self._turn and place.number == number:
                    self._given[name] = self._newest, box
                    self._pipeline.init(box, stamp, name)

    def _fail(self, problem: str) -> None:
        """Report why there are no images, the same reason as an event only once."""
        self._problem = problem
        self._report()
        if problem != self._complaint:
            self._complaint = problem
            self._listener.on_event(TRACKER, problem)
        self._closed.wait(RETRY_SECONDS)

    def _restart(self) -> None:
        """Stop the targets, which the first image does not show where the last one did."""
        if self._newest.number == 0:
            return  # a single image
        self._turn += 1
        self._pipeline.stop().add_done_callback(lambda _: self._waiting.update(self._given))
        if not self._repeated:
            self._repeated = True
            self._listener.on_event(TRACKER, f'{self._camera} has ended and is repeated')

    # --- in the tracker's thread

    def _on_result(self, frame: Frame, targets: tuple[TargetStatus, ...]) -> None:
        found = {each.id: _target(each) for each in targets if each.frame_number == frame.number}
        self._waiting -= found.keys()
        for name in self._given.copy():
            if name in self._waiting:
                found[name] = _waiting(name)
        self._listener.on_result(TRACKER, Result(frame.stamp, tuple(found.values())))

    def _on_error(self, error: Exception) -> None:
        self._listener.on_event(TRACKER, f'an image was not tracked: {error}')


def _target(status: TargetStatus) -> Target:
    box, score, state = status.track
    lost = state == State.LOST
    return Target(
        status.id,
        state,
        None if lost else box,
        search_region(box) if lost else None,
        score,
        status.processed,
        status.dropped,
        status.last_ms,
    )


def _waiting(target_id: str) -> Target:
    """Return the target that waits for the image of the video in which it was given."""
    return Target(target_id, State.LOST, None, None, 0.0, 1, 0, 0.0)


def _done() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future


def _map(future: Future[Given], function: Callable[[Given], Wanted]) -> Future[Wanted]:
    """Return a future with the function of the result, or with the exception."""
    mapped: Future[Wanted] = Future()

    def finish(done: Future[Given]) -> None:
        if done.cancelled():
            mapped.cancel()
        elif error := done.exception():
            mapped.set_exception(error)
        else:
            mapped.set_result(function(done.result()))

    future.add_done_callback(finish)
    return mapped
