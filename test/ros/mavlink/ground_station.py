"""Messages as other MAVLink components send them, and targets without a tracker."""

from __future__ import annotations

import itertools
import math
import random
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from pymavlink.dialects.v20 import common as mavlink

from siamffn_model.imaging.geometry import Box
from siamffn_model.live.results import Target
from siamffn_model.tracking import State
from siamffn_ros.mavlink.camera import CameraComponent, Outgoing
from siamffn_ros.mavlink.camera_messages import CameraDescription

VEHICLE, CAMERA = 1, 100
GCS = 255, 190
SIZE = 1280, 720
COMMANDS = 512, 511, 521, 522, 525, 527, 2004, 2005, 2010, 2504, 2505
NUMBERS = 0, 1, -1, 0.2, 0.4, 0.9, 259, 269, 275, 500_000, math.nan, math.inf, 1e38
URI = 'rtsp://127.0.0.1:8554/front'


class Station:
    """A MAVLink component that packs its messages.

    Args:
        key: with which messages are signed; empty: not at all.
        ahead: seconds by which the time in its signatures is ahead.
    """

    def __init__(
        self, system: int = 255, component: int = 190, key: bytes = b'', ahead: float = 0.0
    ) -> None:
        self.address = system, component
        self._key, self._ahead = key, ahead
        self._packer = self.parser()

    def parser(self) -> Any:
        """Return a parser that accepts only messages that are signed with the same key."""
        codec = mavlink.MAVLink(None, *self.address)
        if self._key:
            codec.signing.secret_key, codec.signing.sign_outgoing = self._key, True
            codec.signing.timestamp = int((time.time() + self._ahead - 1420070400) * 1e5)
        return codec

    def pack(self, message: Any) -> bytes:
        """Return the bytes of a message, numbered."""
        return self._numbered(message.pack(self._packer))

    def _numbered(self, data: bytes) -> bytes:
        self._packer.seq = (self._packer.seq + 1) % 256
        return bytes(data)

    def pack_payload(self, kind: Any, payload: bytes) -> bytes:
        """Return the bytes of a message of this class, with any payload of its size."""
        message = mavlink.MAVLink_message(kind.id, kind.msgname)
        return self._numbered(message._pack(self._packer, kind.crc_extra, payload))

    def command(
        self, command: int, *parameters: float, system: int = VEHICLE, component: int = CAMERA
    ) -> bytes:
        """Return the bytes of COMMAND_LONG; parameters that are not given are 0."""
        values = [*parameters, *[0.0] * (7 - len(parameters))]
        return self.pack(
            mavlink.MAVLink_command_long_message(system, component, command, 0, *values)
        )


def heartbeat(autopilot: bool = True) -> Any:
    """Return the heartbeat of an autopilot, or of another component."""
    kind = mavlink.MAV_AUTOPILOT_PX4 if autopilot else mavlink.MAV_AUTOPILOT_INVALID
    return mavlink.MAVLink_heartbeat_message(mavlink.MAV_TYPE_QUADROTOR, kind, 0, 0, 4, 3)


def text(words: str) -> Any:
    """Return a message with a text."""
    return mavlink.MAVLink_statustext_message(mavlink.MAV_SEVERITY_INFO, words.encode())


def parse(data: bytes) -> Any:
    """Return the only message in these bytes."""
    (message,) = mavlink.MAVLink(None).parse_buffer(data)
    return message


def received(outgoing: Outgoing, sequence: int = 0) -> Any:
    """Return a message of the camera as its receiver parses it."""
    packer = mavlink.MAVLink(None, VEHICLE, CAMERA)
    packer.seq = sequence
    return parse(outgoing.message.pack(packer))


class Peer:
    """A MAVLink component with a UDP socket of its own."""

    def __init__(self, port: int, system: int, component: int) -> None:
        self.station = Station(system, component)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(('127.0.0.1', 0))
        self.socket.settimeout(0)
        self.remote = '127.0.0.1', port

    def send(self, data: bytes) -> None:
        """Send a datagram."""
        self.socket.sendto(data, self.remote)

    def datagrams(self) -> Iterator[bytes]:
        """Yield the datagrams that have arrived."""
        while True:
            try:
                yield self.socket.recv(65535)
            except BlockingIOError:
                return

    def received(self) -> list[Any]:
        """Return the messages that have arrived."""
        return [parse(data) for data in self.datagrams()]

    def texts(self) -> list[str]:
        """Return the texts that have arrived."""
        return [each.text for each in self.received()]


def free_port() -> int:
    """Return a UDP port that is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(('127.0.0.1', 0))
        return int(probe.getsockname()[1])


class RandomMessages:
    """Messages of every kind, with random values; half of them commands to the camera."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._kinds = list(mavlink.mavlink_map.values())
        self._stations = [Station(255, 190), Station(1, 1), Station(7, 42)]

    def next(self) -> bytes:
        """Return the bytes of a message."""
        choose = self._random.choice
        station = choose(self._stations)
        if self._random.random() < 0.5:
            target = choose((VEHICLE, VEHICLE, 0, 9)), choose((CAMERA, CAMERA, 0, 1))
            parameters = [choose((choose(NUMBERS), self._random.random())) for _ in range(7)]
            command = choose((*COMMANDS, self._random.randrange(65536)))
            return station.command(command, *parameters, system=target[0], component=target[1])
        kind = choose(self._kinds)
        return station.pack_payload(kind, self._random.randbytes(kind.unpacker.size))


class KeptTargets:
    """`Targets` that keep what is requested; the test answers."""

    def __init__(self) -> None:
        self.size: tuple[int, int] | None = SIZE
        self.target: Target | None = None
        self.requests: list[tuple[str, Any]] = []
        self.futures: list[Future[None]] = []
        self.answers = True  # whether each request is accepted at once

    def _request(self, name: str, value: Any) -> Future[None]:
        self.requests.append((name, value))
        self.futures.append(Future())
        if self.answers:
            self.futures[-1].set_result(None)
        return self.futures[-1]

    def init_box(self, box: Box) -> Future[None]:
        """See `Targets`."""
        return self._request('box', box)

    def init_point(self, point: tuple[float, float]) -> Future[None]:
        """See `Targets`."""
        return self._request('point', point)

    def stop(self) -> Future[None]:
        """See `Targets`."""
        return self._request('stop', None)


def tracked(box: Box, state: State = State.TRACKING) -> Target:
    """Return a target with this box."""
    return Target('mavlink', state, None if state == State.LOST else box, None, 0.9, 1, 0, 5.0)


class Camera:
    """A camera component, whose messages are packed and parsed, and its time."""

    def __init__(self, uri: str = URI, targets: KeptTargets | None = None) -> None:
        self.targets = targets or KeptTargets()
        self.component = CameraComponent(self.targets, CameraDescription('front', uri), CAMERA)
        self.component.system_id = VEHICLE
        self.now = 1000.0
        self._sequence = itertools.count()

    def send(self, data: bytes) -> list[Any]:
        """Let the component handle a message, and return what it sends in this moment."""
        answers = self.component.handle(parse(data), self.now)
        return self._received(answers) + self.tick()

    def tick(self) -> list[Any]:
        """Return what the component sends at this time."""
        return self._received(self.component.tick(self.now))

    def wait(self, seconds: float, step: float = 1 / 64) -> list[tuple[float, Any]]:
        """Let the time pass; return the times and the messages that are sent."""
        sent = []
        for _ in range(round(seconds / step)):
            self.now += step
            sent += [(self.now, message) for message in self.tick()]
        return sent

    def _received(self, outgoing: list[Outgoing]) -> list[Any]:
        return [received(each, next(self._sequence) % 256) for each in outgoing]


def acknowledgements(messages: list[Any]) -> list[tuple[int, int, tuple[int, int]]]:
    """Return command, result and addressee of each acknowledgement."""
    return [
        (each.command, each.result, (each.target_system, each.target_component))
        for each in messages
        if each.get_type() == 'COMMAND_ACK'
    ]


def texts(messages: list[Any]) -> list[str]:
    """Return the texts to the operators."""
    return [each.text for each in messages if each.get_type() == 'STATUSTEXT']


def statuses(messages: list[Any]) -> list[Any]:
    """Return the tracking statuses."""
    return [each for each in messages if each.get_type() == 'CAMERA_TRACKING_IMAGE_STATUS']
