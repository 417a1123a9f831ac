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
from siamffn_model.imaging.crop import search_side
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
BUFFER_SECONDS, BUFFER_MEGABYTES = 5.0, 1000.0  # of images for boxes that arrive late
RETRY_SECONDS = 2.0  # until a source that has failed is opened again
Given = TypeVar('Given')
Wanted = TypeVar('Wanted')


class VideoBackend:
    """One tracker in this process; a `Backend`.

    Args:
        source: a video or folder, played at its rate again and again, or the name of a live source.
        load_model: returns the model; called in the tracker's thread.
        settings: of the tracker.
    """

    can_record = False

    def __init__(
        self, source: Frames | str, load_model: Callable[[], Runtime], settings: TrackerSettings
    ) -> None:
        self._source = source
        self._camera = source if isinstance(source, str) else str(source.path)
        self._paused = False
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
        return _map(future, lambda name: Answer(name, box))

    def init_point(
        self, tracker: str, point: tuple[float, float], radius: float, stamp: int, target_id: str
    ) -> Future[Answer]:
        """See `Backend`."""
        future = self._pipeline.init_point(point, radius, stamp, target_id)
        return _map(future, lambda answer: Answer(*answer))

    def stop(self, tracker: str, target_id: str) -> Future[None]:
        """See `Backend`."""
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
                for image in self._images():
                    self._push(image)
                    if self._closed.is_set():
                        return
            except SiamFFNError as error:
                self._report(str(error))
                self._listener.on_event(TRACKER, str(error))
                self._closed.wait(RETRY_SECONDS)
            else:
                self._restart()

    def _images(self) -> Iterator[Image]:
        """Yield the images when they are due; those of a live source come when they are."""
        if isinstance(self._source, str):
            for number, image in enumerate(read_live(self._source)):
                if number == 0:
                    self._report()
                yield image
            return
        start = time.monotonic()
        for frame in self._source.read():
            if self._closed.wait(max(start + frame.time - time.monotonic(), 0)):
                return
            yield frame.image

    def _push(self, image: Image) -> None:
        stamp = time.time_ns()
        self._listener.on_frame(TRACKER, CameraFrame(stamp, lambda: image))
        self._pipeline.push(Frame(stamp, lambda: image, image.nbytes, stamp, time.monotonic()))

    def _restart(self) -> None:
        """A video starts again with other images: the targets are gone."""
        self._listener.on_event(TRACKER, f'{self._camera} has ended and starts again')
        self._pipeline.clear()

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


def search_region(box: Box) -> Box:
    """Return the square that is searched for a target that was last in this box."""
    side = search_side(box.w, box.h)
    return Box(box.x + (box.w - side) / 2, box.y + (box.h - side) / 2, side, side)


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
