"""siamffn_ros/node/diagnostics.py: no graph needed."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from siamffn_model.imaging.geometry import Box
from siamffn_model.live.targets import Target
from siamffn_model.tracking import State, Track
from siamffn_ros.node.diagnostics import LATENCIES, NodeStatistics, status


def target(name: str, state: State) -> Target:
    tracker: Any = None
    return Target(name, tracker, 1, Track(Box(1, 2, 3, 4), 0.5, state), None)


def told(figures: NodeStatistics, *targets: Target, **options: str) -> DiagnosticStatus:
    return status('n', figures, targets, {'device': 'cpu'}, 'well', **options)


def values(one: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in one.values}


def test_latency_is_that_of_the_images_since_the_last_look() -> None:
    figures = NodeStatistics()
    now = time.monotonic()
    for milliseconds in (10, 20, 30, 40, 1000):
        figures.tracked(now - milliseconds / 1e3)
    events, seconds, latency = figures.take()
    assert events['tracked'] == 5 and seconds > 0
    assert latency == pytest.approx((30, np.percentile([10, 20, 30, 40, 1000], 95), 1000), abs=5)
    assert figures.take()[0] == {} and figures.take()[2] is None
    assert figures.total['tracked'] == 5


def test_latencies_take_bounded_memory() -> None:
    figures = NodeStatistics()
    for _ in range(3 * LATENCIES):
        figures.tracked(0.0)
    assert len(figures._latencies) == LATENCIES


def test_all_is_well() -> None:
    figures = NodeStatistics()
    for _ in range(10):
        figures.count('received')
        figures.tracked(time.monotonic())
    one = told(figures, target('a', State.TRACKING), target('b', State.UNCERTAIN))
    assert (one.level, one.message, one.hardware_id) == (DiagnosticStatus.OK, 'well', 'cpu')
    found = values(one)
    assert (found['target a'], found['target b']) == ('TRACKING 0.50', 'UNCERTAIN 0.50')
    assert (found['images received'], found['images dropped'], found['targets']) == ('10', '0', '2')
    assert float(found['memory (MB)']) > 10


@pytest.mark.parametrize(
    ('events', 'message'),
    [
        (['bad'], '1 bad images'),
        (['received'] * 10 + ['dropped'] * 2, 'slow: 2 of 10 images dropped'),
    ],
)
def test_warnings_say_what_is_wrong(events: list[str], message: str) -> None:
    figures = NodeStatistics()
    for event in events:
        figures.count(event)
    one = told(figures, target('a', State.TRACKING))
    assert (one.level, one.message) == (DiagnosticStatus.WARN, message)
    assert told(figures).level == DiagnosticStatus.OK, 'only once'


def test_a_few_dropped_images_are_no_warning() -> None:
    figures = NodeStatistics()
    for event in ['received'] * 30 + ['dropped']:
        figures.count(event)
    assert told(figures).level == DiagnosticStatus.OK


def test_lost_targets_are_named() -> None:
    one = told(NodeStatistics(), target('a', State.LOST), target('b', State.TRACKING))
    assert (one.level, one.message) == (DiagnosticStatus.WARN, 'lost: a')


def test_errors_come_first() -> None:
    figures = NodeStatistics()
    figures.count('failed')
    one = told(figures, target('a', State.LOST), error='no image')
    assert one.level == DiagnosticStatus.ERROR
    assert one.message == 'no image; failed 1 times: see the log; lost: a'
