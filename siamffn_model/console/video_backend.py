"""The console's back end without ROS: one tracker on a video, folder, camera or stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from siamffn_model.console.backend import Answer, CameraFrame, Listener, Result, Target, TrackerInfo
from siamffn_model.errors import ConfigError, SiamFFNError
from siamffn_model.imaging.crop import search_region
from siamffn_model.imaging.frames import Frames
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image
from siamffn_model.imaging.live_source import read_live
from siamffn_model.live.frame_buffer import Frame
from siamffn_model.live.pipeline import TrackingPipeline
from siamffn_model.live.targets import TargetStatus
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.tracking import State, TrackerSettings

TRACKER = 'tracker'  # name of the only one
MAX_TARGETS = 16
BUFFER_SECONDS, BUFFER_MEGABYTES = 10.0, 1000.0  # of images for boxes that arrive late
RETRY_SECONDS = 2.0  # until a source that has failed is opened again
Given = TypeVar('Given')
Wanted = TypeVar('Wanted')


class VideoBackend:
    """One tracker in this process; a `Backend`.

    A video is played at its rate again and again, with each target from the image on in which it
    was given.

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
        self._stamps: dict[int, int] = {}  # number of each image of the video by its stamp
        self._given: dict[str, tuple[int, Box]] = {}  # number of the image and box of each target
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
        future = self._pipeline.init(box, stamp, target_id)
        return _map(future, lambda name: self._remember(Answer(name, box), stamp))

    def init_point(
        self, tracker: str, point: tuple[float, float], radius: float, stamp: int, target_id: str
    ) -> Future[Answer]:
        """See `Backend`."""
        future = self._pipeline.init_point(point, radius, stamp, target_id)
        return _map(future, lambda answer: self._remember(Answer(*answer), stamp))

    def _remember(self, answer: Answer, stamp: int) -> Answer:
        if not isinstance(self._source, str):
            self._given[answer.target_id] = self._stamps.get(stamp, 0), answer.box
        return answer

    def stop(self, tracker: str, target_id: str) -> Future[None]:
        """See `Backend`."""
        for name in [target_id] if target_id else list(self._given):
            self._given.pop(name, None)
        return _map(self._pipeline.stop(target_id), lambda _: None)

    def pause(self, tracker: str, paused: bool) -> Future[None]:
        """See `Backend`."""
        self._paused = paused
        self._pipeline.enable(not paused)
        self._report()
        future: Future[None] = Future()
        future.set_result(None)
        return future

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

    def _report(self, problem: str = '') -> None:
        self._listener.on_trackers([TrackerInfo(TRACKER, self._camera, problem, self._paused)])

    # --- in the thread of the source

    def _run(self) -> None:
        """Push the images until closed; open the source again when it has ended or failed."""
        while not self._closed.is_set():
            try:
                for number, image in self._images():
                    self._push(number, image)
                    if self._closed.is_set():
                        return
            except SiamFFNError as error:
                self._report(str(error))
                self._listener.on_event(TRACKER, str(error))
                self._closed.wait(RETRY_SECONDS)
            else:
                self._restart()

    def _images(self) -> Iterator[tuple[int, Image]]:
        """Yield each image with its number when it is due; a live source delivers it then."""
        if isinstance(self._source, str):
            for number, image in enumerate(read_live(self._source)):
                if number == 0:
                    self._report()
                yield number, image
            return
        start = time.monotonic()
        for frame in self._source.read():
            if self._closed.wait(max(start + frame.time - time.monotonic(), 0)):
                return
            yield frame.number, frame.image

    def _push(self, number: int, image: Image) -> None:
        stamp = time.time_ns()
        self._stamps[stamp] = number
        self._listener.on_frame(TRACKER, CameraFrame(stamp, lambda: image))
        self._pipeline.push(Frame(stamp, lambda: image, image.nbytes, stamp, time.monotonic()))
        for name, (first, box) in list(self._given.items()):
            if first == number:
                self._pipeline.init(box, stamp, name)

    def _restart(self) -> None:
        """Remove the targets, which the first images do not show where they were in the last."""
        oldest = time.time_ns() - BUFFER_SECONDS * 1e9
        self._stamps = {stamp: n for stamp, n in self._stamps.items() if stamp > oldest}
        self._pipeline.stop()
        self._listener.on_event(TRACKER, f'{self._camera} has ended and starts again')

    # --- in the tracker's thread

    def _on_result(self, frame: Frame, targets: tuple[TargetStatus, ...]) -> None:
        current = [_target(each) for each in targets if each.frame_number == frame.number]
        self._listener.on_result(TRACKER, Result(frame.stamp, current))

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
