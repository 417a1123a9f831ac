"""Trackers that come and go: siamffn_ros/console/, with nodes that each test starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import rclpy
from sensor_msgs.msg import CompressedImage
from siamffn.srv import InitTarget
from std_msgs.msg import Header

from siamffn_model.console.backend import TrackerInfo
from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import ConfigError, NotReadyError
from siamffn_model.imaging.geometry import Box
from siamffn_ros.console import tracker
from siamffn_ros.messages.conversions import to_stamp
from siamffn_ros.tracker_client import services

if TYPE_CHECKING:
    from test.ros.conftest import NodeProcess, Peer
    from test.ros.console.conftest import RunningBackend

NAMES = ['/left/tracker', '/right/tracker']
CAMERAS = ['--camera', 'left=/shared', '--camera', 'right=/shared']
SECOND = 1_000_000_000
TIMEOUT = 40.0


def test_two_trackers_on_one_jpeg_camera_that_end_and_start_again(
    make_running: Callable[..., RunningBackend],
    make_peer: Callable[..., Peer],
    start_node: Callable[..., NodeProcess],
    clip: Scene,
) -> None:
    running = make_running(use_sim_time=True)  # which nobody publishes
    backend, reports = running.backend, running.reports
    peer = make_peer(image_type=CompressedImage, namespace='left', topic='/shared')
    until = peer.until
    node = start_node(arguments=CAMERAS)
    peer.wait_for_node()
    until(
        lambda: (
            [reports.trackers.get(name) for name in NAMES]
            == [TrackerInfo(name, '/shared') for name in NAMES]
        ),
        'both trackers',
    )
    backend.watch(NAMES)
    until(lambda: peer.camera.get_subscription_count() == 4, 'the subscriptions')
    jpeg = cv2.imencode('.jpg', clip.images[0])[1].tobytes()
    stamps = iter(range(SECOND, 1000 * SECOND, SECOND))

    def received() -> bool:
        stamp = next(stamps)
        header = Header(stamp=to_stamp(stamp))
        peer.camera.publish(CompressedImage(header=header, format='jpeg', data=jpeg))
        until(lambda: stamp in peer.statuses, 'the status')
        keys = {(name, stamp) for name in NAMES}
        return keys <= reports.frames.keys() & reports.results.keys()

    until(received, 'an image and a result of both')
    frame = reports.frames[NAMES[1], max(stamp for _, stamp in reports.frames)]
    assert frame.jpeg == jpeg
    assert np.array_equal(frame.decode(), cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1))
    path = backend.record(NAMES[0], False).result(TIMEOUT)

    node.stop()
    until(lambda: not reports.trackers, 'the end of the trackers')
    assert {(name, f'{name} has ended') for name in NAMES} <= set(reports.events)
    until(path.exists, 'the recording, which ends with the tracker')
    with pytest.raises(NotReadyError, match='no tracker'):
        backend.init(NAMES[0], clip.boxes[0], 0, '').result(TIMEOUT)

    start_node(arguments=CAMERAS, autostart='false')
    until(
        lambda: all(
            name in reports.trackers and 'unconfigured' in reports.trackers[name].problem
            for name in NAMES
        ),
        'the trackers, which are not active',
    )
    assert reports.trackers[NAMES[0]].camera == ''
    with pytest.raises(ConfigError, match='the node is unconfigured: configure and activate it'):
        backend.init(NAMES[0], clip.boxes[0], 0, '').result(TIMEOUT)
    assert (NAMES[0], reports.trackers[NAMES[0]].problem) in reports.events


@pytest.fixture
def silent_node() -> Iterator[None]:
    """A node that offers the service of a tracker, but never answers."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('silent', namespace='/far/away', context=context)
    node.create_service(InitTarget, '~/init_target', lambda request, response: response)
    node.create_service(InitTarget, '~/other', lambda request, response: response)
    yield
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.usefixtures('silent_node')
def test_a_tracker_that_does_not_answer(
    make_running: Callable[..., RunningBackend],
    until: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = make_running()
    monkeypatch.setattr(services, 'TIMEOUT', 0.0)
    monkeypatch.setattr(tracker, 'MAX_SILENCE', 0.0)
    name = '/far/away/silent'
    until(lambda: name in running.reports.trackers, 'the node')
    assert list(running.reports.trackers) == [name]
    until(lambda: running.reports.trackers[name].problem, 'its problem')
    assert 'publishes no diagnostics' in running.reports.trackers[name].problem
    future = running.backend.init(name, Box(1, 2, 30, 40), 0, '')
    with pytest.raises(NotReadyError, match=f'{name} has not answered init_target'):
        future.result(TIMEOUT)
    with pytest.raises(NotReadyError, match=f'{name} does not offer stop_target'):
        running.backend.stop(name, '').result(TIMEOUT)
    waiting = running.backend.init(name, Box(1, 2, 30, 40), 0, '')
    monkeypatch.setattr(services, 'TIMEOUT', 600.0)
    running.close()
    with pytest.raises(NotReadyError, match=name):
        waiting.result(TIMEOUT)
