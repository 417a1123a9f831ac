"""Tracking in a live stream: frames in, results out, targets given and stopped at any time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from enum import Enum, auto
from typing import NamedTuple, TypeVar

from siamffn_model.imaging.geometry import Box
from siamffn_model.live.frame_buffer import Frame, FrameBuffer
from siamffn_model.live.targets import Targets, TargetStatus
from siamffn_model.live.worker import Worker
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.tracking import TrackerSettings

MAX_PENDING_CALLS = 100  # calls that may wait for the worker thread
Result = TypeVar('Result')


class PushResult(Enum):
    """What happened to a frame that was pushed."""

    ACCEPTED = auto()
    REPLACED = auto()  # accepted; an earlier frame that was not yet tracked is dropped
    OUT_OF_ORDER = auto()  # older than the last frame: not kept


class FoundTarget(NamedTuple):
    """A target that was given by a point: its id, and the box that was found, in pixels."""

    target_id: str
    box: Box


class TrackingPipeline:
    """Track targets in the frames of one camera, in a worker thread.

    `push` only stores a frame. The worker thread owns the model and the targets: it tracks the
    newest frame, takes late targets through the frames they missed, and runs the calls below in
    between. Calls return futures; their results are set in the worker thread.

    Args:
        load_model: returns the model. It is called in the worker thread, since PyTorch and OpenVINO
            keep a pool of threads for each thread that uses them.
        settings: of all trackers.
        max_targets: maximum number of targets.
        buffer_seconds, buffer_megabytes: how many frames are kept for boxes that arrive late.
        on_result: receives each tracked frame and the status of every target; those with another
            `frame_number` were not searched in it. Called in the worker thread.
        on_error: receives what went wrong with a frame: `ImageError` if the image cannot be
            decoded, anything else if tracking failed. Called in the worker thread.

    Attributes:
        model: the loaded model.
        buffer: the frames that are kept.
        targets: status of every target, in the order in which they were first given; replaced as
            a whole, so any thread may read it.

    Raises what `load_model` raises.
    """

    def __init__(
        self,
        load_model: Callable[[], Runtime],
        settings: TrackerSettings,
        max_targets: int,
        buffer_seconds: float,
        buffer_megabytes: float,
        on_result: Callable[[Frame, tuple[TargetStatus, ...]], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.buffer = FrameBuffer(buffer_seconds, buffer_megabytes)
        self.targets: tuple[TargetStatus, ...] = ()
        self._on_result = on_result
        self._enabled = True
        self._worker: Worker[Frame] = Worker(self._track, on_error, self._catch_up)
        try:
            self.model = self._worker.call(load_model)
            self._worker.call(self.model.warm_up)
        except BaseException:
            self.close()
            raise
        self._targets = Targets(self.model, self.buffer, settings, max_targets)

    def push(self, frame: Frame) -> PushResult:
        """Store a frame and, unless paused, schedule it for tracking; never waits."""
        if not self.buffer.add(frame):
            return PushResult.OUT_OF_ORDER
        replaced = self._enabled and self._worker.put(frame)
        return PushResult.REPLACED if replaced else PushResult.ACCEPTED

    def init(self, box: Box, stamp: int = 0, target_id: str = '') -> Future[str]:
        """Start or restart a target; the result is its id. See `Targets.init`."""
        return self._submit(lambda: self._targets.init(box, stamp, target_id).id)

    def init_point(
        self,
        point: tuple[float, float],
        radius: float = 0.0,
        stamp: int = 0,
        target_id: str = '',
    ) -> Future[FoundTarget]:
        """Start or restart a target from a point on it. See `Targets.init_point`."""

        def init() -> FoundTarget:
            target = self._targets.init_point(point, radius, stamp, target_id)
            return FoundTarget(target.id, target.track.box)

        return self._submit(init)

    def stop(self, target_id: str = '') -> Future[int]:
        """Stop a target, or all if `target_id` is empty; the result is how many were stopped."""

        def stop() -> int:
            if not target_id:
                return self._targets.clear()
            self._targets.stop(target_id)
            return 1

        return self._submit(stop)

    def reset(self) -> Future[int]:
        """Remove all targets and frames; the result is the number of targets."""
        return self._submit(self._clear)

    def clear(self) -> None:
        """Do what `reset` does, and wait for it."""
        self._worker.call(lambda: self._publish_targets(self._clear))

    def enable(self, enabled: bool) -> None:
        """Pause or resume tracking; while paused, targets and frames are kept."""
        self._enabled = enabled

    def configure(
        self,
        settings: TrackerSettings,
        max_targets: int,
        buffer_seconds: float,
        buffer_megabytes: float,
    ) -> None:
        """Change the settings; they apply from the next frame on."""

        def configure() -> None:
            self._targets.set(settings)
            self._targets.max_targets = max_targets

        self.buffer.set_limits(buffer_seconds, buffer_megabytes)
        self._worker.submit(configure)

    def close(self) -> None:
        """Stop the worker thread; calls that are waiting are cancelled."""
        self._worker.close()

    # In the worker thread

    def _submit(self, function: Callable[[], Result]) -> Future[Result]:
        return self._worker.submit(lambda: self._publish_targets(function), MAX_PENDING_CALLS)

    def _publish_targets(self, function: Callable[[], Result]) -> Result:
        """Run a function that may change the targets, and publish their status."""
        result = function()
        self.targets = self._targets.statuses()
        return result

    def _clear(self) -> int:
        self.buffer.clear()
        return self._targets.clear()

    def _track(self, frame: Frame) -> None:
        try:
            self._publish_targets(lambda: self._targets.update(frame))
            self._on_result(frame, self.targets)
        finally:
            frame.release()

    def _catch_up(self) -> bool:
        if not (self.targets and self._targets.catching_up):
            return False  # the usual case: nothing to do after a frame
        return self._publish_targets(self._targets.catch_up)
