"""The gimbal managers of ArduPilot and PX4, as their sources handle these messages."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pymavlink.dialects.v20 import common as mavlink

from siamffn_ros.mavlink.address import Address
from siamffn_ros.mavlink.gimbal import Command, Target
from siamffn_ros.mavlink.gimbal_commands import GimbalController

from .simulated_gimbal import RATE, SimulatedGimbal

OWN, VEHICLE = Address(1, 100), Address(1, 1)


def transmit(message: Any, sender: Address) -> Any:
    """Return the message as it is received, from its bytes."""
    data = message.pack(mavlink.MAVLink(None, *sender))
    (received,) = mavlink.MAVLink(None).parse_buffer(data)
    return received


class SimulatedAutopilot:
    """A gimbal manager.

    Attributes:
        angles, rates: (yaw, pitch) in rad or rad/s that are executed; at most one is not None.
        flags: GIMBAL_MANAGER_FLAGS of the last setpoint.
        controller: who has primary control.
        received: all messages.
    """

    def __init__(self) -> None:
        self.angles: tuple[float, float] | None = None
        self.rates: tuple[float, float] | None = None
        self.flags = 0
        self.controller = Address(0, 0)
        self.received: list[Any] = []
        self.answers: list[Any] = []

    def receive(self, message: Any) -> None:
        """Handle a message."""
        assert (message.target_system, message.target_component) == VEHICLE
        sender = Address(message.get_srcSystem(), message.get_srcComponent())
        self.received.append(message)
        if message.get_type() != 'COMMAND_LONG':
            self.set(message, sender)
            return
        result = mavlink.MAV_RESULT_UNSUPPORTED
        if message.command == mavlink.MAV_CMD_DO_GIMBAL_MANAGER_CONFIGURE:
            own = (message.param1, message.param2)
            self.controller = Address(0, 0) if own == (-3, -3) else Address(*map(int, own))
            result = mavlink.MAV_RESULT_ACCEPTED
        elif message.command == mavlink.MAV_CMD_DO_GIMBAL_MANAGER_PITCHYAW:
            result = self.do_pitchyaw(message, sender)
        self.answers.append(
            mavlink.MAVLink_command_ack_message(message.command, result, 0, 0, *sender)
        )

    def set(self, message: Any, sender: Address) -> None:
        """Handle a setpoint that is not a command."""
        raise NotImplementedError

    def do_pitchyaw(self, message: Any, sender: Address) -> int:
        """Handle the command and return its result."""
        raise NotImplementedError

    def status(self) -> Any:
        """Return GIMBAL_MANAGER_STATUS."""
        return mavlink.MAVLink_gimbal_manager_status_message(0, 0, 1, *self.controller, 0, 0)

    def apply(self, angles: tuple[float, float], rates: tuple[float, float], flags: float) -> None:
        """Execute a setpoint in rad: the angles, if there are any."""
        self.flags = int(flags)
        finite = bool(np.isfinite(angles).all())
        self.angles, self.rates = (angles, None) if finite else (None, rates)

    def move(self, gimbal: SimulatedGimbal, seconds: float) -> None:
        """Move the gimbal for some time."""
        if self.angles:
            gimbal.point(*self.angles, seconds)
        else:
            gimbal.turn(*(self.rates or (0.0, 0.0)), seconds)


class ArduPilot(SimulatedAutopilot):
    """AP_Mount: anyone may send 287 in rad or 1000 in deg; both angles and rates are refused."""

    def set(self, message: Any, sender: Address) -> None:
        if message.get_type() == 'GIMBAL_MANAGER_SET_PITCHYAW':
            angles, rates = (message.yaw, message.pitch), (message.yaw_rate, message.pitch_rate)
            if not np.isfinite([*angles, *rates]).all():
                self.apply(angles, rates, message.flags)

    def do_pitchyaw(self, message: Any, sender: Address) -> int:
        angles = math.radians(message.param2), math.radians(message.param1)
        rates = math.radians(message.param4), math.radians(message.param3)
        self.apply(angles, rates, message.param5)
        return int(mavlink.MAV_RESULT_ACCEPTED)


class Px4(SimulatedAutopilot):
    """InputMavlinkGimbalV2: 282 and 1000 of who has primary control, and no 287.

    Args:
        rates_in_radians: as releases before v1.16 take the rates of 1000.
    """

    def __init__(self, rates_in_radians: bool = False) -> None:
        super().__init__()
        self.rates_in_radians = rates_in_radians

    def set(self, message: Any, sender: Address) -> None:
        if message.get_type() == 'GIMBAL_MANAGER_SET_ATTITUDE' and sender == self.controller:
            w, x, y, z = message.q
            yaw = math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
            pitch = math.asin(2 * (w * y - z * x))
            rates = message.angular_velocity_z, message.angular_velocity_y
            self.apply((yaw, pitch), rates, message.flags)

    def do_pitchyaw(self, message: Any, sender: Address) -> int:
        if sender != self.controller:
            return int(mavlink.MAV_RESULT_DENIED)
        angles = math.radians(message.param2), math.radians(message.param1)
        rates = message.param4, message.param3
        if not self.rates_in_radians:
            rates = math.radians(rates[0]), math.radians(rates[1])
        self.apply(angles, rates, message.param5)
        return int(mavlink.MAV_RESULT_ACCEPTED)


class Link:
    """The control of a gimbal through an autopilot, for `close_loop`.

    Args:
        lost: returns whether the message of this number, in either direction, is lost.
        attitude_flags: of GIMBAL_DEVICE_ATTITUDE_STATUS; None: it is not sent.
    """

    def __init__(
        self,
        controller: GimbalController,
        autopilot: SimulatedAutopilot,
        lost: Any = lambda number: False,
        attitude_flags: int | None = mavlink.GIMBAL_DEVICE_FLAGS_YAW_IN_VEHICLE_FRAME,
    ) -> None:
        self.controller, self.autopilot = controller, autopilot
        self.lost, self.attitude_flags = lost, attitude_flags
        self.count = 0

    def __call__(
        self, now: float, target: Target | None, gimbal: SimulatedGimbal
    ) -> Command | None:
        if self.attitude_flags is not None and round(now * RATE) % 6 == 0:  # 5 Hz
            self.answer(attitude_status(gimbal.angle, self.attitude_flags), now)
            self.answer(self.autopilot.status(), now)
        command = self.controller.update(now, target)
        for message in self.controller.messages(command, OWN, VEHICLE):
            if not self.lose():
                self.autopilot.receive(transmit(message, OWN))
        while self.autopilot.answers:
            self.answer(self.autopilot.answers.pop(0), now)
        self.autopilot.move(gimbal, 1 / RATE)
        return command

    def lose(self) -> bool:
        """Count a message and return whether it is lost."""
        self.count += 1
        return bool(self.lost(self.count))

    def answer(self, message: Any, now: float) -> None:
        """Send a message of the autopilot to the controller."""
        if not self.lose():
            self.controller.handle(transmit(message, VEHICLE), now)


def attitude_status(angle: Any, flags: int, device_id: int = 0) -> Any:
    """Return the message of a gimbal at (yaw, pitch) in rad."""
    yaw, pitch = angle[0] / 2, angle[1] / 2
    q = [
        math.cos(pitch) * math.cos(yaw),
        -math.sin(pitch) * math.sin(yaw),
        math.sin(pitch) * math.cos(yaw),
        math.cos(pitch) * math.sin(yaw),
    ]
    return mavlink.MAVLink_gimbal_device_attitude_status_message(
        0, 0, 0, flags, q, 0, 0, 0, 0, math.nan, math.nan, device_id
    )
