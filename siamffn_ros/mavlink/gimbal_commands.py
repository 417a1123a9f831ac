"""Control of a gimbal through the gimbal manager of an autopilot (MAVLink gimbal protocol v2).

docs/gimbal.md names the sources for what ArduPilot and PX4 expect.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from pymavlink.dialects.v20 import common as mavlink

from siamffn_model.errors import ConfigError
from siamffn_ros.mavlink.address import Address
from siamffn_ros.mavlink.bearing import Bearing
from siamffn_ros.mavlink.camera_messages import Message
from siamffn_ros.mavlink.gimbal import Command, ControlSettings, GimbalLaw, Target

METHODS = {'ardupilot': 'set_pitchyaw', 'px4': 'set_attitude'}  # autopilot: default method
CONFIGURE_PERIOD = 1.0  # seconds until control of the gimbal is requested again, without an answer
ATTITUDE_TIMEOUT = 2.0  # seconds
LEAD_TIME = 0.5  # the angles are at most this many seconds, at `max_rate`, ahead of the gimbal
LEVEL = mavlink.GIMBAL_MANAGER_FLAGS_ROLL_LOCK | mavlink.GIMBAL_MANAGER_FLAGS_PITCH_LOCK


class Setpoint(NamedTuple):
    """Angles in rad or rates in rad/s, NaN for what is not set, and GIMBAL_MANAGER_FLAGS."""

    pitch: float
    yaw: float
    pitch_rate: float
    yaw_rate: float
    flags: int


@dataclass(frozen=True)
class GimbalSettings(ControlSettings):
    """Settings of the control law, and of the messages.

    Attributes:
        mode: `rates` or `angles`. Angles require GIMBAL_DEVICE_ATTITUDE_STATUS from the gimbal.
        autopilot: `ardupilot` or `px4`.
        method: `set_pitchyaw` (message 287), `set_attitude` (message 282) or `do_pitchyaw` (command
            1000); empty for that of `METHODS`.
        rate_unit: of `do_pitchyaw`: `deg` (per second), as MAVLink defines it, or `rad`.
        device_id: gimbal_device_id of the gimbal; 0 for all.

    Raises `ConfigError` for any other value.
    """

    mode: str = 'rates'
    autopilot: str = 'ardupilot'
    method: str = ''
    rate_unit: str = 'deg'
    device_id: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in (
            ('mode', ('rates', 'angles')),
            ('autopilot', tuple(METHODS)),
            ('method', ('', *BUILDERS)),
            ('rate_unit', ('deg', 'rad')),
        ):
            value = getattr(self, name)
            if value not in choices:
                listed = ', '.join(choice for choice in choices if choice)
                raise ConfigError(f'{name} is {value!r}: give one of {listed}')
        if not 0 <= self.device_id <= 255:
            raise ConfigError(f'device_id is {self.device_id}: give a number from 0 to 255')


class GimbalController:
    """Control a gimbal so that the target stays in the centre of the image.

    For each result of the tracker, and about 30 times a second with the last one:

        command = controller.update(now, target)
        for message in controller.messages(command, own, vehicle): send(message)

    and `controller.handle(message, now)` for each message of the vehicle. One thread at a time.
    """

    def __init__(self, settings: GimbalSettings) -> None:
        self.settings = settings
        self._law = GimbalLaw(settings)
        self._attitude = Bearing(0.0, 0.0)  # the last that the gimbal has reported
        self._attitude_time = -math.inf
        self._attitude_in_earth_frame = False
        self._in_earth_frame = True  # the frame of the angles or rates that are sent
        self._px4 = settings.autopilot == 'px4'  # which obeys only who has control of the gimbal
        self._engaged = False
        self._requested = -math.inf  # when control of the gimbal was requested last
        self._in_control = False
        self._other: Address | None = None  # who has control instead
        self._own = Address(0, 0)
        self._vehicle: Address | None = None
        self._without_attitude = False
        self._late = False
        self._refusal = ''

    @property
    def problem(self) -> str:
        """Why the gimbal does not move, for the log; empty if nothing is known."""
        if self._without_attitude:
            return 'the gimbal does not report its attitude, which angles require: use rates'
        if self._late:
            return (
                'the last image is too old, or from the future: check that the camera runs and '
                'that its stamps are of the clock of ROS'
            )
        if self._other:
            system, component = self._other
            return f'component {component} of system {system} has taken control of the gimbal'
        return self._refusal

    def begin(self) -> None:
        """Take control of the gimbal again, even from an operator: a new target was given."""
        self._other = None

    def stop_again(self) -> None:
        """Repeat the commands to stand still: the vehicle may have missed them."""
        if self._vehicle:
            self._law.stop_again()

    def update(self, now: float, target: Target | None) -> Command | None:
        """Return the command for now, or None if the gimbal shall be left alone.

        See `GimbalLaw.update`. With `angles`, there is no command before the gimbal has reported
        its attitude, and it stands still when it reports none any more, or in another frame.
        """
        self._late = target is not None and not self._law.in_time(now, target)
        if self.settings.mode == 'rates':
            return self._law.update(now, target)
        fresh = now - self._attitude_time <= ATTITUDE_TIMEOUT
        self._without_attitude = not fresh and target is not None
        if not self._law.active:
            if not fresh:
                return None
            self._law.aim_at(*self._attitude)
            self._in_earth_frame = self._attitude_in_earth_frame
        elif not fresh or self._frame_has_changed:
            return self._law.update(now, None)
        lead = 0.0 if self._law.stopping else LEAD_TIME * self.settings.max_rate
        self._law.keep_near(*self._attitude, lead)
        return self._law.update(now, target)

    def messages(self, command: Command | None, own: Address, vehicle: Address) -> list[Message]:
        """Return the messages to send for what `update` has returned.

        Args:
            own: system and component that send them.
            vehicle: the autopilot, or another component that manages the gimbal.
        """
        if (own, vehicle) != (self._own, self._vehicle):
            self._own, self._vehicle, self._engaged = own, vehicle, False
        if command is None:
            return self.release()
        if self._other:
            return []
        if not self._engaged:
            self._engaged, self._in_control = True, not self._px4
            self._requested = -math.inf
        messages = []
        if not self._in_control and command.time - self._requested >= CONFIGURE_PERIOD:
            self._requested = command.time
            messages.append(self._configure(*own, vehicle))
        return [*messages, self._build(self._setpoint(command), vehicle)]

    def stop(self) -> list[Message]:
        """Return the message that stops the gimbal at once, for when the node ends."""
        if self._vehicle is None or not self._engaged or self._other:
            return []
        if self.settings.mode == 'angles' and self._frame_has_changed:
            return []
        yaw, pitch = self._attitude
        return [self._build(self._setpoint(Command(0.0, 0.0, 0.0, yaw, pitch)), self._vehicle)]

    def release(self) -> list[Message]:
        """Return the message that gives up control of the gimbal, if there is anything to do."""
        release, self._engaged = self._px4 and self._engaged, False
        if self._vehicle is None or not release or self._other:
            return []
        return [self._configure(-3, -3, self._vehicle)]

    def handle(self, message: Message, now: float) -> None:
        """Take what a message of the vehicle tells about the gimbal; ignore all others."""
        if self._vehicle and message.get_srcSystem() != self._vehicle.system:
            return
        kind = message.get_type()
        if kind == 'GIMBAL_DEVICE_ATTITUDE_STATUS':
            device = message.gimbal_device_id or message.get_srcComponent()
            if self.settings.device_id in (0, device):
                self._take_attitude(message, now)
        elif kind == 'COMMAND_ACK' and self._engaged:
            self._take_answer(message)
        elif kind == 'GIMBAL_MANAGER_STATUS' and self._engaged and self._px4:
            self._take_status(message)

    def _take_attitude(self, message: Message, now: float) -> None:
        w, x, y, z = message.q
        if not 0.9 < math.hypot(w, x, y, z) < 1.1:  # also true for NaN
            return
        # Of the axis to the right, which a camera that looks straight down has, too.
        yaw = math.atan2(2 * (w * z - x * y), 1 - 2 * (x * x + z * z))
        pitch = math.asin(min(max(2 * (w * y - z * x), -1), 1))
        self._attitude, self._attitude_time = Bearing(yaw, pitch), now
        flags = message.flags
        frames = (
            mavlink.GIMBAL_DEVICE_FLAGS_YAW_IN_EARTH_FRAME
            | mavlink.GIMBAL_DEVICE_FLAGS_YAW_IN_VEHICLE_FRAME
        )
        if not flags & frames:  # an older gimbal
            in_earth_frame = flags & mavlink.GIMBAL_DEVICE_FLAGS_YAW_LOCK
        else:
            in_earth_frame = flags & mavlink.GIMBAL_DEVICE_FLAGS_YAW_IN_EARTH_FRAME
        self._attitude_in_earth_frame = bool(in_earth_frame)

    def _take_answer(self, message: Message) -> None:
        if (message.target_system, message.target_component) != self._own:
            return
        accepted = message.result == mavlink.MAV_RESULT_ACCEPTED
        if message.command == mavlink.MAV_CMD_DO_GIMBAL_MANAGER_CONFIGURE:
            self._in_control = accepted
        elif message.command != mavlink.MAV_CMD_DO_GIMBAL_MANAGER_PITCHYAW:
            return
        name = mavlink.enums['MAV_CMD'][message.command].name
        entry = mavlink.enums['MAV_RESULT'].get(message.result)
        result = entry.name if entry else message.result
        self._refusal = '' if accepted else f'the autopilot answers {name} with {result}'

    def _take_status(self, message: Message) -> None:
        """Notice that PX4 has restarted, or that an operator has taken control of the gimbal."""
        if self.settings.device_id not in (0, message.gimbal_device_id):
            return
        primary = Address(message.primary_control_sysid, message.primary_control_compid)
        if primary == (0, 0):
            self._in_control = False
        elif primary != self._own:
            self._other = primary

    @property
    def _frame_has_changed(self) -> bool:
        return self._attitude_in_earth_frame != self._in_earth_frame

    @property
    def _flags(self) -> int:
        lock = mavlink.GIMBAL_MANAGER_FLAGS_YAW_LOCK if self._in_earth_frame else 0
        return LEVEL | lock

    def _build(self, setpoint: Setpoint, vehicle: Address) -> Message:
        build = BUILDERS[self.settings.method or METHODS[self.settings.autopilot]]
        return build(setpoint, vehicle, self.settings)

    def _setpoint(self, command: Command) -> Setpoint:
        flags, nan = self._flags, math.nan
        if self.settings.mode == 'rates':
            return Setpoint(nan, nan, command.pitch_rate, command.yaw_rate, flags)
        pitch = min(max(command.pitch, -math.pi / 2), math.pi / 2)
        return Setpoint(pitch, math.remainder(command.yaw, math.tau), nan, nan, flags)

    def _configure(self, system: int, component: int, vehicle: Address) -> Message:
        """Return the command that gives control of the gimbal to a component; -3 releases it."""
        command = mavlink.MAV_CMD_DO_GIMBAL_MANAGER_CONFIGURE
        unchanged = -1  # who has secondary control
        parameters = (system, component, unchanged, unchanged, 0, 0, self.settings.device_id)
        return mavlink.MAVLink_command_long_message(*vehicle, command, 0, *parameters)


def _set_pitchyaw(setpoint: Setpoint, vehicle: Address, settings: GimbalSettings) -> Message:
    s = setpoint
    return mavlink.MAVLink_gimbal_manager_set_pitchyaw_message(
        *vehicle, s.flags, settings.device_id, s.pitch, s.yaw, s.pitch_rate, s.yaw_rate
    )


def _set_attitude(setpoint: Setpoint, vehicle: Address, settings: GimbalSettings) -> Message:
    s = setpoint
    pitch, yaw = s.pitch / 2, s.yaw / 2
    quaternion = [  # w, x, y, z; of NaN for rates
        math.cos(pitch) * math.cos(yaw),
        -math.sin(pitch) * math.sin(yaw),
        math.sin(pitch) * math.cos(yaw),
        math.cos(pitch) * math.sin(yaw),
    ]
    roll_rate = math.nan if math.isnan(s.pitch_rate) else 0.0
    rates = (roll_rate, s.pitch_rate, s.yaw_rate)
    return mavlink.MAVLink_gimbal_manager_set_attitude_message(
        *vehicle, s.flags, settings.device_id, quaternion, *rates
    )


def _do_pitchyaw(setpoint: Setpoint, vehicle: Address, settings: GimbalSettings) -> Message:
    s = setpoint
    rates = [s.pitch_rate, s.yaw_rate]
    if settings.rate_unit == 'deg':
        rates = [math.degrees(rate) for rate in rates]
    angles = math.degrees(s.pitch), math.degrees(s.yaw)
    command = mavlink.MAV_CMD_DO_GIMBAL_MANAGER_PITCHYAW
    parameters = (*angles, *rates, s.flags, 0, settings.device_id)
    return mavlink.MAVLink_command_long_message(*vehicle, command, 0, *parameters)


BUILDERS: dict[str, Callable[[Setpoint, Address, GimbalSettings], Message]] = {
    'set_pitchyaw': _set_pitchyaw,
    'set_attitude': _set_attitude,
    'do_pitchyaw': _do_pitchyaw,
}
