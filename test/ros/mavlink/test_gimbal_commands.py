"""siamffn_ros/mavlink/gimbal_commands.py, through the bytes of the messages"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip('pymavlink', reason='extra [mavlink] not installed')

from pymavlink.dialects.v20 import common as mavlink

from siamffn_model.errors import ConfigError
from siamffn_model.tracking import State
from siamffn_ros.mavlink.address import Address
from siamffn_ros.mavlink.bearing import Bearing
from siamffn_ros.mavlink.gimbal import STOP_TIME, Command, Target
from siamffn_ros.mavlink.gimbal_commands import CONFIGURE_PERIOD, GimbalController, GimbalSettings

from .simulated_autopilot import (
    OWN,
    VEHICLE,
    ArduPilot,
    Link,
    Px4,
    SimulatedAutopilot,
    attitude_status,
    transmit,
)
from .simulated_gimbal import RATE, SimulatedGimbal, close_loop

IN_VEHICLE_FRAME = mavlink.GIMBAL_DEVICE_FLAGS_YAW_IN_VEHICLE_FRAME
IN_EARTH_FRAME = mavlink.GIMBAL_DEVICE_FLAGS_YAW_IN_EARTH_FRAME
LOCK = mavlink.GIMBAL_MANAGER_FLAGS_YAW_LOCK
COMMAND = Command(10.0, yaw_rate=0.3, pitch_rate=-0.2, yaw=2.5, pitch=-1.1)
SPEED = math.radians(20)  # per second


def straight(time: float) -> tuple[float, float]:
    return math.radians(12) + SPEED * time, math.radians(-8)


def setpoint(settings: GimbalSettings, command: Command = COMMAND) -> Any:
    """Return the last message that is sent for a command."""
    return transmit(GimbalController(settings).messages(command, OWN, VEHICLE)[-1], OWN)


@pytest.mark.parametrize('mode', ['rates', 'angles'])
@pytest.mark.parametrize(
    ('autopilot', 'method', 'unit', 'make'),
    [
        ('ardupilot', '', 'deg', ArduPilot),
        ('ardupilot', 'do_pitchyaw', 'deg', ArduPilot),
        ('px4', '', 'deg', Px4),
        ('px4', 'do_pitchyaw', 'deg', Px4),
        ('px4', 'do_pitchyaw', 'rad', lambda: Px4(rates_in_radians=True)),
    ],
)
def test_the_target_is_centred_through_the_autopilot(
    mode: str, autopilot: str, method: str, unit: str, make: Callable[[], SimulatedAutopilot]
) -> None:
    settings = GimbalSettings(mode=mode, autopilot=autopilot, method=method, rate_unit=unit)
    vehicle = make()
    record = close_loop(straight, control=Link(GimbalController(settings), vehicle))
    assert record.worst(2.0) < 0.05
    assert bool(vehicle.flags & LOCK) == (mode == 'rates')


def test_the_wrong_unit_of_rates_is_the_one_that_px4_has_changed() -> None:
    settings = GimbalSettings(autopilot='px4', method='do_pitchyaw', rate_unit='rad')
    record = close_loop(straight, control=Link(GimbalController(settings), Px4()))
    assert record.worst(2.0) > 0.5


@pytest.mark.parametrize('mode', ['rates', 'angles'])
@pytest.mark.parametrize(('autopilot', 'make'), [('ardupilot', ArduPilot), ('px4', Px4)])
def test_lost_messages_do_not_matter(
    mode: str, autopilot: str, make: Callable[[], SimulatedAutopilot]
) -> None:
    lost = np.random.default_rng(0).random(10_000) < 0.3
    settings = GimbalSettings(mode=mode, autopilot=autopilot)
    link = Link(GimbalController(settings), make(), lost=lost.__getitem__)
    record = close_loop(straight, control=link, seconds=8)
    assert record.worst(4.0) < 0.05


def test_the_rates_of_set_pitchyaw() -> None:
    message = setpoint(GimbalSettings(device_id=2))
    assert message.get_type() == 'GIMBAL_MANAGER_SET_PITCHYAW'
    assert (message.target_system, message.target_component) == VEHICLE
    assert (message.yaw_rate, message.pitch_rate) == pytest.approx((0.3, -0.2))
    assert math.isnan(message.yaw)
    assert math.isnan(message.pitch)
    assert message.gimbal_device_id == 2
    assert message.flags == 4 + 8 + 16  # roll, pitch and yaw are locked


def test_the_rates_of_set_attitude() -> None:
    message = setpoint(GimbalSettings(autopilot='px4'))
    assert message.get_type() == 'GIMBAL_MANAGER_SET_ATTITUDE'
    velocity = [getattr(message, f'angular_velocity_{axis}') for axis in 'xyz']
    assert velocity == pytest.approx([0, -0.2, 0.3])
    assert np.isnan(message.q).all()


@pytest.mark.parametrize(('unit', 'factor'), [('deg', 180 / math.pi), ('rad', 1)])
def test_the_rates_of_do_pitchyaw(unit: str, factor: float) -> None:
    settings = GimbalSettings(method='do_pitchyaw', rate_unit=unit, device_id=1)
    message = setpoint(settings)
    assert (message.get_type(), message.command) == ('COMMAND_LONG', 1000)
    assert (message.param3, message.param4) == pytest.approx((-0.2 * factor, 0.3 * factor))
    assert math.isnan(message.param1)
    assert math.isnan(message.param2)
    assert (message.param5, message.param7) == (28, 1)


@pytest.mark.parametrize('unit', ['deg', 'rad'])
def test_the_angles_of_do_pitchyaw_are_always_degrees(unit: str) -> None:
    settings = GimbalSettings(mode='angles', method='do_pitchyaw', rate_unit=unit)
    message = setpoint(settings)
    assert (message.param1, message.param2) == pytest.approx(np.degrees([-1.1, 2.5]))
    assert math.isnan(message.param3)
    assert math.isnan(message.param4)


def test_yaw_is_sent_between_minus_pi_and_pi() -> None:
    message = setpoint(GimbalSettings(mode='angles'), COMMAND._replace(yaw=4.0))
    assert message.yaw == pytest.approx(4.0 - math.tau)


def commands_sent(vehicle: SimulatedAutopilot) -> list[tuple[int, ...]]:
    """Return the first two parameters of each DO_GIMBAL_MANAGER_CONFIGURE."""
    return [
        (int(message.param1), int(message.param2), int(message.param3), int(message.param4))
        for message in vehicle.received
        if message.get_type() == 'COMMAND_LONG' and message.command == 1001
    ]


def test_control_of_px4_is_taken_once_and_released_at_the_end() -> None:
    vehicle = Px4()
    link = Link(GimbalController(GimbalSettings(autopilot='px4')), vehicle)
    record = close_loop(
        straight, seconds=8, control=link, state=lambda t: State.TRACKING if t < 3 else State.LOST
    )
    assert vehicle.received[0].command == 1001
    assert commands_sent(vehicle) == [(*OWN, -1, -1), (-3, -3, -1, -1)]
    assert vehicle.controller == (0, 0)
    assert len(vehicle.received) == record.commanded.sum() + 2, 'no message afterwards'


@pytest.mark.parametrize('autopilot', ['px4', 'ardupilot'])
def test_the_gimbal_is_stopped_and_released_when_the_node_ends(autopilot: str) -> None:
    controller = GimbalController(GimbalSettings(autopilot=autopilot))
    assert controller.stop() == controller.release() == []  # nothing was sent
    command = controller.update(0.0, tracked(0.0))
    controller.messages(command, OWN, VEHICLE)
    (still,), (again,) = controller.stop(), controller.stop()
    assert str(still) == str(again), 'as often as necessary'
    release = controller.release()
    rates = (
        (still.pitch_rate, still.yaw_rate)
        if autopilot == 'ardupilot'
        else (
            still.angular_velocity_y,
            still.angular_velocity_z,
        )
    )
    assert rates == (0, 0)
    assert [message.param1 for message in release] == ([-3] if autopilot == 'px4' else [])
    assert controller.stop() == controller.release() == []


def test_another_vehicle_is_asked_for_control_of_its_gimbal() -> None:
    controller = GimbalController(GimbalSettings(autopilot='px4'))
    for system in (1, 7):
        own, vehicle = Address(system, 100), Address(system, 1)
        configure, setpoint = controller.messages(COMMAND, own, vehicle)
        assert configure.command == 1001 and configure.param1 == setpoint.target_system == system
        answer = mavlink.MAVLink_command_ack_message(1001, 0, 0, 0, *own)
        controller.handle(transmit(answer, vehicle), COMMAND.time)
        assert len(controller.messages(COMMAND, own, vehicle)) == 1


def test_with_angles_the_gimbal_is_stopped_where_it_is() -> None:
    controller = GimbalController(GimbalSettings(mode='angles'))
    controller.handle(attitude((0.3, -0.2)), 0.0)
    controller.messages(controller.update(0.0, tracked(0.0)), OWN, VEHICLE)
    (still,) = controller.stop()
    assert (still.yaw, still.pitch) == pytest.approx((0.3, -0.2), abs=1e-6)


def test_a_slow_gimbal_with_angles_stops_when_the_target_is_lost() -> None:
    controller = GimbalController(GimbalSettings(mode='angles'))
    gimbal = SimulatedGimbal(max_rate=0.2)
    link = Link(controller, ArduPilot())
    record = close_loop(
        lambda time: (2.0, 0.0),
        gimbal=gimbal,
        control=link,
        seconds=6,
        state=lambda time: State.TRACKING if time < 3 else State.LOST,
    )
    assert np.abs(record.rates).max() > 0.5
    assert np.abs(gimbal.rate).max() < 0.01
    assert 0.4 < gimbal.angle[0] < 0.85


def attitude(angle: tuple[float, float], flags: int = IN_VEHICLE_FRAME) -> Any:
    """Return the message of the gimbal at (yaw, pitch) in rad."""
    return transmit(attitude_status(angle, flags), VEHICLE)


@pytest.mark.parametrize('change', ['silent', 'earth frame'])
def test_angles_end_when_the_attitude_cannot_be_used(change: str) -> None:
    controller = GimbalController(GimbalSettings(mode='angles'))
    commands = []
    for number in range(round(6 * RATE)):
        now = number / RATE
        if now < 2:
            controller.handle(attitude((0.0, 0.0)), now)
        elif change == 'earth frame':
            controller.handle(attitude((1.0, 0.0), IN_EARTH_FRAME), now)
        commands.append(controller.update(now, Target(now, Bearing(0.3, 0.3), State.TRACKING)))
    angles = np.array([command[3:5] for command in commands if command])
    assert np.abs(angles).max() < 2.1, 'neither wound up nor mixed'
    if change == 'silent':
        assert commands[-1] is None and 'does not report its attitude' in controller.problem


def test_the_pitch_is_sent_up_to_straight_up_and_down() -> None:
    controller = GimbalController(GimbalSettings(mode='angles'))
    (message,) = controller.messages(COMMAND._replace(pitch=3.0), OWN, VEHICLE)
    assert message.pitch == pytest.approx(math.pi / 2)


def test_after_an_outage_standing_still_is_sent_again() -> None:
    controller = GimbalController(GimbalSettings())
    controller.stop_again()
    assert controller.update(0.0, None) is None, 'nothing was sent before'
    controller.messages(None, OWN, VEHICLE)
    controller.stop_again()
    (message,) = controller.messages(controller.update(0.1, None), OWN, VEHICLE)
    assert (message.yaw_rate, message.pitch_rate) == (0, 0)


def test_control_of_px4_is_requested_until_it_answers() -> None:
    vehicle = Px4()
    controller = GimbalController(GimbalSettings(autopilot='px4'))
    first_lost = Link(controller, vehicle, lost=lambda number: number < 100, attitude_flags=None)
    record = close_loop(straight, seconds=8, control=first_lost)
    assert commands_sent(vehicle) == [(*OWN, -1, -1)]
    assert record.worst(7.0) < 0.05
    controller = GimbalController(GimbalSettings(autopilot='px4'))
    times = (0, 0.5, 1.1 * CONFIGURE_PERIOD)
    sent = [controller.messages(COMMAND._replace(time=time), OWN, VEHICLE) for time in times]
    assert [len(messages) for messages in sent] == [2, 1, 2]


def test_an_operator_who_takes_control_keeps_it() -> None:
    vehicle = Px4()
    link = Link(GimbalController(GimbalSettings(autopilot='px4')), vehicle)
    taken: list[int] = []

    def state(time: float) -> State:
        if time > 2 and not taken:
            vehicle.controller, vehicle.rates = Address(255, 190), (0.0, 0.0)
            taken.append(len(commands_sent(vehicle)))
        return State.TRACKING

    close_loop(straight, seconds=5, control=link, state=state)
    assert vehicle.controller == (255, 190)
    assert vehicle.rates == (0.0, 0.0)
    close_loop(straight, control=link, state=lambda time: State.LOST)
    close_loop(straight, control=link)
    vehicle.controller = Address(0, 0)
    close_loop(straight, control=link)
    assert len(commands_sent(vehicle)) == taken[0], 'neither when found again nor when released'
    assert link.controller.problem == (
        'component 190 of system 255 has taken control of the gimbal'
    )
    link.controller.begin()
    close_loop(straight, control=link)
    assert vehicle.controller == OWN


def test_after_a_restart_of_px4_control_is_requested_again() -> None:
    vehicle = Px4()
    link = Link(GimbalController(GimbalSettings(autopilot='px4')), vehicle)
    restarts: list[float] = []

    def state(time: float) -> State:
        if time > 2 and not restarts:
            vehicle.controller, vehicle.rates = Address(0, 0), None
            restarts.append(time)
        return State.TRACKING

    record = close_loop(straight, seconds=8, control=link, state=state)
    assert vehicle.controller == OWN
    assert record.worst(6.0) < 0.05


def test_ardupilot_is_not_asked_for_control() -> None:
    vehicle = ArduPilot()
    close_loop(straight, control=Link(GimbalController(GimbalSettings()), vehicle), seconds=1)
    assert {message.get_type() for message in vehicle.received} == {'GIMBAL_MANAGER_SET_PITCHYAW'}


def answer(command: int, result: int, receiver: Address = OWN) -> Any:
    message = mavlink.MAVLink_command_ack_message(command, result, 0, 0, *receiver)
    return transmit(message, VEHICLE)


def test_a_refusal_is_reported_until_it_is_accepted() -> None:
    controller = GimbalController(GimbalSettings(autopilot='px4'))
    controller.messages(COMMAND, OWN, VEHICLE)
    controller.handle(answer(1001, mavlink.MAV_RESULT_UNSUPPORTED), 10.0)
    assert controller.problem == (
        'the autopilot answers MAV_CMD_DO_GIMBAL_MANAGER_CONFIGURE with MAV_RESULT_UNSUPPORTED'
    )
    controller.handle(answer(1001, mavlink.MAV_RESULT_ACCEPTED, Address(255, 190)), 10.0)
    controller.handle(answer(400, mavlink.MAV_RESULT_ACCEPTED), 10.0)
    assert controller.problem
    assert len(controller.messages(COMMAND._replace(time=11.5), OWN, VEHICLE)) == 2
    controller.handle(answer(1001, mavlink.MAV_RESULT_ACCEPTED), 12.0)
    assert controller.problem == ''


def tracked(time: float) -> Target:
    return Target(time, Bearing(0.2, 0.1), State.TRACKING)


def test_images_with_stamps_of_another_clock_are_reported() -> None:
    controller = GimbalController(GimbalSettings())
    for stamp in (40.0, 160.0):
        assert controller.update(100.0, tracked(stamp)) is None
        assert 'too old, or from the future' in controller.problem
        assert controller.update(101.0, tracked(101.0)) is not None
        assert controller.problem == ''
        controller = GimbalController(GimbalSettings())


def test_angles_wait_for_the_attitude_of_the_gimbal() -> None:
    controller = GimbalController(GimbalSettings(mode='angles'))
    assert controller.update(1.0, None) is None
    assert controller.problem == ''
    assert controller.update(2.0, tracked(2.0)) is None
    assert 'does not report its attitude' in controller.problem
    controller.handle(transmit(attitude_status((0.4, -0.9), IN_VEHICLE_FRAME), VEHICLE), 2.1)
    command = controller.update(2.1, tracked(2.1))
    assert controller.problem == ''
    assert command is not None
    assert (command.yaw, command.pitch) == pytest.approx((0.4, -0.9), abs=1e-6)


@pytest.mark.parametrize(
    ('flags', 'locked'),
    [
        (IN_VEHICLE_FRAME, False),
        (IN_VEHICLE_FRAME | mavlink.GIMBAL_DEVICE_FLAGS_YAW_LOCK, False),
        (IN_EARTH_FRAME, True),
        (mavlink.GIMBAL_DEVICE_FLAGS_YAW_LOCK, True),
        (0, False),
    ],
)
def test_angles_are_in_the_frame_of_the_reported_attitude(flags: int, locked: bool) -> None:
    controller = GimbalController(GimbalSettings(mode='angles'))
    controller.handle(transmit(attitude_status((0.0, 0.0), flags), VEHICLE), 1.0)
    (message,) = controller.messages(controller.update(1.0, tracked(1.0)), OWN, VEHICLE)
    assert bool(message.flags & LOCK) == locked


def test_only_the_attitude_of_the_chosen_gimbal_is_used() -> None:
    controller = GimbalController(GimbalSettings(mode='angles', device_id=154))
    for device, yaw in ((0, 0.7), (155, 0.8)):  # 0: the device is the sender, component 1
        message = attitude_status((yaw, 0.0), IN_VEHICLE_FRAME, device)
        controller.handle(transmit(message, VEHICLE), 1.0)
    assert controller.update(1.0, tracked(1.0)) is None
    gimbal = Address(1, 154)
    controller.handle(transmit(attitude_status((0.3, 0.0), IN_VEHICLE_FRAME), gimbal), 1.0)
    command = controller.update(1.1, tracked(1.1))
    assert command is not None
    assert command.yaw == pytest.approx(0.3)


def test_the_yaw_of_a_gimbal_that_looks_straight_down_is_known() -> None:
    """The attitude is that of PX4's issue 26599: Euler angles -77.8, -89.9, 167.7 degrees."""
    controller = GimbalController(GimbalSettings(mode='angles'))
    message = attitude_status((0.0, 0.0), IN_VEHICLE_FRAME)
    message.q = [-0.50009, -0.49912, 0.50071, -0.50009]
    controller.handle(transmit(message, VEHICLE), 1.0)
    command = controller.update(1.0, tracked(1.0))
    assert command is not None
    assert np.degrees([command.yaw, command.pitch]) == pytest.approx([90, -90], abs=0.2)


@pytest.mark.parametrize('q', [[math.nan] * 4, [0.0] * 4, [math.inf, 0, 0, 0], [1e38] * 4])
def test_an_attitude_that_is_no_rotation_is_not_used(q: list[float]) -> None:
    controller = GimbalController(GimbalSettings(mode='angles'))
    message = attitude_status((0.0, 0.0), IN_VEHICLE_FRAME)
    message.q = q
    controller.handle(transmit(message, VEHICLE), 1.0)
    assert controller.update(1.0, tracked(1.0)) is None


def test_the_gimbal_of_another_vehicle_is_ignored() -> None:
    controller = GimbalController(GimbalSettings(mode='angles'))
    assert controller.messages(controller.update(1.0, None), OWN, VEHICLE) == []
    message = attitude_status((0.3, 0.0), IN_VEHICLE_FRAME)
    controller.handle(transmit(message, Address(2, 1)), 1.0)
    assert controller.update(1.0, tracked(1.0)) is None
    controller.handle(transmit(message, VEHICLE), 1.0)
    assert controller.update(1.0, tracked(1.0)) is not None


def test_an_unknown_result_is_reported_by_its_number() -> None:
    controller = GimbalController(GimbalSettings(autopilot='px4'))
    controller.messages(COMMAND, OWN, VEHICLE)
    controller.handle(answer(1001, 77), 10.0)
    assert controller.problem.endswith('with 77')


def test_a_gimbal_at_its_mechanical_stop_returns_at_once() -> None:
    """The angles that are sent must not have run away meanwhile."""

    class Stopped(SimulatedGimbal):
        def _step(self, rate: np.ndarray, seconds: float) -> None:
            super()._step(rate, seconds)
            self.angle = np.clip(self.angle, -1.0, 1.0)

    def there_and_back(time: float) -> tuple[float, float]:
        return 1.3 * math.sin(SPEED * time), 0.0  # 17 degrees beyond the stop

    controller = GimbalController(GimbalSettings(mode='angles'))
    control = Link(controller, ArduPilot())
    record = close_loop(there_and_back, control=control, gimbal=Stopped(), seconds=9)
    assert record.worst(2.0) > 0.2
    assert record.worst(8.5) < 0.05


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('mode', 'off'),
        ('autopilot', 'inav'),
        ('method', 'rates'),
        ('rate_unit', 'rpm'),
        ('device_id', 256),
        ('gain', -1),
    ],
)
def test_settings_that_are_not_allowed_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f'{name} is .*: give'):
        GimbalSettings(**{name: value})


def test_after_the_target_is_lost_zero_rates_are_sent_and_then_nothing() -> None:
    vehicle = ArduPilot()
    link = Link(GimbalController(GimbalSettings()), vehicle)
    record = close_loop(
        straight, seconds=6, control=link, state=lambda t: State.TRACKING if t < 3 else State.LOST
    )
    assert vehicle.rates == (0.0, 0.0)
    assert len(vehicle.received) == record.commanded.sum()
    assert record.times[record.commanded][-1] == pytest.approx(3.1 + STOP_TIME, abs=0.15)
