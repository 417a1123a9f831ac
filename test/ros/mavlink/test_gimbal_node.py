"""siamffn_ros/mavlink/gimbal_node.py, in a node of ROS"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import rclpy

pytest.importorskip('pymavlink', reason='extra [mavlink] not installed')

from geometry_msgs.msg import Vector3Stamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo

from siamffn_model.errors import ConfigError
from siamffn_model.imaging.geometry import Box
from siamffn_model.live.results import Target
from siamffn_model.tracking import State
from siamffn_ros.mavlink.address import Address
from siamffn_ros.mavlink.bearing import CameraModel
from siamffn_ros.mavlink.gimbal_node import COMMAND_PERIOD, PARAMETERS, NodeGimbal, make_settings

OWN, VEHICLE = Address(1, 100), Address(1, 1)
SIZE = 640, 480
FOCAL = 500.0
TIMEOUT = 40.0  # seconds
# Its centre is FOCAL to the right of the camera's, half of that above it.
TARGET = Target('a', State.TRACKING, Box(790, -30, 20, 20), None, 0.9, 1, 0, 1.0)
YAW, PITCH = math.pi / 4, math.atan2(0.5, math.sqrt(2))


def values(**changed: Any) -> dict[str, Any]:
    return {name: default for name, (default, _, _) in PARAMETERS.items()} | changed


class Graph:
    """Two nodes: the one under test, and one that publishes camera_info and subscribes.

    Attributes:
        node: under test.
        bearings: messages of `~/target_bearing`.
    """

    def __init__(self, context: rclpy.Context) -> None:
        self.node = rclpy.create_node('camera', context=context)
        self.other = other = rclpy.create_node('other', context=context)
        self.executor = SingleThreadedExecutor(context=context)
        for node in (self.node, other):
            self.executor.add_node(node)
        self.bearings: list[Vector3Stamped] = []
        other.create_subscription(
            Vector3Stamped, '/camera/target_bearing', self.bearings.append, 10
        )
        self.info = other.create_publisher(CameraInfo, 'camera_info', 1)

    def stamp(self) -> int:
        """Return the time of the node in nanoseconds."""
        now: int = self.node.get_clock().now().nanoseconds
        return now

    def offer(self, gimbal: NodeGimbal, target: Target | None = TARGET) -> None:
        """Give the result of an image of now."""
        gimbal.on_result(target, self.stamp(), SIZE, time.monotonic())

    def run_until(self, condition: Any, gimbal: NodeGimbal) -> None:
        """Publish camera_info and results until a condition holds."""
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            assert time.monotonic() < deadline
            k = [FOCAL, 0.0, 299.5, 0.0, FOCAL, 229.5, 0.0, 0.0, 1.0]
            info = CameraInfo(width=SIZE[0], height=SIZE[1], k=k)
            info.header.frame_id = 'optical'
            self.info.publish(info)
            self.offer(gimbal)
            self.executor.spin_once(timeout_sec=0.02)


@pytest.fixture
def graph() -> Iterator[Graph]:
    context = rclpy.Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    graph = Graph(context)
    yield graph
    graph.executor.shutdown()
    graph.node.destroy_node()
    graph.other.destroy_node()
    rclpy.shutdown(context=context)


def test_the_bearing_is_published_with_the_calibration_of_camera_info(
    graph: Graph, capfd: pytest.CaptureFixture[str]
) -> None:
    gimbal = NodeGimbal(graph.node, values())
    graph.offer(gimbal)
    graph.offer(gimbal)
    assert capfd.readouterr().err.count('no camera_info has arrived') == 1
    graph.run_until(lambda: graph.bearings, gimbal)
    vector = graph.bearings[0].vector
    assert (vector.x, vector.y, vector.z) == pytest.approx((0, PITCH, YAW))
    assert graph.bearings[0].header.frame_id == 'optical'
    assert not gimbal.messages(time.monotonic(), OWN, VEHICLE), 'the gimbal is off'
    assert 'WARN' not in capfd.readouterr().err


def test_the_gimbal_is_turned_to_the_target_and_stopped_without_it(
    graph: Graph, capfd: pytest.CaptureFixture[str]
) -> None:
    gimbal = NodeGimbal(graph.node, values(gimbal='rates', field_of_view=1.0))
    start = time.monotonic()

    def rates(step: int, target: Target | None) -> list[tuple[float, float]]:
        now = start + 2.5 * step * COMMAND_PERIOD
        gimbal.on_result(target, graph.stamp(), SIZE, now)
        messages = gimbal.messages(now, OWN, VEHICLE)
        assert not gimbal.messages(now + COMMAND_PERIOD / 2, OWN, VEHICLE), 'too early'
        return [(message.yaw_rate, message.pitch_rate) for message in messages]

    ((yaw_rate, pitch_rate),) = [rates(step, TARGET) for step in range(20)][-1]
    assert min(yaw_rate, pitch_rate) > 0.5
    lost = TARGET._replace(state=State.LOST, box=None)
    stopping = [rates(step, lost) for step in range(20, 100)]
    assert [0.0, 0.0] in [list(*each) for each in stopping if each]
    assert stopping[-1] == []
    assert max(*[rates(step, TARGET) for step in range(100, 120)][-1][0]) > 0.5
    gimbal.forget()  # as after the operator's stop; no image comes any more
    times = [start + 2.5 * step * COMMAND_PERIOD for step in range(120, 130)]
    (last,) = [gimbal.messages(now, OWN, VEHICLE) for now in times][-1]
    assert (last.yaw_rate, last.pitch_rate) == (0, 0)
    assert 'WARN' not in capfd.readouterr().err


def test_without_a_size_or_a_target_nothing_is_sent(graph: Graph) -> None:
    gimbal = NodeGimbal(graph.node, values(gimbal='rates', field_of_view=1.0))
    gimbal.on_result(TARGET, graph.stamp(), None, 1.0)
    assert gimbal.messages(1.0, OWN, VEHICLE) == []
    graph.offer(gimbal, None)
    assert gimbal.messages(2.0, OWN, VEHICLE) == []


def test_a_direction_that_is_no_number_is_not_published(graph: Graph) -> None:
    gimbal = NodeGimbal(graph.node, values(gimbal='rates'))
    graph.run_until(lambda: graph.bearings, gimbal)
    graph.bearings.clear()
    gimbal._camera = CameraModel(SIZE, np.full((3, 3), math.nan), np.zeros(4))
    graph.offer(gimbal)
    assert gimbal.messages(time.monotonic(), OWN, VEHICLE) == []
    graph.run_until(lambda: graph.bearings, gimbal)
    assert all(math.isfinite(each.vector.z) for each in graph.bearings)


def test_old_images_are_reported_once(graph: Graph, capfd: pytest.CaptureFixture[str]) -> None:
    gimbal = NodeGimbal(graph.node, values(gimbal='rates', field_of_view=1.0))
    for number in range(3):
        gimbal.on_result(TARGET, graph.stamp() - 10**10, SIZE, float(number))
        assert gimbal.messages(float(number), OWN, VEHICLE) == []
    assert capfd.readouterr().err.count('the last image is too old') == 1


def test_the_limits_are_of_the_type_of_the_default_and_contain_it() -> None:
    """ROS declares integer and floating-point ranges in different ways."""
    for name, (default, limits, description) in PARAMETERS.items():
        if limits:
            assert limits[0] <= default <= limits[1], name
            assert {type(limit) for limit in limits} == {type(default)}, name
        assert description.endswith('.'), name


@pytest.mark.parametrize(
    ('changed', 'text'),
    [
        ({'gimbal': 'on'}, "gimbal is 'on': give off, rates or angles"),
        ({'gimbal_autopilot': 'inav'}, "gimbal_autopilot is 'inav': give one of ardupilot, px4"),
        ({'gimbal': 'rates', 'gimbal_gain': 99.0}, 'gimbal_gain is 99: give a number from 0 to 50'),
    ],
)
def test_parameters_that_are_not_allowed_are_refused(changed: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        make_settings(values(**changed))
