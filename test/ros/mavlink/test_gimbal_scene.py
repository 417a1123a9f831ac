"""The tracker and the control law in one loop, on images rendered for where the gimbal points.

All is in simulated time: the worker thread of the pipeline is waited for after each image.
"""

from __future__ import annotations

import math
import queue
from collections import deque
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from siamffn_model.datasets import synthetic
from siamffn_model.imaging.geometry import Box, iou
from siamffn_model.imaging.image import Image
from siamffn_model.live.frame_buffer import Frame
from siamffn_model.live.pipeline import TrackingPipeline
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.tracking import TrackerSettings
from siamffn_ros.mavlink.bearing import CameraModel
from siamffn_ros.mavlink.gimbal import ControlSettings, GimbalLaw, Target

from .simulated_gimbal import FIELD_OF_VIEW, RATE, SimulatedGimbal

WIDTH, HEIGHT = 320, 240
FOCAL = WIDTH / 2 / math.tan(FIELD_OF_VIEW / 2)
SECONDS = 4.5
SCENE = 1600, 1200  # pixels; a plane, seen by a camera with the same focal length
DELAY = 3  # images, 100 ms
TIMEOUT = 60.0  # seconds


class Scenery:
    """A textured plane at right angles to the gimbal's forward direction, with a target on it."""

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        self.ground = synthetic._ground(rng, (SCENE[0] // 2, SCENE[1] // 2))
        self.patch, self.mask = synthetic._target(rng, 46)

    def place(self, yaw: float, pitch: float) -> Box:
        """Return the box in the plane of a target in a direction, in rad."""
        x = SCENE[0] / 2 + FOCAL * math.tan(yaw)
        y = SCENE[1] / 2 - FOCAL * math.tan(pitch) / math.cos(yaw)
        return Box.from_center(x, y, self.patch.shape[1], self.patch.shape[0])

    def render(self, box: Box, gimbal: np.ndarray) -> tuple[Image, Box]:
        """Return the image of a camera at (yaw, pitch), and the target's box in it."""
        scene = self.ground.copy()
        synthetic._paste(scene, self.patch, self.mask, box)
        yaw, pitch = gimbal
        # To the axes of the camera: right, down, forward.
        turn, _ = cv2.Rodrigues(np.array([0.0, -yaw, 0.0]))
        tilt, _ = cv2.Rodrigues(np.array([-pitch, 0.0, 0.0]))
        plane = np.linalg.inv(camera_matrix(*SCENE))
        view = camera_matrix(WIDTH, HEIGHT) @ tilt @ turn @ plane
        image = cv2.warpPerspective(scene, view, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        corners = np.array([[[box.x, box.y]], [[box.x + box.w, box.y + box.h]]])
        (x1, y1), (x2, y2) = cv2.perspectiveTransform(corners, view)[:, 0].tolist()
        return image, Box(x1, y1, x2 - x1, y2 - y1)


def camera_matrix(width: int, height: int) -> np.ndarray:
    return np.array([[FOCAL, 0, width / 2], [0, FOCAL, height / 2], [0, 0, 1]])


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


def motion(time: float) -> tuple[float, float]:
    """Return yaw and pitch of the target, whose largest speed is 20 deg/s."""
    return math.radians(17.14) * math.sin(time + 0.8), math.radians(12.85) * math.cos(time)


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
        offsets.append((box.cx / WIDTH - 0.5, (box.cy - HEIGHT / 2) / WIDTH))
        overlaps.append(iou(box, track.box))
    worst = np.abs(offsets).max(axis=1)
    assert worst[0] > 0.15
    assert worst[2 * RATE :].max() < 0.05
    assert min(overlaps) > 0.5
