"""The node mavlink_camera and a tracker node as processes; pymavlink is autopilot and operator."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.imaging.geometry import Box, iou
from siamffn_ros.mavlink.pixels import to_box, to_corners
from siamffn_ros.messages.conversions import to_box as to_pixels

from .camera_process import COMMAND, Operator, camera_node
from .ground_station import CAMERA, URI, VEHICLE, texts

if TYPE_CHECKING:
    from test.ros.conftest import Peer as User

POINT, RECTANGLE, STOP, INTERVAL, REQUEST = 2004, 2005, 2010, 511, 512
ACCEPTED, _, DENIED, UNSUPPORTED, FAILED = range(5)
SECOND = 1_000_000_000
PERIOD = SECOND // 30
LATENCY = 0.5  # seconds


@pytest.fixture(scope='module')
def operator(live_peer: User, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """An operator whose camera has been started, and has an image."""
    log = tmp_path_factory.mktemp('mavlink') / 'log'
    with camera_node(log, video_latency=LATENCY, video_uri=URI) as operator:
        image, stamps = np.zeros((240, 320, 3), np.uint8), itertools.count(1)

        def has_image() -> bool:
            live_peer.send(image, next(stamps))
            return operator.ask(REQUEST, 259, answer=259)[1].resolution_h == 320

        live_peer.until(has_image, 'the size of the picture')
        yield operator


def test_the_sequence_of_qgroundcontrol(operator: Operator, user: User, clip: Scene) -> None:
    beat = operator.wait_for(lambda each: each.get_type() == 'HEARTBEAT', 'heartbeat')
    assert (beat.get_srcSystem(), beat.get_srcComponent()) == (VEHICLE, CAMERA)
    requests = ((REQUEST, 259), (521, 259), *((REQUEST, n) for n in (260, 261, 262, 269)))
    for command, id_ in requests:
        result, message = operator.ask(command, 1 if command == 521 else id_, answer=id_)
        assert result == ACCEPTED and message.get_srcComponent() == CAMERA
    assert message.uri == URI
    assert operator.ask(400, 1)[0] == UNSUPPORTED

    start = 5000 * SECOND
    user.track(clip.images[0], start)
    size = clip.images[0].shape[1], clip.images[0].shape[0]
    corners = to_corners(clip.boxes[0], size)
    assert operator.ask(RECTANGLE, *corners[:3], 1.5)[0] == DENIED
    assert operator.track(RECTANGLE, *corners) == ACCEPTED
    assert operator.ask(INTERVAL, 275, 500_000)[0] == ACCEPTED
    operator.status()
    since = time.monotonic()
    for _ in range(6):
        operator.status()
    assert time.monotonic() - since > 2.4, 'twice a second'
    for n in range(1, 12):
        user.track(clip.images[n], start + n * PERIOD)
    truth, stamps = clip.boxes[11], itertools.count(start + 12 * PERIOD, PERIOD)

    def shown() -> Box | None:
        """Return the box in the next status, after another image like the last one."""
        user.track(clip.images[11], next(stamps))
        status = operator.status()
        if not status.tracking_status:
            return None
        return to_box(
            (status.rec_top_x, status.rec_top_y, status.rec_bottom_x, status.rec_bottom_y), size
        )

    box = user.until(lambda: (found := shown()) and iou(found, truth) > 0.5 and found, 'the box')
    published = [
        to_pixels(detection.bbox)
        for array in user.detections.values()
        for detection in array.detections
    ]
    assert min(np.abs(np.subtract(each, box)).max() for each in published) < 1
    assert [target.target_id for target in user.list_targets()] == ['mavlink']

    assert operator.track(STOP) == ACCEPTED
    assert user.list_targets() == []
    user.track(clip.images[11], next(stamps))
    assert operator.status().tracking_status == 0
    assert operator.ask(INTERVAL, 275, -1)[0] == ACCEPTED
    assert operator.track(STOP) == ACCEPTED, 'again, though nothing is tracked'


def test_a_point_becomes_a_box(operator: Operator, user: User, clip: Scene) -> None:
    start = 6000 * SECOND
    user.track(clip.images[0], start)
    box = clip.boxes[0]
    height, width = clip.images[0].shape[:2]
    assert operator.track(POINT, box.cx / width, box.cy / height, 0.02) == ACCEPTED
    (target,) = user.list_targets()
    assert iou(to_pixels(target.bbox), box) > 0.4


def test_what_the_tracker_refuses_is_told(operator: Operator, user: User, clip: Scene) -> None:
    user.track(clip.images[0], 7000 * SECOND)
    result, text = operator.ask(RECTANGLE, 0.5, 0.5, 0.501, 0.501, answer=253)
    assert result == FAILED
    assert 'too small' in ''.join(texts([text, *operator.messages]))


class MovingTarget:
    """Images in which a target moves to and fro by a tenth of the picture in `LATENCY`."""

    size = 320, 240
    speed = 0.1 * 320 / LATENCY  # pixels per second

    def __init__(self) -> None:
        numbers = np.random.default_rng(0)
        cells = numbers.integers(60, 160, (12, 16, 3)).astype(np.uint8)
        self._ground = cv2.resize(cells, self.size, interpolation=cv2.INTER_CUBIC)
        cells = numbers.integers(0, 255, (5, 5, 3)).astype(np.uint8)
        self._patch = cv2.resize(cells, (30, 30), interpolation=cv2.INTER_NEAREST)
        self.start = time.monotonic()

    def box(self, now: float) -> Box:
        """Return the box of the target at a time of `time.monotonic`."""
        path = 270
        way = (now - self.start) * self.speed % (2 * path)
        return Box(10 + round(min(way, 2 * path - way)), 105, 30, 30)

    def image(self, now: float) -> np.ndarray:
        """Return the image of that time."""
        x, y, w, h = self.box(now)
        image = self._ground.copy()
        image[y : y + h, x : x + w] = self._patch
        return image


@pytest.mark.slow
def test_a_late_box_starts_on_the_image_it_was_drawn_on(operator: Operator, user: User) -> None:
    """The operator sees the video half a second late, and the target is elsewhere by then."""
    target = MovingTarget()
    shift = time.time_ns() - round(time.monotonic() * SECOND)  # of the camera's clock, that of ROS
    sent = -1.0

    def film(seconds: float) -> None:
        """Publish 20 images/s."""
        nonlocal sent
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            if now - sent >= 0.05:
                sent = now
                user.send(target.image(now), round(now * SECOND) + shift)
            time.sleep(0.005)

    def follows() -> bool:
        film(1.0)
        seen = target.box(time.monotonic() - LATENCY)
        operator.send(operator.station.command(RECTANGLE, *to_corners(seen, target.size)))
        film(2.0)
        stamp = max(user.statuses)
        status, truth = user.statuses[stamp], target.box((stamp - shift) / SECOND)
        return status.target_id == 'mavlink' and iou(to_pixels(status.bbox), truth) > 0.3

    later = target.box(target.start + LATENCY)
    assert iou(target.box(target.start), later) < 0.3, 'the wrong image would show'
    assert any(follows() for _ in range(5)), 'more than once only if this machine was too slow'
    operator.ask(STOP)


def test_without_pymavlink_the_extra_is_named() -> None:
    program = "import sys; sys.modules['pymavlink'] = None\n"
    program += 'from siamffn_ros.mavlink.main import main; sys.exit(main([""]))'
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert result.returncode == 1
    assert "pip install 'siamffn-tracker[mavlink]'" in result.stderr
    assert 'Traceback' not in result.stderr


@pytest.mark.parametrize(
    ('parameter', 'reason'),
    [
        ('component_id:=99', 'component_id'),
        ('video_uri:=http://127.0.0.1/x', 'video_uri'),
        ('gimbal:=on', 'gimbal is True: give off, rates or angles'),
    ],
)
def test_values_that_are_not_allowed_are_one_line(parameter: str, reason: str) -> None:
    result = subprocess.run([*COMMAND, '-p', parameter], capture_output=True, text=True)
    (line,) = result.stderr.splitlines()
    assert result.returncode == 1 and line.startswith('error: ') and reason in line
