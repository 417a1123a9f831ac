"""Tests of siamffn_model/live/pipeline.py."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import BoxError, ConfigError, ImageError, NotReadyError, WeightsError
from siamffn_model.imaging.geometry import Box, iou
from siamffn_model.live.frame_buffer import Frame
from siamffn_model.live.pipeline import MAX_PENDING_CALLS, PushResult, TrackingPipeline
from siamffn_model.live.targets import TargetStatus
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.tracking import State, Tracker, TrackerSettings
from siamffn_model.tracking.point_prompt import find_box

PERIOD = 100_000_000  # nanoseconds between two frames
TIMEOUT = 20.0  # seconds


class Live:
    """A pipeline that is fed with the frames of a clip, and queues of its results and errors."""

    def __init__(self, model: Runtime, clip: Scene) -> None:
        self.clip = clip
        self.results: queue.Queue[tuple[Frame, tuple[TargetStatus, ...]]] = queue.Queue()
        self.errors: queue.Queue[Exception] = queue.Queue()
        self.pipeline = TrackingPipeline(
            lambda: model,
            TrackerSettings(),
            max_targets=4,
            buffer_seconds=10.0,
            buffer_megabytes=100.0,
            on_result=lambda frame, targets: self.results.put((frame, targets)),
            on_error=self.errors.put,
        )

    def frame(self, number: int) -> Frame:
        """Return a frame with an image of the clip, by its index."""
        return Frame((number + 1) * PERIOD, lambda: self.clip.images[number], 1)

    def track(self, number: int) -> tuple[TargetStatus, ...]:
        """Push a frame of the clip and wait for its result."""
        self.pipeline.push(self.frame(number))
        return self.results.get(timeout=TIMEOUT)[1]


@pytest.fixture
def live(model: Runtime, clip: Scene) -> Iterator[Live]:
    live = Live(model, clip)
    yield live
    live.pipeline.close()


def test_boxes_equal_those_of_a_tracker(live: Live, model: Runtime, clip: Scene) -> None:
    assert live.track(0) == ()
    assert live.pipeline.init(clip.boxes[0], 0, 'car').result(TIMEOUT) == 'car'
    tracker = Tracker(model)
    tracker.init(clip.images[0], clip.boxes[0])
    for number in (1, 2, 3):
        (status,) = live.track(number)
        assert (status.id, status.track) == ('car', tracker.update(clip.images[number]))
        assert live.pipeline.targets == (status,)


def test_a_point_starts_a_target_in_the_box_found_on_its_frame(live: Live, clip: Scene) -> None:
    for number in (0, 5):
        live.track(number)
    box = clip.boxes[0]
    found = live.pipeline.init_point((box.cx, box.cy), 0.0, PERIOD, 'car').result(TIMEOUT)
    assert found.target_id == 'car'
    assert found.box == find_box(live.pipeline.model, clip.images[0], (box.cx, box.cy))
    assert iou(found.box, box) > 0.5
    with pytest.raises(BoxError, match='outside'):
        live.pipeline.init_point((-1, 0)).result(TIMEOUT)
    with pytest.raises(ConfigError, match='stamp'):
        live.pipeline.init_point((5, 5), 0.0, 3).result(TIMEOUT)
    assert [target.id for target in live.pipeline.targets] == ['car']


def test_a_late_target_catches_up(live: Live, clip: Scene) -> None:
    for number in range(6):
        live.track(number)
    live.pipeline.init(clip.boxes[0], PERIOD).result(TIMEOUT)
    deadline = time.monotonic() + TIMEOUT
    # The worker takes the target through the missed frames between the calls.
    while live.pipeline.targets[0].frame_number < live.pipeline.buffer.newest:
        assert time.monotonic() < deadline, f'the target is still late after {TIMEOUT} s'
    (status,) = live.track(6)
    assert (status.processed, status.dropped) == (7, 0)
    assert status.track.state == State.TRACKING


def test_frames_are_dropped_or_refused(live: Live) -> None:
    started, release = threading.Event(), threading.Event()

    def decode() -> np.ndarray:
        started.set()
        assert release.wait(TIMEOUT)
        return live.clip.images[0]

    live.track(0)
    live.pipeline.init(live.clip.boxes[0]).result(TIMEOUT)
    assert live.pipeline.push(Frame(5 * PERIOD, decode, 1)) is PushResult.ACCEPTED
    assert started.wait(TIMEOUT)
    assert live.pipeline.push(live.frame(6)) is PushResult.ACCEPTED
    assert live.pipeline.push(live.frame(7)) is PushResult.REPLACED
    assert live.pipeline.push(live.frame(5)) is PushResult.OUT_OF_ORDER
    release.set()
    stamps = [live.results.get(timeout=TIMEOUT)[0].stamp for _ in range(2)]
    assert stamps == [5 * PERIOD, 8 * PERIOD]


@pytest.mark.parametrize('error', [ImageError('cut off'), ValueError('broken')])
def test_errors_are_reported_and_tracking_continues(live: Live, error: Exception) -> None:
    def decode() -> np.ndarray:
        raise error

    live.track(0)
    live.pipeline.init(live.clip.boxes[0]).result(TIMEOUT)
    live.pipeline.push(Frame(PERIOD + 1, decode, 1))
    assert live.errors.get(timeout=TIMEOUT) is error
    (status,) = live.track(1)
    assert (status.processed, status.dropped) == (2, 1)


def test_paused_pipeline_stores_frames_without_tracking(live: Live, clip: Scene) -> None:
    live.track(0)
    live.pipeline.enable(False)
    for number in (1, 2):
        assert live.pipeline.push(live.frame(number)) is PushResult.ACCEPTED
    live.pipeline.init(clip.boxes[1], 2 * PERIOD).result(TIMEOUT)
    live.pipeline.enable(True)
    live.pipeline.push(live.frame(3))
    frame, _ = live.results.get(timeout=TIMEOUT)
    assert frame.stamp == 4 * PERIOD, 'frames 1 and 2 have no result'


def test_targets_are_listed_stopped_and_reset(live: Live, clip: Scene) -> None:
    live.track(0)
    for name in 'abc':
        live.pipeline.init(clip.boxes[0], 0, name).result(TIMEOUT)
    assert [status.id for status in live.pipeline.targets] == ['a', 'b', 'c']
    assert live.pipeline.stop('b').result(TIMEOUT) == 1
    assert [status.id for status in live.pipeline.targets] == ['a', 'c']
    assert live.pipeline.stop().result(TIMEOUT) == 2
    live.pipeline.init(clip.boxes[0]).result(TIMEOUT)
    assert live.pipeline.reset().result(TIMEOUT) == 1
    assert live.pipeline.targets == () and live.pipeline.buffer.usage == (0, 0.0)
    with pytest.raises(NotReadyError, match='no image has arrived'):
        live.pipeline.init(clip.boxes[0]).result(TIMEOUT)


def test_an_invalid_box_raises_in_the_caller(live: Live) -> None:
    live.track(0)
    with pytest.raises(BoxError):
        live.pipeline.init(Box(5000, 0, 10, 10)).result(TIMEOUT)
    assert live.errors.empty() and live.track(1) == ()


def test_settings_apply_to_the_next_frame(live: Live, clip: Scene) -> None:
    live.track(0)
    live.pipeline.init(clip.boxes[0]).result(TIMEOUT)
    always_lost = TrackerSettings(
        uncertain_threshold=1.0, lost_threshold=1.0, reacquire_threshold=1.0
    )
    live.pipeline.configure(always_lost, 1, 10.0, 100.0)
    (status,) = live.track(1)
    assert status.track.state == State.LOST
    with pytest.raises(Exception, match='1 targets are tracked already'):
        live.pipeline.init(clip.boxes[0]).result(TIMEOUT)


def test_calls_beyond_the_limit_are_refused(live: Live) -> None:
    release = threading.Event()
    running = threading.Event()

    def block() -> bool:
        running.set()
        return release.wait(TIMEOUT)

    blocked = live.pipeline._worker.submit(block)
    assert running.wait(TIMEOUT)
    calls = [live.pipeline.reset() for _ in range(MAX_PENDING_CALLS + 1)]
    with pytest.raises(NotReadyError, match='busy'):
        calls[-1].result(TIMEOUT)
    release.set()
    assert blocked.result(TIMEOUT) and calls[0].result(TIMEOUT) == 0
    live.pipeline.clear()


def test_a_model_that_cannot_be_loaded_leaves_no_thread() -> None:
    def load() -> Runtime:
        raise WeightsError('no weights')

    before = threading.active_count()
    with pytest.raises(WeightsError, match='no weights'):
        TrackingPipeline(
            load, TrackerSettings(), 1, 1.0, 1.0, on_result=lambda *_: None, on_error=print
        )
    assert threading.active_count() == before
