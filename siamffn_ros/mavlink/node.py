"""The node `mavlink_camera`: one tracker as a MAVLink camera."""

from __future__ import annotations

import time
from collections.abc import Iterable

from pymavlink.dialects.v20 import common as mavlink
from rclpy.node import Node

from siamffn_model.errors import ConfigError
from siamffn_model.live.results import Target
from siamffn_ros.context import create_steady_timer
from siamffn_ros.descriptors import parameter_descriptor
from siamffn_ros.mavlink.address import Address
from siamffn_ros.mavlink.camera import CameraComponent, Outgoing
from siamffn_ros.mavlink.camera_messages import (
    MAX_URI_LENGTH,
    STREAM_TYPES,
    CameraDescription,
    Message,
)
from siamffn_ros.mavlink.gimbal_node import PARAMETERS as GIMBAL_PARAMETERS
from siamffn_ros.mavlink.gimbal_node import NodeGimbal
from siamffn_ros.mavlink.link import Link, read_signing_key
from siamffn_ros.mavlink.tracker import TrackerTargets

PERIOD = 0.02  # seconds between two looks at the connection
STOPS = 5  # messages that stop the gimbal when the node ends; some may be lost
STOP_PERIOD = 0.04  # seconds between them
SILENCE = 8.0  # seconds without a heartbeat of the vehicle after which its gimbal is not turned
OUTAGE = 2.5  # seconds without a heartbeat after which the vehicle may not get what is sent
PARAMETERS = {  # name: default, range, description
    'url': (
        'udpin:127.0.0.1:14540',
        None,
        'Connection: udpin:HOST:PORT, udpout:HOST:PORT or serial:DEVICE:BAUD.',
    ),
    'tracker': ('tracker', None, 'Name of the tracker node; relative names are in our namespace.'),
    'component_id': (100, (100, 105), 'MAVLink component id of this camera.'),
    'system_id': (0, (0, 255), "The vehicle's MAVLink system id; 0: that in its heartbeat."),
    'video_latency': (
        0.0,
        (0.0, 10.0),
        'Seconds from an image until the box drawn on it arrives; 0: boxes are for the newest one.',
    ),
    'video_uri': ('', None, 'rtsp://, udp:// or tcp:// address of the video; empty: none.'),
    'signing_file': ('', None, 'File with the passphrase of signed messages; empty: unsigned.'),
    **GIMBAL_PARAMETERS,
}


class MavlinkCamera(Node):
    """Connects a tracker node to a vehicle and its ground stations.

    Raises `ConfigError` for parameters that cannot be used, and exceptions of rclpy for values of
    other types or out of range.
    """

    def __init__(self) -> None:
        super().__init__('mavlink_camera')
        for name, (default, limits, description) in PARAMETERS.items():
            dynamic = name == 'gimbal'
            descriptor = parameter_descriptor(
                default, description, limits, read_only=True, dynamic_typing=dynamic
            )
            self.declare_parameter(name, default, descriptor)
        values = {name: self.get_parameter(name).value for name in PARAMETERS}
        if values['gimbal'] is False:  # what YAML makes of `-p gimbal:=off`
            values['gimbal'] = 'off'
        tracker = _absolute(self, values['tracker'])
        camera = CameraDescription(tracker.lstrip('/'), _checked_uri(values['video_uri']))
        self._link = Link(
            values['url'],
            values['component_id'],
            values['system_id'],
            read_signing_key(values['signing_file']),
            self.get_logger(),
            time.monotonic(),
        )
        self._targets = TrackerTargets(self, tracker, values['video_latency'], self._on_result)
        self._camera = CameraComponent(self._targets, camera, values['component_id'])
        self._component_id = values['component_id']
        self._gimbal = NodeGimbal(self, values)
        self._started = 0  # targets for which the gimbal was turned
        self._unheard = False  # whether the gimbal's last messages may have been lost
        create_steady_timer(self, PERIOD, self._exchange)

    def _exchange(self) -> None:
        """Turn the gimbal, answer what has arrived, and send what is due."""
        now = time.monotonic()
        self._turn_gimbal(now)
        messages = self._link.poll(now)
        self._camera.system_id = self._link.system_id
        for message in messages:
            self._send(self._camera.handle(message, now), now)
            self._gimbal.handle(message, now)
        self._send(self._camera.tick(now), now)

    def _turn_gimbal(self, now: float) -> None:
        silence = self._link.silence(now)
        if not self._camera.following or silence > SILENCE:
            self._gimbal.forget()
        if self._camera.started != self._started:
            self._started = self._camera.started
            self._gimbal.begin()
        if self._unheard and silence < OUTAGE:
            self._unheard = False
            self._gimbal.stop_again()
        if system := self._link.system_id:
            own = Address(system, self._component_id)
            vehicle = Address(system, mavlink.MAV_COMP_ID_AUTOPILOT1)
            messages = self._gimbal.messages(now, own, vehicle)
            self._send_to_vehicle(messages, now)
            self._unheard |= bool(messages) and silence >= OUTAGE

    def _on_result(self, target: Target | None, stamp: int) -> None:
        """Take the target of an image, None if there is none, and its stamp in nanoseconds."""
        self._gimbal.on_result(target, stamp, self._targets.size, time.monotonic())

    def _send_to_vehicle(self, messages: Iterable[Message], now: float) -> None:
        for each in messages:
            receiver = Address(each.target_system, each.target_component)
            self._link.send(Outgoing(each, receiver), now)

    def _send(self, outgoing: Iterable[Outgoing], now: float) -> None:
        for each in outgoing:
            self._link.send(each, now)

    def close(self) -> None:
        """Stop the gimbal, close the connection, and end what was asked of the tracker."""
        for _ in range(STOPS):
            if stop := self._gimbal.stop():
                self._send_to_vehicle(stop, time.monotonic())
                time.sleep(STOP_PERIOD)
        self._send_to_vehicle(self._gimbal.release(), time.monotonic())
        self._targets.close()
        self._link.close()


def _absolute(node: Node, name: str) -> str:
    """Return the full name of a node; raises `ConfigError` for an empty one."""
    if not name.strip('/'):
        raise ConfigError('tracker is empty: give the name of the tracker node, such as /tracker')
    return name if name.startswith('/') else f'{node.get_namespace().rstrip("/")}/{name}'


def _checked_uri(uri: str) -> str:
    """Return an address that fits into a message; raises `ConfigError` for any other."""
    if uri and (
        uri.partition('://')[0] not in STREAM_TYPES
        or not uri.isascii()
        or len(uri) >= MAX_URI_LENGTH
    ):
        raise ConfigError(
            f'video_uri {uri!r} is not an rtsp://, udp:// or tcp:// address of less than '
            f'{MAX_URI_LENGTH} ASCII characters: give one, or none'
        )
    return uri
