"""The control law of the gimbal: from the target's bearing in each image to angular rates.

It knows neither ROS nor MAVLink, and gets the time as an argument.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from siamffn_model.tracking import State
from siamffn_model.tracking.settings import check_ranges
from siamffn_ros.mavlink.bearing import Bearing

Floats = NDArray[np.float64]

HOLD_TIME = 1.0  # seconds for which the gimbal turns on with an UNCERTAIN target
STOP_TIME = 1.0  # seconds for which commands to stand still are repeated ...
MIN_STOPS = 10  # ... and their number, at least
BRAKE_TIME = 0.5  # seconds for braking from the largest rate, at most
VELOCITY_TIME = 0.1  # seconds, time constant of the filter of the target's velocity
TARGET_ACCELERATION = 4.0  # rad/s^2; larger changes of its velocity are errors of the tracker
MAX_STEP = 0.2  # seconds between two updates that are integrated at most
EARLY = 0.1  # seconds by which the clock of the camera may be ahead
HISTORY = 3.0  # seconds; must be above the largest `timeout`


class Target(NamedTuple):
    """A target in an image.

    Attributes:
        stamp: time of the image in seconds, on the clock of `now`.
        bearing: of the box's centre; not used unless the state is TRACKING.
        state: of the target after this image.
    """

    stamp: float
    bearing: Bearing
    state: State


class Command(NamedTuple):
    """What the gimbal shall do from `time` (seconds) on.

    Attributes:
        yaw_rate, pitch_rate: angular rates in rad/s, to the right and upwards.
        yaw, pitch: the same movement as angles in rad, from those that `GimbalLaw.aim_at` has set.
    """

    time: float
    yaw_rate: float
    pitch_rate: float
    yaw: float
    pitch: float


@dataclass(frozen=True)
class ControlSettings:
    """Settings of the control law; rates and accelerations are of each axis.

    Attributes:
        gain: rate for each rad between the target and the centre of the image, in 1/s.
        feed_forward: fraction of the target's own angular velocity that is added.
        dead_zone: distance from the centre, in rad, up to which it is not corrected.
        lag: time constant in seconds with which the gimbal follows a command.
        max_rate: largest rate in rad/s.
        max_acceleration: largest change of the rate in rad/s^2. To stand still without a target,
            it brakes from `max_rate` within BRAKE_TIME at any setting.
        timeout: age of the last image in seconds above which the gimbal stops.

    Raises `ConfigError` for a value outside `RANGES`.
    """

    gain: float = 4.0
    feed_forward: float = 1.0
    dead_zone: float = 0.005
    lag: float = 0.1
    max_rate: float = 1.0
    max_acceleration: float = 4.0
    timeout: float = 0.5

    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        'gain': (0.0, 50.0),
        'feed_forward': (0.0, 1.0),
        'dead_zone': (0.0, 0.5),
        'lag': (0.0, 2.0),
        'max_rate': (0.01, 10.0),
        'max_acceleration': (0.01, 100.0),
        'timeout': (0.1, 2.0),
    }

    def __post_init__(self) -> None:
        check_ranges(self, self.RANGES)


class GimbalLaw:
    """Turn a camera so that the target moves to the centre of the image and stays there.

    The rate is `feed_forward` times the angular velocity of the target, plus `gain` times its
    distance from the centre. Both are measured against where the gimbal, following its commands
    with `lag`, must have pointed when the image was taken. So the delay of image and tracker is
    compensated: the distance is the one expected now, and rotation of the camera is not mistaken
    for motion of the target.

    An UNCERTAIN target is followed with its last velocity for HOLD_TIME, without correction. After
    that, without a target, with a LOST one, and without images for `timeout`, the rate returns to
    zero, which is repeated since messages may be lost. This is also so if the stamps of the images
    are from another clock.
    """

    def __init__(self, settings: ControlSettings) -> None:
        self.settings = settings
        self.aim_at(0.0, 0.0)
        self._reset()

    def _reset(self) -> None:
        self._time: float | None = None  # of the last update; None while there is no command
        self._rate = np.zeros(2)
        self._history: deque[tuple[float, Floats]] = deque()  # (time, reached)
        self._stops = MIN_STOPS  # commands to stand still since the gimbal has turned
        self._stopped = -math.inf  # when the first of them was
        self._forget_target()

    def _forget_target(self) -> None:
        self._stamp = -math.inf  # of the last image with the target TRACKING
        self._direction = np.zeros(2)  # of the target in that image, in the frame of `_aim`
        self._velocity = np.zeros(2)

    @property
    def active(self) -> bool:
        """Whether the last update returned a command."""
        return self._time is not None

    @property
    def stopping(self) -> bool:
        """Whether the last command was to stand still, or there was none."""
        return self._stops > 0

    def stop_again(self) -> None:
        """Repeat the commands to stand still, if there is no target; they may have been lost."""
        if not self.active:
            self._begin_stop()

    def _begin_stop(self) -> None:
        self._stops, self._stopped = 0, math.inf

    def aim_at(self, yaw: float, pitch: float) -> None:
        """Set the angles in rad that the next commands continue from; for use before the first."""
        self._aim = np.array([yaw, pitch])  # that was commanded
        self._reached = self._aim  # where the gimbal should be after its lag

    def keep_near(self, yaw: float, pitch: float, distance: float) -> None:
        """Limit the angles to this distance from those that the gimbal has reached, all in rad.

        Without this, the angles would run away from a gimbal at its mechanical stop.
        """
        lead = np.array([math.remainder(a, math.tau) for a in self._aim - (yaw, pitch)])
        self._aim = self._aim - (lead - np.clip(lead, -distance, distance))

    def in_time(self, now: float, target: Target) -> bool:
        """Return whether the target's image is neither too old nor from the future."""
        return -EARLY <= now - target.stamp <= self.settings.timeout

    def update(self, now: float, target: Target | None) -> Command | None:
        """Return the command for now, or None if the gimbal shall be left alone.

        Call it for each new target and, with the last target, about 30 times a second. Each image
        is used once. None is returned without a target, after standing still was commanded
        MIN_STOPS times and for STOP_TIME.

        Args:
            now: time in seconds; if it jumps back, everything begins again.
            target: in the newest image; None if there is no target.
        """
        if self._time is not None and now < self._time:
            self._reset()
        elapsed = now - self._time if self._time is not None else 0.0
        step = min(elapsed, MAX_STEP)
        self._time = now
        self._move(step)
        self._history.append((now, self._reached))
        while self._history[0][0] < now - HISTORY:
            self._history.popleft()
        wanted = self._wanted_rate(now, target)
        if wanted is not None:
            self._begin_stop()
            self._rate = self._limited(wanted, self.settings.max_acceleration * step)
        elif self._stops >= MIN_STOPS and now >= self._stopped + STOP_TIME:
            self._reset()
            return None
        else:
            self._rate = self._limited(np.zeros(2), self._braking * elapsed)
            if not self._rate.any():
                self._stops, self._stopped = self._stops + 1, min(self._stopped, now)
        return Command(now, *self._rate.tolist(), *self._aim.tolist())

    def _move(self, step: float) -> None:
        """Continue with the last rate for a step in seconds."""
        lag = self.settings.lag
        before = self._aim
        self._aim = before + step * self._rate
        ahead = lag * self._rate  # of the commands, in the long run
        rest = math.exp(-step / lag) if lag else 0.0
        self._reached = self._aim - ahead + rest * (self._reached - before + ahead)

    def _wanted_rate(self, now: float, target: Target | None) -> Floats | None:
        """Return the rate (2) in rad/s before limits, or None for standing still."""
        s = self.settings
        if target is None or not _is_visible(target) or not self.in_time(now, target):
            self._forget_target()
            return None
        if target.state == State.UNCERTAIN:
            if target.stamp - self._stamp > HOLD_TIME:
                return None
            return s.feed_forward * self._velocity
        self._measure(target)
        ahead = max(now - self._stamp, 0.0) + s.lag  # from the image until a command has its effect
        error = self._direction + ahead * self._velocity - self._aim
        distance = np.maximum(np.abs(error) - s.dead_zone, 0)
        # From a larger speed, half the maximum acceleration could not brake to the centre.
        speed = np.minimum(s.gain * distance, np.sqrt(s.max_acceleration * distance))
        return s.feed_forward * self._velocity + np.sign(error) * speed

    def _measure(self, target: Target) -> None:
        """Update direction and velocity of the target, unless the image has been used."""
        if target.stamp <= self._stamp:
            return
        times, angles = zip(*self._history)
        pointed = [np.interp(target.stamp, times, axis) for axis in np.transpose(angles)]
        direction = np.add(pointed, target.bearing)
        if math.isfinite(self._stamp):
            elapsed = target.stamp - self._stamp
            velocity = (direction - self._direction) / elapsed
            weight = 1 - math.exp(-elapsed / VELOCITY_TIME)
            limit = TARGET_ACCELERATION * elapsed
            change = np.clip(weight * (velocity - self._velocity), -limit, limit)
            self._velocity = self._velocity + change
        self._direction, self._stamp = direction, target.stamp

    @property
    def _braking(self) -> float:
        """Acceleration in rad/s^2 with which the gimbal is stopped."""
        return max(self.settings.max_acceleration, self.settings.max_rate / BRAKE_TIME)

    def _limited(self, rate: Floats, change: float) -> Floats:
        """Return the rate (2) within the limits, and changed by at most `change`."""
        limit = self.settings.max_rate
        return np.clip(np.clip(rate, self._rate - change, self._rate + change), -limit, limit)


def _is_visible(target: Target) -> bool:
    """Return whether the target has a direction, which one that is not finite is not."""
    return target.state not in (State.IDLE, State.LOST) and target.bearing.is_finite
