"""The part of a node that turns a gimbal to the target and publishes the target's bearing."""

from __future__ import annotations

import math
from typing import Any

from geometry_msgs.msg import Vector3Stamped
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from siamffn_model.errors import ConfigError
from siamffn_model.live.results import Target as TrackedTarget
from siamffn_ros.mavlink.address import Address
from siamffn_ros.mavlink.bearing import Bearing, CameraModel, to_bearing_message
from siamffn_ros.mavlink.camera_messages import Message
from siamffn_ros.mavlink.gimbal import ControlSettings, Target
from siamffn_ros.mavlink.gimbal_commands import GimbalController, GimbalSettings
from siamffn_ros.messages.conversions import to_stamp

COMMAND_PERIOD = 0.03  # seconds between two commands, on average
REPORT_PERIOD = 10.0  # seconds until the log says the same again
LARGEST_FIELD_OF_VIEW = 3.0  # rad

_CONTROL = ControlSettings()

PARAMETERS: dict[str, tuple[Any, tuple[float, float] | None, str]] = {
    'gimbal': ('off', None, 'How the gimbal is turned to the target: off, rates or angles.'),
    'gimbal_autopilot': ('ardupilot', None, 'What controls the gimbal: ardupilot or px4.'),
    'gimbal_method': (
        '',
        None,
        'set_pitchyaw, set_attitude or do_pitchyaw; empty: what the autopilot takes.',
    ),
    'gimbal_rate_unit': ('deg', None, 'Unit of the rates of do_pitchyaw: deg or rad (per second).'),
    'gimbal_device_id': (0, (0, 255), 'gimbal_device_id of the gimbal; 0: all.'),
    **{
        f'gimbal_{name}': (getattr(_CONTROL, name), ControlSettings.RANGES[name], description)
        for name, description in (
            ('gain', 'Rate for each rad between the target and the centre of the image, in 1/s.'),
            ('feed_forward', "Fraction of the target's angular velocity that is added."),
            ('dead_zone', 'Distance from the centre in rad up to which it is not corrected.'),
            ('lag', 'Time constant in seconds with which the gimbal follows a command.'),
            ('max_rate', 'Largest rate in rad/s.'),
            ('max_acceleration', 'Largest change of the rate in rad/s^2.'),
            ('timeout', 'Age of the last image in seconds above which the gimbal stops.'),
        )
    },
    'field_of_view': (
        0.0,
        (0.0, LARGEST_FIELD_OF_VIEW),
        'Horizontal field of view in rad; 0: as the topic camera_info says.',
    ),
}


def make_settings(values: dict[str, Any]) -> GimbalSettings | None:
    """Return the settings that parameters stand for; None if `gimbal` is `off`.

    Raises `ConfigError` for values that are not allowed.
    """
    settings = {
        name.removeprefix('gimbal_'): value
        for name, value in values.items()
        if name.startswith('gimbal_')
    }
    if values['gimbal'] not in ('off', 'rates', 'angles'):
        raise ConfigError(f'gimbal is {values["gimbal"]!r}: give off, rates or angles')
    mode = 'rates' if values['gimbal'] == 'off' else values['gimbal']
    try:
        complete = GimbalSettings(mode=mode, **settings)
    except ConfigError as error:
        raise ConfigError(f'gimbal_{error}') from None
    return None if values['gimbal'] == 'off' else complete


class NodeGimbal:
    """Publishes `~/target_bearing`, and turns the gimbal unless the parameter `gimbal` is `off`.

    All methods run in the thread of the node's executor.

    Args:
        node: publishes, and subscribes to `camera_info` unless the field of view is given.
        values: of PARAMETERS.

    Raises `ConfigError` for values that are not allowed.
    """

    def __init__(self, node: Node, values: dict[str, Any]) -> None:
        settings = make_settings(values)
        self._node = node
        self._controller = GimbalController(settings) if settings else None
        self._field_of_view = values['field_of_view']
        self._camera: CameraModel | None = None
        self._frame_id = ''
        self._target: Target | None = None
        self._next_command = -math.inf
        self._without_camera = (
            'no camera_info has arrived: remap it to a topic, or give field_of_view'
        )
        self._camera_problem = ''
        self._reported: dict[str, float] = {}  # when a problem was logged
        self._publisher = node.create_publisher(Vector3Stamped, '~/target_bearing', 10)
        if not self._field_of_view:
            node.create_subscription(
                CameraInfo, 'camera_info', self._on_camera_info, qos_profile_sensor_data
            )

    def on_result(
        self, target: TrackedTarget | None, stamp: int, size: tuple[int, int] | None, now: float
    ) -> None:
        """Take the target of an image.

        Args:
            target: None if there is none.
            stamp: of the image, in nanoseconds of the node's clock.
            size: (width, height) of the image; None while it is unknown.
            now: time in seconds, as for `messages`.
        """
        camera = self._model(size)
        missing = target is not None and size is not None and camera is None
        self._camera_problem = self._without_camera if missing else ''
        self._report(now)
        if target is None or size is None or camera is None:
            self.forget()
            return
        bearing = Bearing(math.nan, math.nan)  # of a LOST target
        if target.box:
            bearing = camera.bearing(target.box.cx, target.box.cy, size)
        if bearing.is_finite:
            header = Header(stamp=to_stamp(stamp), frame_id=self._frame_id)
            self._publisher.publish(to_bearing_message(bearing, header))
        age = (self._node.get_clock().now().nanoseconds - stamp) / 1e9
        self._target = Target(now - age, bearing, target.state)

    def forget(self) -> None:
        """Follow no target until the next result."""
        self._target = None

    def begin(self) -> None:
        """See `GimbalController.begin`."""
        if self._controller:
            self._controller.begin()

    def stop_again(self) -> None:
        """See `GimbalController.stop_again`."""
        if self._controller:
            self._controller.stop_again()

    def handle(self, message: Message, now: float) -> None:
        """Take a message of the vehicle."""
        if self._controller:
            self._controller.handle(message, now)

    def messages(self, now: float, own: Address, vehicle: Address) -> list[Message]:
        """Return what has to be sent to the vehicle now; call it often."""
        if not self._controller or now < self._next_command:
            return []
        due = self._next_command + COMMAND_PERIOD
        self._next_command = due if due > now else now + COMMAND_PERIOD
        command = self._controller.update(now, self._target)
        self._report(now)
        return self._controller.messages(command, own, vehicle)

    def stop(self) -> list[Message]:
        """Return what has to be sent to the vehicle, several times, when the node ends."""
        return self._controller.stop() if self._controller else []

    def release(self) -> list[Message]:
        """Return what has to be sent to the vehicle after that."""
        return self._controller.release() if self._controller else []

    def _model(self, size: tuple[int, int] | None) -> CameraModel | None:
        if self._field_of_view and size and (not self._camera or self._camera.size != size):
            self._camera = CameraModel.from_field_of_view(self._field_of_view, *size)
        return self._camera

    def _on_camera_info(self, info: CameraInfo) -> None:
        try:
            self._camera = CameraModel.from_camera_info(info)
            self._frame_id = info.header.frame_id
        except ConfigError as error:
            self._camera, self._without_camera = None, str(error)

    def _report(self, now: float) -> None:
        """Log what is wrong, unless it was logged a short time ago."""
        problem = self._camera_problem or (self._controller.problem if self._controller else '')
        if problem and now >= self._reported.get(problem, -math.inf) + REPORT_PERIOD:
            self._reported[problem] = now
            self._node.get_logger().warning(problem)
