"""Tests of siamffn_ros/node/target_log.py."""

from __future__ import annotations

from siamffn_model.imaging.geometry import Box
from siamffn_model.live.targets import TargetStatus
from siamffn_model.tracking import State, Track
from siamffn_ros.node.target_log import TargetLog


def target(name: str, state: State, processed: int) -> TargetStatus:
    track = Track(Box(1, 2, 3, 4), 0.5, state)
    return TargetStatus(name, 1, None, track, 0, processed, 0, 0.0, 0.0, 0.0)


def test_each_change_is_logged_once() -> None:
    lines: list[str] = []
    log = TargetLog(lines.append)

    def logged(*targets: TargetStatus) -> list[str]:
        lines.clear()
        log.update(targets)
        return list(lines)

    assert logged() == []
    assert logged(target('a', State.TRACKING, 2)) == ['target a started and has the box 1,2,3,4']
    assert logged(target('a', State.UNCERTAIN, 9)) == []
    assert logged(target('a', State.LOST, 20)) == ['target a is lost']
    assert logged(target('a', State.LOST, 50)) == []
    assert logged(target('a', State.TRACKING, 60)) == ['target a is found again']
    assert logged(target('a', State.LOST, 3), target('b', State.TRACKING, 1)) == [
        'target a restarted and is lost',
        'target b started and has the box 1,2,3,4',
    ]
    assert logged(target('b', State.TRACKING, 30)) == ['target a stopped']
    assert logged() == ['target b stopped']
