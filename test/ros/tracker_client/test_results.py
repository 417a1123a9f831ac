"""siamffn_ros/tracker_client/results.py"""

from __future__ import annotations

import math

import pytest
from std_msgs.msg import Header

from siamffn_model.errors import BoxError
from siamffn_model.imaging.crop import search_region
from siamffn_model.imaging.geometry import Box
from siamffn_model.live.frame_buffer import TIME_JUMP
from siamffn_model.live.results import Result, Target
from siamffn_model.tracking import State, Track
from siamffn_ros.messages.conversions import to_status
from siamffn_ros.tracker_client.results import ResultAssembler, to_target

BOX = Box(10, 20, 30, 40)
CAR = Target('car', State.TRACKING, BOX, None, 0.9, 2, 0, 5.0)
VAN = CAR._replace(id='van')
LOST_VAN = VAN._replace(state=State.LOST, box=None, search=search_region(BOX))


@pytest.fixture
def results() -> list[Result]:
    return []


@pytest.fixture
def assembler(results: list[Result]) -> ResultAssembler:
    return ResultAssembler(results.append)


def test_a_result_is_reported_with_its_last_status(
    assembler: ResultAssembler, results: list[Result]
) -> None:
    for stamp in (1, 2):
        assembler.add_detections(stamp, ['car', 'van'])
        assembler.add_status(stamp, CAR)
        assert len(results) == stamp - 1
        assembler.add_status(stamp, VAN)
        assert results[-1] == Result(stamp, (CAR, VAN))
    assert len(results) == 2


def test_a_status_may_come_before_the_detections(
    assembler: ResultAssembler, results: list[Result]
) -> None:
    assembler.add_status(1, CAR)
    assert results == []
    assembler.add_detections(1, ['car'])
    assert results == [Result(1, (CAR,))]


def test_a_target_that_becomes_lost_is_waited_for(
    assembler: ResultAssembler, results: list[Result]
) -> None:
    assembler.add_detections(1, ['van'])
    assembler.add_status(1, VAN)
    assembler.add_detections(2, [])
    assert len(results) == 1, 'no result without the target in between'
    assembler.add_status(2, LOST_VAN)
    assert results[1:] == [Result(2, (LOST_VAN,))]


def test_a_lost_target_that_was_unknown_is_reported_in_a_second_result(
    assembler: ResultAssembler, results: list[Result]
) -> None:
    assembler.add_detections(1, ['car'])
    assembler.add_status(1, CAR)
    assembler.add_status(1, LOST_VAN)
    assert results == [Result(1, (CAR,)), Result(1, (CAR, LOST_VAN))]


def test_after_a_stop_the_result_is_reported_when_the_next_image_begins(
    assembler: ResultAssembler, results: list[Result]
) -> None:
    assembler.add_detections(1, ['car', 'van'])
    assembler.add_status(1, CAR)
    assembler.add_status(1, VAN)
    for stamp in (2, 3):
        assembler.add_detections(stamp, ['car'])
        assembler.add_status(stamp, CAR)
    assert results[1:] == [Result(2, (CAR,)), Result(3, (CAR,))]


def test_without_targets_a_result_is_reported_at_once(
    assembler: ResultAssembler, results: list[Result]
) -> None:
    assembler.add_detections(1, ['car'])
    assembler.add_status(1, CAR)
    assembler.add_detections(2, [])
    assembler.add_status(2, None)
    assert results[1:] == [Result(2, ())]
    assembler.add_detections(3, [])
    assert results[2:] == [Result(3, ())]
    assembler.add_status(3, None)
    assert len(results) == 3, 'once'


def test_a_lost_message_delays_one_result_only(
    assembler: ResultAssembler, results: list[Result]
) -> None:
    assembler.add_status(1, CAR)  # its detections do not arrive
    assembler.add_detections(2, ['car'])
    assert results == [Result(1, (CAR,))]
    assembler.add_detections(3, ['car'])  # the status of 2 has not arrived
    assembler.add_status(3, CAR)
    assert results[1:] == [Result(2, ()), Result(3, (CAR,))]


def test_messages_of_an_earlier_image_are_ignored_unless_time_has_jumped(
    assembler: ResultAssembler, results: list[Result]
) -> None:
    now = 10 * TIME_JUMP
    assembler.add_detections(now, ['car'])
    assembler.add_status(now, CAR)
    assembler.add_status(now - TIME_JUMP, VAN)
    assert results == [Result(now, (CAR,))]
    assembler.add_detections(5, ['car'])
    assembler.add_status(5, CAR)
    assert results[1:] == [Result(5, (CAR,))]


@pytest.mark.parametrize('state', [State.TRACKING, State.UNCERTAIN, State.LOST])
def test_only_a_visible_target_has_a_box(state: State) -> None:
    counts = {'frames_processed': 7, 'frames_dropped': 2, 'last_ms': 4.5}
    target = to_target(to_status('car', Track(BOX, 0.5, state), Header(), **counts))
    lost = state == State.LOST
    box, search = (None, search_region(BOX)) if lost else (BOX, None)
    assert target == Target('car', state, box, search, 0.5, 7, 2, 4.5)


def test_idle_is_no_target() -> None:
    assert to_target(to_status('', Track(Box(0, 0, 0, 0), 0, State.IDLE), Header())) is None


@pytest.mark.parametrize(
    'track',
    [
        Track(Box(math.nan, 2, 3, 4), 0.5, State.TRACKING),
        Track(Box(1, 2, 3, math.inf), 0.5, State.LOST),
        Track(Box(1, 2, -3, 4), 0.5, State.LOST),
        Track(BOX, math.nan, State.TRACKING),
    ],
)
def test_values_that_are_not_finite_are_refused(track: Track) -> None:
    with pytest.raises(BoxError, match='must be finite'):
        to_target(to_status('car', track, Header()))


def test_an_unknown_state_is_refused() -> None:
    status = to_status('car', Track(BOX, 0.5, State.TRACKING), Header())
    status.state = 9
    with pytest.raises(ValueError, match='9'):
        to_target(status)
