"""siamffn_ros/mavlink/tracker.py: the image for which a box is meant, with a clock of the test."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import rclpy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from siamffn_model.imaging.geometry import Box
from siamffn_model.live.results import Result
from siamffn_ros.mavlink import tracker as module
from siamffn_ros.mavlink.tracker import TrackerTargets
from siamffn_ros.messages.conversions import to_nanoseconds, to_stamp

from .ground_station import tracked

BOX = Box(1, 2, 30, 40)
SECOND = 1_000_000_000
PERIOD = SECOND // 25
START = 500 * SECOND


@pytest.fixture
def node() -> Iterator[Any]:
    """A node of its own context."""
    context = rclpy.Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('mavlink_camera', context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock of the module, which stands still."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module, 'time', SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def film(targets: TrackerTargets, clock: SimpleNamespace, start: int, count: int) -> None:
    """Let images arrive, 25 each second."""
    for n in range(count):
        clock.now += PERIOD / SECOND
        header = Header(stamp=to_stamp(start + n * PERIOD))
        targets._on_image(Image(header=header, width=640, height=480))


def stamp(targets: TrackerTargets) -> int:
    """Return the stamp with which a box is sent now."""
    return to_nanoseconds(targets._header().stamp)


def make(node: Any, latency: float) -> TrackerTargets:
    return TrackerTargets(node, '/nobody', latency, lambda target, stamp: None)


def test_a_box_is_for_the_image_that_was_taken_before_the_latency(node: Any, clock: Any) -> None:
    targets = make(node, 0.5)
    assert targets.size is None
    film(targets, clock, START, 50)
    last = START + 49 * PERIOD
    assert targets.size == (640, 480)
    assert stamp(targets) in (last - 12 * PERIOD, last - 13 * PERIOD)
    clock.now += 0.4  # no image since
    assert stamp(targets) in (last - 2 * PERIOD, last - 3 * PERIOD)
    clock.now += 10
    assert stamp(targets) == last
    targets.close()


def test_without_a_latency_it_is_for_the_newest_image(node: Any, clock: Any) -> None:
    targets = make(node, 0.0)
    film(targets, clock, START, 50)
    assert stamp(targets) == 0
    targets.close()


def test_late_images_and_jumps_of_the_time(node: Any, clock: Any) -> None:
    targets = make(node, 0.5)
    film(targets, clock, START, 50)
    expected = stamp(targets)
    film(targets, SimpleNamespace(now=0.0), START + 45 * PERIOD, 1)
    assert stamp(targets) == expected, 'one that is out of order counts for nothing'
    film(targets, clock, START - 100 * SECOND, 5)
    assert stamp(targets) == START - 100 * SECOND, 'a bag starts again: the oldest since'
    targets.close()


def test_an_old_result_is_not_the_present_state(node: Any, clock: Any) -> None:
    targets = make(node, 0.0)
    targets._on_result(Result(START, [tracked(BOX)]))
    assert targets.target == tracked(BOX)
    clock.now += 2.5
    assert targets.target is None
    targets.close()


def test_calls_without_a_tracker_end_at_once(node: Any) -> None:
    targets = make(node, 0.0)
    error = targets.init_point((1.0, 2.0)).exception(timeout=0)
    assert '/nobody does not offer init_point' in str(error)
    assert 'stop_target' in str(targets.stop().exception(timeout=0))
    targets.close()
