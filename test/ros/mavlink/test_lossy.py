"""The dialogue over a connection that loses, duplicates and reorders, in simulated time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest

from siamffn_model.imaging.geometry import Box
from siamffn_ros.mavlink.pixels import to_box

from .ground_station import SIZE, Camera, KeptTargets, Station, parse, tracked

LOSS, DUPLICATES = 0.3, 0.2
DELAYS = 0.005, 0.4  # seconds; packets overtake each other
RETRY = 3.0  # seconds, as QGroundControl
CORNERS = 0.25, 0.25, 0.35, 0.35
DISCOVERY = [(512, 259), (521, 1), (512, 260), (512, 261), (512, 262), (512, 269)]
ANSWERS = [259, 259, 260, 261, 262, 269]
STEP = 1 / 64  # seconds


class TrackingTargets(KeptTargets):
    """`Targets` that track what they are given."""

    def init_box(self, box: Box) -> Any:
        """See `Targets`."""
        self.target = tracked(box)
        return super().init_box(box)

    def stop(self) -> Any:
        """See `Targets`."""
        self.target = None
        return super().stop()


class Connection:
    """Delivers packets to names, or not."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._packets: list[tuple[float, int, str, bytes]] = []
        self._numbers = itertools.count()

    def send(self, now: float, receiver: str, data: bytes) -> None:
        """Take a packet."""
        for _ in range(1 + (self._random.random() < DUPLICATES)):
            if self._random.random() >= LOSS:
                arrival = now + self._random.uniform(*DELAYS)
                heapq.heappush(self._packets, (arrival, next(self._numbers), receiver, data))

    def arrived(self, now: float) -> Iterator[tuple[str, bytes]]:
        """Yield the packets that arrive until now."""
        while self._packets and self._packets[0][0] <= now:
            yield heapq.heappop(self._packets)[2:]


class Operator:
    """A ground station that repeats each command until it is acknowledged and answered.

    Args:
        steps: command, its parameters, and the message id that it waits for, 0 for none.
    """

    def __init__(self, station: Station, steps: list[tuple[int, list[float], int]]) -> None:
        self.station, self.steps = station, steps
        self._sent = -RETRY
        self._acknowledged = self._answered = False
        self.statuses: list[tuple[float, Any]] = []

    @property
    def done(self) -> bool:
        """Whether all steps are done."""
        return not self.steps

    def step(self, now: float) -> list[bytes]:
        """Return what is sent now."""
        if self.done or now - self._sent < RETRY:
            return []
        command, parameters, _ = self.steps[0]
        self._sent = now
        return [self.station.command(command, *parameters)]

    def receive(self, now: float, message: Any) -> None:
        """Take a message of the camera."""
        if message.get_type() == 'CAMERA_TRACKING_IMAGE_STATUS':
            self.statuses.append((now, message))
        if self.done:
            return
        command, _, wanted = self.steps[0]
        if message.get_type() == 'COMMAND_ACK':
            mine = (message.target_system, message.target_component) == self.station.address
            self._acknowledged |= mine and message.command == command and message.result == 0
        shown = message.get_type() != 'CAMERA_TRACKING_IMAGE_STATUS' or message.tracking_status
        self._answered |= message.get_msgId() == wanted and bool(shown)
        if self._acknowledged and (self._answered or not wanted):
            del self.steps[0]
            self._acknowledged = self._answered = False
            self._sent = -RETRY


def discovery() -> list[tuple[int, list[float], int]]:
    """Return the steps with which QGroundControl finds a camera."""
    return [(command, [value], id_) for (command, value), id_ in zip(DISCOVERY, ANSWERS)]


@pytest.mark.parametrize('seed', range(8))
def test_two_stations_find_track_and_stop(seed: int) -> None:
    connection, camera = Connection(seed), Camera(targets=TrackingTargets())
    first = Operator(
        Station(255, 190),
        [*discovery(), (2005, [*CORNERS], 0), (511, [275, 500_000], 275)],
    )
    second = Operator(Station(254, 191), [*discovery(), (511, [275, 250_000], 275)])
    operators = {'first': first, 'second': second}

    def run(seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            camera.now += STEP
            sent = camera.tick()
            for name, data in connection.arrived(camera.now):
                if name == 'camera':
                    sent += camera.send(data)
                else:
                    operators[name].receive(camera.now, parse(data))
            for message in sent:
                for name in operators:
                    connection.send(camera.now, name, bytes(message.get_msgbuf()))
            for operator in operators.values():
                for data in operator.step(camera.now):
                    connection.send(camera.now, 'camera', data)

    run(200.0)
    assert first.done and second.done
    assert [name for name, _ in camera.targets.requests] == ['box'], 'started once'
    _, status = first.statuses[-1]
    corners = status.rec_top_x, status.rec_top_y, status.rec_bottom_x, status.rec_bottom_y
    assert to_box(corners, SIZE) == pytest.approx(to_box(CORNERS, SIZE), abs=1)

    second.steps += [(2010, [], 0), (511, [275, -1], 0)]
    first.steps += [(511, [275, -1], 0)]
    run(60.0)
    assert first.done and second.done
    assert {name for name, _ in camera.targets.requests[1:]} == {'stop'}
    for operator in (first, second):
        assert all(now < camera.now - 10 for now, _ in operator.statuses), 'no status any more'
    assert not camera.component.following
