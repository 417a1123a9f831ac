"""The tracker and the control law in one loop, on images rendered for where the gimbal points.

All is in simulated time: the worker thread of the pipeline is waited for after each image.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Iterator

import pytest

from siamffn_model.imaging.geometry import iou
from siamffn_model.live.frame_buffer import Frame
from siamffn_model.live.pipeline import TrackingPipeline
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.tracking import TrackerSettings
from siamffn_ros.mavlink.bearing import CameraModel
from siamffn_ros.mavlink.gimbal import ControlSettings, GimbalLaw, Target

from .scenery import HEIGHT, WIDTH, Scenery, motion, offset
from .simulated_gimbal import FIELD_OF_VIEW, RATE, SimulatedGimbal

SECONDS = 4.5
DELAY = 3  # images, 100 ms
TIMEOUT = 60.0  # seconds


Results = queue.Queue['tuple[TargetStatus, ...] | Exception']


@pytest.fixture
def results() -> Results:
    return queue.Queue()


@pytest.fixture
def pipeline(model: Runtime, results: Results) -> Iterator[TrackingPipeline]:
    pipeline = TrackingPipeline(
        lambda: model,
        TrackerSettings(),
        max_targets=1,
        buffer_seconds=1.0,
        buffer_megabytes=50.0,
        on_result=lambda frame, targets: results.put(targets),
        on_error=results.put,
    )
    yield pipeline
    pipeline.close()


@pytest.mark.slow
def test_the_tracker_keeps_a_moving_target_centred(
    pipeline: TrackingPipeline, results: Results
) -> None:
    scenery, gimbal, law = Scenery(), SimulatedGimbal(), GimbalLaw(ControlSettings())
    camera = CameraModel.from_field_of_view(FIELD_OF_VIEW, WIDTH, HEIGHT)
    shown: deque[Target | None] = deque([None] * DELAY)
    target = None
    offsets, overlaps = [], []
    for number in range(round(SECONDS * RATE)):
        now = number / RATE
        image, box = scenery.render(scenery.place(*motion(now)), gimbal.angle)
        stamp = round((now + 1) * 1e9)
        pipeline.push(Frame(stamp, lambda image=image: image, image.nbytes))
        targets = results.get(timeout=TIMEOUT)
        assert not isinstance(targets, Exception), targets
        if number == 0:
            pipeline.init(box).result(TIMEOUT)
            targets = pipeline.targets
        track = targets[0].track
        shown.append(Target(now, camera.bearing(track.box.cx, track.box.cy), track.state))
        target = shown.popleft() or target
        command = law.update(now, target)
        gimbal.turn(*(command[1:3] if command else (0.0, 0.0)), 1 / RATE)
        offsets.append(offset(box))
        overlaps.append(iou(box, track.box))
    assert offsets[0] > 0.15
    assert max(offsets[2 * RATE :]) < 0.05
    assert min(overlaps) > 0.5
