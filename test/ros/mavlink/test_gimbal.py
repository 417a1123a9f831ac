"""siamffn_ros/mavlink/gimbal.py, closed over a simulated gimbal in simulated time"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siamffn_model.errors import ConfigError
from siamffn_model.tracking import State
from siamffn_ros.mavlink.bearing import Bearing
from siamffn_ros.mavlink.gimbal import (
    HOLD_TIME,
    MAX_STEP,
    MIN_STOPS,
    STOP_TIME,
    Command,
    ControlSettings,
    GimbalLaw,
    Target,
)

from .simulated_gimbal import RATE, Motion, SimulatedGimbal, accelerations, close_loop

DEFAULTS = ControlSettings()
SPEED = math.radians(20)  # per second
START = math.radians(12), math.radians(-8)  # 18 % of the width from the centre


def straight(time: float) -> tuple[float, float]:
    return START[0] + SPEED * time, START[1]


def up_and_down(time: float) -> tuple[float, float]:
    """Move along a line that is inclined, with a largest speed of 20 deg/s."""
    angle = SPEED * math.sin(time)
    return 0.8 * angle, 0.6 * angle


def circle(time: float) -> tuple[float, float]:
    radius = SPEED / 1.2
    return radius * math.sin(1.2 * time), radius * (1 - math.cos(1.2 * time))


def at_rest(time: float) -> tuple[float, float]:
    return START


MOTIONS = [straight, up_and_down, circle, at_rest]
motions = pytest.mark.parametrize('motion', MOTIONS, ids=lambda motion: motion.__name__)


@motions
def test_the_target_is_within_5_percent_of_the_width_after_2_seconds(motion: Motion) -> None:
    record = close_loop(motion, seconds=8)
    assert record.worst(2.0) < 0.05
    assert record.worst(0.0) > record.worst(2.0)


@motions
@pytest.mark.parametrize('lag', [0.02, 0.08, 0.2])
def test_with_five_times_the_gain_the_limits_hold_and_nothing_diverges(
    motion: Motion, lag: float
) -> None:
    settings = ControlSettings(gain=5 * DEFAULTS.gain)
    record = close_loop(motion, settings, SimulatedGimbal(lag), seconds=15)
    assert np.abs(record.rates).max() <= settings.max_rate
    assert np.abs(accelerations(record)).max() <= settings.max_acceleration * (1 + 1e-9)
    assert record.worst(2.0) < 0.06
    assert record.worst(10.0) <= 1.02 * record.worst(2.0)


def test_without_feed_forward_a_moving_target_stays_away_from_the_centre() -> None:
    settings = ControlSettings(feed_forward=0)
    record = close_loop(straight, settings)
    lag = SPEED / settings.gain + settings.dead_zone
    assert record.worst(4.0) == pytest.approx(math.tan(lag) / math.tan(math.pi / 6) / 2, rel=0.02)
    assert close_loop(straight).worst(4.0) < 0.1 * record.worst(4.0)


@pytest.mark.parametrize('scale', [0.5, 0.7, 1.3])
def test_a_gimbal_that_turns_slower_or_faster_than_commanded_is_corrected(scale: float) -> None:
    # As a camera that is pitched by acos(scale): its yaw moves the image by that much less.
    record = close_loop(straight, gimbal=SimulatedGimbal(scale=scale))
    assert record.worst(3.0) < 0.05


def test_images_that_arrive_three_times_later_do_not_matter() -> None:
    assert close_loop(straight, delay=9).worst(2.5) < 0.05


def test_each_second_image_is_enough() -> None:
    def every_second(time: float) -> State | None:
        return State.TRACKING if round(time * RATE) % 2 == 0 else None

    assert close_loop(straight, state=every_second).worst(2.0) < 0.05


def test_a_target_at_rest_within_the_dead_zone_does_not_move_the_gimbal() -> None:
    near = 0.9 * DEFAULTS.dead_zone
    record = close_loop(lambda time: (near, -near))
    assert not record.rates.any()
    assert record.commanded[4:].all()


@pytest.mark.parametrize('gain', [DEFAULTS.gain, 5 * DEFAULTS.gain])
@pytest.mark.parametrize('acceleration', [1.0, 4.0])
def test_the_gimbal_brakes_in_time_at_a_new_box_elsewhere(gain: float, acceleration: float) -> None:
    def jump(time: float) -> tuple[float, float]:
        return (0.0, 0.0) if time < 2 else (math.radians(25), 0.0)

    settings = ControlSettings(gain=gain, max_acceleration=acceleration)
    record = close_loop(jump, settings, seconds=6)
    offsets = record.offsets[record.times >= 2, 0]
    assert offsets.max() > 0.4
    assert offsets.min() > -0.02, 'it does not swing beyond the target'
    assert record.worst(4.0) < 0.02


def states(*changes: tuple[float, State]) -> Callable[[float], State]:
    """Return the function of time for (from when, state)."""
    return lambda time: [state for start, state in changes if start <= time][-1]


def test_an_uncertain_target_is_followed_for_a_while_and_then_the_gimbal_stops() -> None:
    state = states((0, State.TRACKING), (3, State.UNCERTAIN))
    record = close_loop(straight, seconds=7, state=state)
    yaw_rate = record.rates[:, 0]
    shown = 3.1  # when the first UNCERTAIN image has its result
    holding = (record.times > shown) & (record.times < shown + HOLD_TIME)
    assert yaw_rate[holding] == pytest.approx(SPEED, rel=0.05)
    assert record.worst(2.0) > 0.05
    assert np.abs(record.offsets[holding]).max() < 0.05
    assert not record.rates[record.times > shown + HOLD_TIME + 0.5].any()


def test_the_bearing_of_an_uncertain_target_is_not_used() -> None:
    def jump(time: float) -> tuple[float, float]:
        return straight(time) if time < 3 else (-1.0, 1.0)

    state = states((0, State.TRACKING), (3, State.UNCERTAIN))
    expected = close_loop(straight, state=state)
    assert close_loop(jump, state=state).rates == pytest.approx(expected.rates)


@pytest.mark.parametrize('end', [State.LOST, State.IDLE])
def test_the_gimbal_stops_at_once_and_is_left_alone_later(end: State) -> None:
    record = close_loop(straight, seconds=7, state=states((0, State.TRACKING), (3, end)))
    braking = SPEED / DEFAULTS.max_acceleration
    stopped = record.times > 3.1 + braking + 1 / RATE
    assert not record.rates[stopped].any()
    assert record.commanded[stopped][: round(0.8 * STOP_TIME * RATE)].all(), 'zero is repeated'
    assert not record.commanded[record.times > 3.2 + braking + STOP_TIME].any()
    assert np.abs(accelerations(record)).max() <= DEFAULTS.max_acceleration * (1 + 1e-9)


def test_without_new_images_the_gimbal_stops() -> None:
    record = close_loop(
        straight, seconds=7, state=lambda time: None if time > 3 else State.TRACKING
    )
    assert record.rates[record.times < 3.1 + DEFAULTS.timeout - 0.2, 0][-1] > 0.9 * SPEED
    assert not record.rates[record.times > 3.2 + DEFAULTS.timeout].any()
    assert not record.commanded[record.times > 3.5 + DEFAULTS.timeout + STOP_TIME].any()


def test_a_target_that_is_found_again_is_followed_again() -> None:
    state = states((0, State.TRACKING), (1, State.LOST), (2, State.TRACKING))
    record = close_loop(up_and_down, seconds=8, state=state)
    assert record.worst(5.0) < 0.05


def follow(law: GimbalLaw, times: np.ndarray, bearing: Bearing) -> list[Command]:
    """Return the commands for a target with the same bearing in an image of each time."""
    commands = [law.update(t, Target(t, bearing, State.TRACKING)) for t in times.tolist()]
    return [command for command in commands if command is not None]


def test_the_angles_are_the_integral_of_the_rates() -> None:
    law = GimbalLaw(DEFAULTS)
    law.aim_at(0.3, -1.2)
    times = np.arange(0, 2, 0.03)
    commands = follow(law, times, Bearing(0.2, 0.1))
    rates = np.array([(c.yaw_rate, c.pitch_rate) for c in commands])
    angles = np.array([(c.yaw, c.pitch) for c in commands])
    moved = np.cumsum(0.03 * rates[:-1], axis=0)
    assert angles[0] == pytest.approx([0.3, -1.2])
    assert angles[1:] - [0.3, -1.2] == pytest.approx(moved)
    assert moved[-1, 0] > 0.5


def test_the_angles_do_not_run_away_from_a_gimbal_at_its_stop() -> None:
    law = GimbalLaw(DEFAULTS)
    stop = 3.1, -1.5
    law.aim_at(*stop)
    for time in np.arange(0, 5, 0.03).tolist():
        law.keep_near(*stop, 0.5)
        command = law.update(time, Target(time, Bearing(0.2, -0.2), State.TRACKING))
    assert command is not None
    assert command.yaw == pytest.approx(stop[0] + 0.5, abs=0.05)
    assert command.pitch == pytest.approx(stop[1] - 0.5, abs=0.05)
    law.keep_near(stop[0] - math.tau, stop[1], 0.5)  # the same direction, a turn away
    later = law.update(5.0, None)
    assert later is not None
    assert later.yaw == pytest.approx(stop[0] + 0.5, abs=0.05)


def test_after_a_pause_of_the_caller_the_angles_do_not_jump() -> None:
    law = GimbalLaw(DEFAULTS)
    before = follow(law, np.arange(0, 1, 0.03), Bearing(0.5, 0.0))[-1]
    (after,) = follow(law, np.array([20.0]), Bearing(0.5, 0.0))
    assert before.yaw_rate == DEFAULTS.max_rate
    assert after.yaw - before.yaw == pytest.approx(MAX_STEP * DEFAULTS.max_rate)


def test_when_time_jumps_back_the_gimbal_starts_again_from_rest() -> None:
    law = GimbalLaw(DEFAULTS)
    before = follow(law, np.arange(100, 101, 0.03), Bearing(0.5, 0.0))[-1]
    after = follow(law, np.arange(10, 12, 0.03), Bearing(-0.5, 0.0))
    assert before.yaw_rate > 0
    assert after[0].yaw_rate == 0
    assert after[-1].yaw_rate < 0


def test_a_command_begins_at_rest_wherever_the_target_is() -> None:
    law = GimbalLaw(DEFAULTS)
    first = law.update(100.0, Target(99.9, Bearing(0.5, 0.5), State.TRACKING))
    assert first == Command(100.0, 0.0, 0.0, 0.0, 0.0)
    assert law.active


def test_without_a_target_there_is_no_command() -> None:
    law = GimbalLaw(DEFAULTS)
    assert law.update(1.0, None) is None
    assert law.update(2.0, Target(2.0, Bearing(0, 0), State.LOST)) is None
    assert law.update(3.0, Target(1.0, Bearing(0, 0), State.TRACKING)) is None, 'an old image'
    assert law.update(4.0, Target(4.5, Bearing(0, 0), State.TRACKING)) is None, 'from the future'
    assert not law.active


@pytest.mark.parametrize('period', [0.033, 0.3, 0.6])
def test_however_slow_the_caller_is_standing_still_is_commanded_often(period: float) -> None:
    law = GimbalLaw(DEFAULTS)
    follow(law, np.arange(0, 2, period), Bearing(0.5, 0.0))
    commands = [law.update(time, None) for time in np.arange(2, 20, period).tolist()]
    stops = [command for command in commands if command and not command.yaw_rate]
    assert len(stops) >= MIN_STOPS and commands[-1] is None


def test_standing_still_is_commanded_again_only_without_a_target() -> None:
    law = GimbalLaw(DEFAULTS)
    law.stop_again()
    commands = [law.update(time, None) for time in np.arange(0, 2, 0.03).tolist()]
    assert len([command for command in commands if command]) == pytest.approx(1 / 0.03, abs=2)
    assert all(command is None or command[1:3] == (0, 0) for command in commands)
    before = follow(law, np.arange(2, 3, 0.03), Bearing(0.5, 0.0))[-1]
    law.stop_again()
    after = follow(law, np.arange(3, 3.1, 0.03), Bearing(0.5, 0.0))[-1]
    assert before.yaw_rate == after.yaw_rate == DEFAULTS.max_rate


def test_a_jump_to_something_else_is_not_taken_for_a_velocity() -> None:
    def motion(time: float) -> tuple[float, float]:
        return (0.1 if time >= 1 else 0.0, 0.0)

    record = close_loop(
        motion, seconds=4, state=states((0, State.TRACKING), (1.03, State.UNCERTAIN))
    )
    turned = np.abs(record.rates[record.times > 1]).sum(0)[0] / RATE
    assert turned < 0.2


@pytest.mark.parametrize('bearing', [Bearing(math.nan, 0.0), Bearing(0.0, math.inf)])
def test_a_bearing_that_is_no_number_stops_the_gimbal_and_is_forgotten(bearing: Bearing) -> None:
    law = GimbalLaw(DEFAULTS)
    assert follow(law, np.arange(0, 1, 0.03), Bearing(0.5, 0.0))[-1].yaw_rate > 0
    stopped = follow(law, np.arange(1, 2, 0.03), bearing)
    assert [stopped[-1].yaw_rate, stopped[-1].pitch_rate] == [0, 0]
    again = follow(law, np.arange(2, 3, 0.03), Bearing(0.5, 0.0))
    assert again[-1].yaw_rate == DEFAULTS.max_rate


def test_the_gimbal_is_stopped_in_half_a_second_even_if_it_accelerates_slowly() -> None:
    law = GimbalLaw(ControlSettings(max_acceleration=0.1))
    turning = follow(law, np.arange(0, 10, 0.03), Bearing(0.5, 0.0))[-1]
    assert turning.yaw_rate > 0.5
    braking = [law.update(time, None) for time in (10.1, 10.2, 10.3, 10.4, 10.5)]
    assert braking[0] and braking[0].yaw_rate > 0
    assert braking[-1] and braking[-1].yaw_rate == 0


ANGLES = st.floats(-1.5, 1.5)
STATES = st.sampled_from([State.TRACKING, State.TRACKING, State.UNCERTAIN, State.LOST])
STEPS = st.tuples(st.floats(0, 0.5), st.floats(-0.2, 0.7), ANGLES, ANGLES, STATES)


@given(st.lists(STEPS, max_size=60))
def test_the_limits_hold_for_any_sequence_of_targets(
    steps: list[tuple[float, float, float, float, State]],
) -> None:
    law, now, before = GimbalLaw(DEFAULTS), 0.0, np.zeros(2)
    for elapsed, age, yaw, pitch, state in steps:
        now += elapsed
        command = law.update(now, Target(now - age, Bearing(yaw, pitch), state))
        rates = np.array([command.yaw_rate, command.pitch_rate]) if command else np.zeros(2)
        change = DEFAULTS.max_acceleration * elapsed
        assert (np.abs(rates) <= DEFAULTS.max_rate).all()
        assert (np.abs(rates - before) <= change + 1e-9).all()
        before = rates


@pytest.mark.parametrize(
    ('name', 'value'),
    [('gain', -1), ('feed_forward', 1.1), ('max_rate', 0), ('timeout', math.nan)],
)
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f'{name} is {value:g}: give a number from'):
        ControlSettings(**{name: value})
