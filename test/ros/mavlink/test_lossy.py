"""The dialogue over a connection that loses, duplicates and reorders, in simulated time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from logging import getLogger
from typing import Any

import pytest

from siamffn_model.imaging.geometry import Box
from siamffn_ros.mavlink.camera import CameraComponent, Outgoing
from siamffn_ros.mavlink.camera_messages import CameraDescription
from siamffn_ros.mavlink.link import Link
from siamffn_ros.mavlink.pixels import to_box

from .ground_station import (
    CAMERA,
    SIZE,
    URI,
    VEHICLE,
    KeptTargets,
    Peer,
    Station,
    free_port,
    heartbeat,
    parse,
    tracked,
)

LOSS, DUPLICATES = 0.3, 0.2
DELAYS = 0.005, 0.4  # seconds; packets overtake each other
RETRY = 3.0  # seconds, as QGroundControl
CORNERS = 0.25, 0.25, 0.35, 0.35
DISCOVERY = [(512, 259), (521, 1), (512, 260), (512, 261), (512, 262), (512, 269)]
ANSWERS = [259, 259, 260, 261, 262, 269]
STEP = 1 / 16  # seconds
Packet = tuple[str, bytes]  # sender and content


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
        self._packets: list[tuple[float, int, str, Packet]] = []
        self._numbers = itertools.count()

    def send(self, now: float, receiver: str, packet: Packet) -> None:
        """Take a packet to a receiver."""
        for _ in range(1 + (self._random.random() < DUPLICATES)):
            if self._random.random() >= LOSS:
                arrival = now + self._random.uniform(*DELAYS)
                heapq.heappush(self._packets, (arrival, next(self._numbers), receiver, packet))

    def arrived(self, now: float) -> Iterator[tuple[str, Packet]]:
        """Yield receiver and packet of those that arrive until now."""
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


class Scene:
    """A camera behind a link on the loopback, its operators, and an autopilot that restarts."""

    def __init__(self, connection: Connection, operators: Sequence[Operator]) -> None:
        self.now = 1000.0
        self.targets = TrackingTargets()
        port = free_port()
        self.link = Link(f'udpin:127.0.0.1:{port}', CAMERA, 0, b'', getLogger(), self.now)
        description = CameraDescription('front', URI)
        self.camera = CameraComponent(self.targets, description, CAMERA)
        self.operators = operators
        self._connection = connection
        self._port = port
        self._peers = {'autopilot': Peer(port, VEHICLE, 1)}
        self._peers |= {f'operator {n}': Peer(port, 0, 0) for n in range(len(operators))}
        self._next_beat = 0.0

    def close(self) -> None:
        """Close all sockets."""
        self.link.close()
        for peer in self._peers.values():
            peer.socket.close()

    def restart_autopilot(self) -> None:
        """Let the autopilot come back at another port, and number its messages from 0 again."""
        self._peers['autopilot'].socket.close()
        self._peers['autopilot'] = Peer(self._port, VEHICLE, 1)

    def run(self, seconds: float, autopilot: bool = True) -> None:
        """Let the time pass."""
        for _ in range(round(seconds / STEP)):
            self.now += STEP
            self._deliver()
            for message in self.link.poll(self.now):
                self._send(self.camera.handle(message, self.now))
            self.camera.system_id = self.link.system_id
            self._send(self.camera.tick(self.now))
            self._take(autopilot)

    def run_until_done(self) -> None:
        """Let the time pass until all operators are done."""
        end = self.now + 300
        while not all(operator.done for operator in self.operators):
            assert self.now < end
            self.run(1.0)

    def _deliver(self) -> None:
        """Let the packets arrive, at the camera over UDP."""
        for name, (sender, data) in self._connection.arrived(self.now):
            if name == 'camera':
                self._peers[sender].send(data)
            else:
                self.operators[int(name)].receive(self.now, parse(data))

    def _send(self, outgoing: Iterable[Outgoing]) -> None:
        for each in outgoing:
            self.link.send(each, self.now)

    def _take(self, autopilot: bool) -> None:
        """Take what the camera has sent, and what its peers send, to be delivered or lost."""
        beat = self.now >= self._next_beat
        self._next_beat += 1.0 if beat else 0.0
        if beat and autopilot:
            data = self._peers['autopilot'].station.pack(heartbeat())
            self._connection.send(self.now, 'camera', ('autopilot', data))
        for number, operator in enumerate(self.operators):
            name = f'operator {number}'
            for data in self._peers[name].datagrams():
                self._connection.send(self.now, str(number), (name, data))
            sent = operator.step(self.now)
            if beat:
                sent.append(operator.station.pack(heartbeat(autopilot=False)))
            for data in sent:
                self._connection.send(self.now, 'camera', (name, data))


@pytest.mark.parametrize('seed', range(4))
def test_two_stations_find_track_and_stop(seed: int) -> None:
    first = Operator(
        Station(255, 190),
        [*discovery(), (2005, [*CORNERS], 0), (511, [275, 500_000], 275)],
    )
    second = Operator(Station(254, 191), [*discovery(), (511, [275, 250_000], 275)])
    scene = Scene(Connection(seed), [first, second])
    try:
        scene.run(30.0)
        scene.run(10.0, autopilot=False)
        scene.restart_autopilot()
        scene.run_until_done()
        assert [name for name, _ in scene.targets.requests] == ['box'], 'started once'
        _, status = first.statuses[-1]
        corners = status.rec_top_x, status.rec_top_y, status.rec_bottom_x, status.rec_bottom_y
        assert to_box(corners, SIZE) == pytest.approx(to_box(CORNERS, SIZE), abs=1)

        second.steps += [(2010, [], 0), (511, [275, -1], 0)]
        first.steps += [(511, [275, -1], 0)]
        scene.run_until_done()
        scene.run(15.0)
        assert {name for name, _ in scene.targets.requests[1:]} == {'stop'}
        for operator in (first, second):
            assert all(now < scene.now - 10 for now, _ in operator.statuses), 'none any more'
        assert not scene.camera.following
    finally:
        scene.close()
