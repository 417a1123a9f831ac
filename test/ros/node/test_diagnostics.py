"""Tests of siamffn_ros/node/diagnostics.py."""

from __future__ import annotations

import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from siamffn_model.imaging.geometry import Box
from siamffn_model.live.targets import TargetStatus
from siamffn_model.tracking import State, Track
from siamffn_ros.node.diagnostics import MAX_LATENCIES, NodeStatistics, diagnostic_status


def target(name: str, state: State) -> TargetStatus:
    return TargetStatus(name, 1, None, Track(Box(1, 2, 3, 4), 0.5, state), 0, 1, 0, 0.0, 0.0, 0.0)


def status(statistics: NodeStatistics, *targets: TargetStatus, error: str = '') -> DiagnosticStatus:
    return diagnostic_status('n', statistics, targets, {'device': 'cpu'}, 'fine', error)


def values(message: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in message.values}


def test_latency_covers_the_images_since_the_last_report() -> None:
    statistics = NodeStatistics()
    now = time.monotonic()
    for milliseconds in (10, 20, 30, 40, 1000):
        statistics.count_tracked(now - milliseconds / 1e3)
    events, seconds, latency = statistics.take_recent()
    assert events['tracked'] == 5 and seconds > 0
    assert latency == pytest.approx((30, np.percentile([10, 20, 30, 40, 1000], 95), 1000), abs=5)
    assert statistics.take_recent()[0] == {} and statistics.take_recent()[2] is None
    assert statistics.total['tracked'] == 5


def test_the_number_of_stored_latencies_is_bounded() -> None:
    statistics = NodeStatistics()
    for _ in range(3 * MAX_LATENCIES):
        statistics.count_tracked(0.0)
    assert len(statistics._latencies) == MAX_LATENCIES


def test_status_is_ok_without_problems() -> None:
    statistics = NodeStatistics()
    for _ in range(10):
        statistics.count('received')
        statistics.count_tracked(time.monotonic())
    report = status(statistics, target('a', State.TRACKING), target('b', State.UNCERTAIN))
    assert (report.level, report.message) == (DiagnosticStatus.OK, 'fine')
    assert report.hardware_id == 'cpu'
    pairs = values(report)
    assert (pairs['target a'], pairs['target b']) == ('TRACKING 0.50', 'UNCERTAIN 0.50')
    assert (pairs['images received'], pairs['images dropped'], pairs['targets']) == ('10', '0', '2')
    assert float(pairs['memory (MB)']) > 10


@pytest.mark.parametrize(
    ('events', 'message'),
    [
        (['received'] * 10 + ['dropped'] * 2, 'slow: 2 of 10 images dropped'),
    ],
)
def test_warnings_name_the_problem(events: list[str], message: str) -> None:
    statistics = NodeStatistics()
    for event in events:
        statistics.count(event)
    report = status(statistics, target('a', State.TRACKING))
    assert (report.level, report.message) == (DiagnosticStatus.WARN, message)
    assert status(statistics).level == DiagnosticStatus.OK, 'it is reported once'


def test_bad_images_are_reported_with_the_last_reason() -> None:
    statistics = NodeStatistics()
    statistics.count_bad('too large')
    statistics.count_bad('cut off')
    assert status(statistics).message == '2 bad images, the last: cut off'


def test_a_node_that_is_not_active_is_a_warning() -> None:
    report = diagnostic_status('n', NodeStatistics(), (), {}, 'fine', '', 'inactive: activate it')
    assert (report.level, report.message) == (DiagnosticStatus.WARN, 'inactive: activate it')


def test_a_few_dropped_images_cause_no_warning() -> None:
    statistics = NodeStatistics()
    for event in ['received'] * 30 + ['dropped']:
        statistics.count(event)
    assert status(statistics).level == DiagnosticStatus.OK


def test_lost_targets_are_named() -> None:
    report = status(NodeStatistics(), target('a', State.LOST), target('b', State.TRACKING))
    assert (report.level, report.message) == (DiagnosticStatus.WARN, 'lost: a')


def test_errors_are_reported_before_warnings() -> None:
    statistics = NodeStatistics()
    statistics.count('failed')
    report = status(statistics, target('a', State.LOST), error='no image')
    assert report.level == DiagnosticStatus.ERROR
    assert report.message == 'no image; failed 1 times: see the log; lost: a'
