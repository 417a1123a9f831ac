"""Messages as other MAVLink components send them, and targets without a tracker."""

from __future__ import annotations

import itertools
from concurrent.futures import Future
from typing import Any

from pymavlink.dialects.v20 import common as mavlink

from siamffn_model.console.backend import Target
from siamffn_model.imaging.geometry import Box
from siamffn_model.tracking import State
from siamffn_ros.mavlink.camera import CameraComponent, Outgoing
from siamffn_ros.mavlink.camera_messages import CameraDescription

VEHICLE, CAMERA = 1, 100
SIZE = 1280, 720
URI = 'rtsp://127.0.0.1:8554/front'


class Station:
    """A MAVLink component that packs its messages and parses those of others."""

    def __init__(self, system: int = 255, component: int = 190) -> None:
        self.address = system, component
        self._packer = mavlink.MAVLink(None, system, component)

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


def parse(data: bytes) -> Any:
    """Return the only message in these bytes."""
    (message,) = mavlink.MAVLink(None).parse_buffer(data)
    return message


def received(outgoing: Outgoing, sequence: int = 0) -> Any:
    """Return a message of the camera as its receiver parses it."""
    packer = mavlink.MAVLink(None, VEHICLE, CAMERA)
    packer.seq = sequence
    return parse(outgoing.message.pack(packer))


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
