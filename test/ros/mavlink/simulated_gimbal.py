"""A gimbal and a camera with delay, in simulated time, closed over the control law."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from siamffn_model.tracking import State
from siamffn_ros.mavlink.bearing import Bearing
from siamffn_ros.mavlink.gimbal import Command, ControlSettings, GimbalLaw, Target

RATE = 30  # images in a second
SUBSTEPS = 10  # steps of the gimbal between two images
POSITION_GAIN = 8.0  # of the gimbal's own control of angles, 1/s
FIELD_OF_VIEW = math.radians(60)

# Moves the gimbal from a time on until the next image, and returns the command.
Control = Callable[[float, Target | None, 'SimulatedGimbal'], Command | None]
Motion = Callable[[float], tuple[float, float]]  # yaw and pitch of a target, rad, at a time in s


class SimulatedGimbal:
    """A gimbal whose rate follows the command with a first-order lag and a limit.

    Args:
        lag: time constant in seconds.
        max_rate: in rad/s.
        scale: its rate for a command of 1.

    Attributes:
        angle, rate: (2) yaw and pitch in rad, and rad/s.
    """

    def __init__(self, lag: float = 0.08, max_rate: float = 1.5, scale: float = 1.0) -> None:
        self.lag, self.max_rate, self.scale = lag, max_rate, scale
        self.angle, self.rate = np.zeros(2), np.zeros(2)

    def turn(self, yaw_rate: float, pitch_rate: float, seconds: float) -> None:
        """Apply rates in rad/s for some time."""
        for _ in range(SUBSTEPS):
            self._step(np.array([yaw_rate, pitch_rate]), seconds / SUBSTEPS)

    def point(self, yaw: float, pitch: float, seconds: float) -> None:
        """Turn to angles in rad for some time."""
        for _ in range(SUBSTEPS):
            self._step(POSITION_GAIN * ((yaw, pitch) - self.angle), seconds / SUBSTEPS)

    def _step(self, rate: np.ndarray, seconds: float) -> None:
        wanted = np.clip(self.scale * rate, -self.max_rate, self.max_rate)
        self.rate = self.rate + (wanted - self.rate) * (1 - math.exp(-seconds / self.lag))
        self.angle = self.angle + seconds * self.rate


class Record(NamedTuple):
    """A run of the closed loop, for each image.

    Attributes:
        times: (N) in seconds.
        offsets: (N, 2) of the target from the centre, in widths of the image.
        rates: (N, 2) that were commanded, in rad/s; 0 while there is no command.
        commanded: (N) whether there was a command.
    """

    times: np.ndarray
    offsets: np.ndarray
    rates: np.ndarray
    commanded: np.ndarray

    def worst(self, start: float) -> float:
        """Return the largest offset in either direction from a time on."""
        return float(np.abs(self.offsets[self.times >= start]).max())


def direct_control(settings: ControlSettings) -> Control:
    """Return the control by rates that the gimbal gets at once."""
    law = GimbalLaw(settings)

    def control(now: float, target: Target | None, gimbal: SimulatedGimbal) -> Command | None:
        command = law.update(now, target)
        gimbal.turn(*(command[1:3] if command else (0.0, 0.0)), 1 / RATE)
        return command

    return control


def close_loop(
    motion: Motion,
    settings: ControlSettings | None = None,
    gimbal: SimulatedGimbal | None = None,
    seconds: float = 6.0,
    delay: int = 3,
    state: Callable[[float], State | None] = lambda time: State.TRACKING,
    control: Control | None = None,
) -> Record:
    """Run camera, control law and gimbal.

    Args:
        motion: direction of the target.
        delay: from an image to its result, in images.
        state: of the target in the image of a time; None: there is no result for this image.
        control: what moves the gimbal; by default the control law does, directly.
    """
    control = control or direct_control(settings or ControlSettings())
    gimbal = gimbal or SimulatedGimbal()
    pending: deque[Target | None] = deque([None] * delay)
    target: Target | None = None
    rows = []
    for number in range(round(seconds * RATE)):
        now = number / RATE
        error = np.subtract(motion(now), gimbal.angle)
        status = state(now)
        pending.append(None if status is None else Target(now, Bearing(*error.tolist()), status))
        target = pending.popleft() or target
        command = control(now, target, gimbal)
        rates = (command.yaw_rate, command.pitch_rate) if command else (0.0, 0.0)
        offset = np.tan(error) / math.tan(FIELD_OF_VIEW / 2) / 2
        rows.append((now, offset, rates, command is not None))
    return Record(*map(np.array, zip(*rows)))


def accelerations(record: Record) -> np.ndarray:
    """Return the changes (N - 1, 2) of the commanded rates in rad/s^2."""
    changes: np.ndarray = np.diff(record.rates, axis=0) * RATE
    return changes
