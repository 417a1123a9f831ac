"""The MAVLink dialogue of one camera that tracks: commands, acknowledgements, status.

It knows neither ROS nor a connection, and gets the time as an argument.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple, Protocol

from pymavlink.dialects.v20 import common as mavlink

from siamffn_model.errors import BoxError
from siamffn_model.imaging.geometry import Box
from siamffn_model.live.results import Target
from siamffn_model.tracking import State
from siamffn_ros.mavlink import camera_messages as messages
from siamffn_ros.mavlink.address import Address
from siamffn_ros.mavlink.camera_messages import CameraDescription, Message
from siamffn_ros.mavlink.pixels import Corners, Size, to_box, to_corners, to_point
from siamffn_ros.mavlink.requests import BUSY, IN_PROGRESS, Request, RequestQueue

HEARTBEAT_PERIOD = 1.0  # seconds
Parameters = tuple[float, ...]  # the seven of a command
MIN_INTERVAL = 0.02  # seconds between two CAMERA_TRACKING_IMAGE_STATUS
MAX_INTERVAL = 3600.0  # seconds
MAX_RECEIVERS = 8  # ground stations whose interval is remembered
RECEIVER_TIMEOUT = 60.0  # seconds without a message until an interval is forgotten ...
RECEIVER_PRESENT = 5.0  # ... or, if there are too many, until it may be
MISSING = 3.0  # seconds without a target until this is told
ALL = 0  # system or component id of a message for everybody
NOT_GIVEN = 2**31 - 1  # as an integer parameter of COMMAND_INT
UNKNOWN_PROGRESS = 255
REQUESTED_MESSAGES = {  # the old commands, each for one message
    mavlink.MAV_CMD_REQUEST_CAMERA_INFORMATION: mavlink.MAVLINK_MSG_ID_CAMERA_INFORMATION,
    mavlink.MAV_CMD_REQUEST_CAMERA_SETTINGS: mavlink.MAVLINK_MSG_ID_CAMERA_SETTINGS,
    mavlink.MAV_CMD_REQUEST_STORAGE_INFORMATION: mavlink.MAVLINK_MSG_ID_STORAGE_INFORMATION,
    mavlink.MAV_CMD_REQUEST_CAMERA_CAPTURE_STATUS: mavlink.MAVLINK_MSG_ID_CAMERA_CAPTURE_STATUS,
    mavlink.MAV_CMD_REQUEST_VIDEO_STREAM_INFORMATION: (
        mavlink.MAVLINK_MSG_ID_VIDEO_STREAM_INFORMATION
    ),
    mavlink.MAV_CMD_REQUEST_VIDEO_STREAM_STATUS: mavlink.MAVLINK_MSG_ID_VIDEO_STREAM_STATUS,
}
STREAM_MESSAGES = (
    mavlink.MAVLINK_MSG_ID_VIDEO_STREAM_INFORMATION,
    mavlink.MAVLINK_MSG_ID_VIDEO_STREAM_STATUS,
)
TRACKING_STATUS = mavlink.MAVLINK_MSG_ID_CAMERA_TRACKING_IMAGE_STATUS
ACCEPTED, DENIED = mavlink.MAV_RESULT_ACCEPTED, mavlink.MAV_RESULT_DENIED
UNSUPPORTED = mavlink.MAV_RESULT_UNSUPPORTED


class Outgoing(NamedTuple):
    """A message to send; to everybody if there is no receiver."""

    message: Message
    receiver: Address | None = None


class Receiver(NamedTuple):
    """A ground station that has asked for the status; times are in seconds."""

    interval: float
    heard: float


class Answer(NamedTuple):
    """The MAV_RESULT of a command, and the messages that were requested."""

    result: int
    messages: Sequence[Message] = ()


class Targets(Protocol):
    """The one target of this camera in its tracker.

    No method waits. Futures hold a `SiamFFNError` if the request is refused.
    """

    @property
    def size(self) -> Size | None:
        """Width and height of the picture in pixels; None before the first image."""

    @property
    def target(self) -> Target | None:
        """The target in the newest image; None if there is none, or no recent result."""

    def init_box(self, box: Box) -> Future[Any]:
        """Start the target, or restart it, in the box that the operator has just drawn."""

    def init_point(self, point: tuple[float, float]) -> Future[Any]:
        """Start the target, or restart it, from the point at which the operator has clicked."""

    def stop(self) -> Future[Any]:
        """Stop the target."""


class CameraComponent:
    """One camera.

    Args:
        targets: what is asked to track.
        description: what the camera tells of itself.
        component_id: 100 to 105.

    Attributes:
        system_id: of the vehicle; None while it is unknown, in which case nothing is answered.
        started: number of targets that ground stations have started.
    """

    def __init__(self, targets: Targets, description: CameraDescription, component_id: int) -> None:
        self.system_id: int | None = None
        self.started = 0
        self._component_id = component_id
        self._targets = targets
        self._description = description
        self._requests = RequestQueue()
        self._following = False  # whether the target is shown
        self._told: State | None = None  # the state that was told last; IDLE if there is no target
        self._present = 0.0  # when there was a target last
        self._receivers: dict[Address, Receiver] = {}
        self._last_status = -math.inf
        self._shown = False  # whether the last status had a box
        self._next_heartbeat = -math.inf
        self._texts: list[Message] = []
        self._text_number = 0

    @property
    def following(self) -> bool:
        """Whether a ground station has asked to track, and none to stop since."""
        return self._following

    # --- what arrives

    def handle(self, message: Message, now: float) -> list[Outgoing]:
        """Return the answers to a message of any kind and sender; `now` is in seconds."""
        sender = Address(message.get_srcSystem(), message.get_srcComponent())
        if sender in self._receivers:
            self._receivers[sender] = self._receivers[sender]._replace(heard=now)
        if message.get_type() == 'COMMAND_LONG':
            last = (message.param5, message.param6, message.param7)
        elif message.get_type() == 'COMMAND_INT':
            last = (*map(_number, (message.x, message.y)), message.z)
        else:
            return []
        system, component = message.target_system, message.target_component
        if self.system_id is None or sender == (self.system_id, self._component_id):
            return []
        if system not in (ALL, self.system_id) or component not in (ALL, self._component_id):
            return []
        first = (message.param1, message.param2, message.param3, message.param4)
        answer = self._execute(message.command, (*first, *last), sender, now)
        if answer is None or (answer.result == UNSUPPORTED and component == ALL):
            return []  # others may support what is sent to all
        acknowledgement = _acknowledge(sender, message.command, answer.result)
        return [acknowledgement, *(Outgoing(each, sender) for each in answer.messages)]

    def _execute(
        self, command: int, parameters: Parameters, sender: Address, now: float
    ) -> Answer | None:
        """Execute a command; return the answer, None if it comes later."""
        if command == mavlink.MAV_CMD_REQUEST_MESSAGE:
            return self._request_message(parameters[0], parameters[1], now)
        if message_id := REQUESTED_MESSAGES.get(command):
            return self._request_message(message_id, parameters[0], now)
        if command == mavlink.MAV_CMD_SET_MESSAGE_INTERVAL:
            return Answer(self._set_interval(parameters[0], parameters[1], sender, now))
        if command == mavlink.MAV_CMD_CAMERA_TRACK_POINT:
            return self._track_point(parameters, sender, now)
        if command == mavlink.MAV_CMD_CAMERA_TRACK_RECTANGLE:
            return self._track_rectangle(parameters, sender, now)
        if command == mavlink.MAV_CMD_CAMERA_STOP_TRACKING:
            return self._stop(parameters[0], sender, now)
        return Answer(UNSUPPORTED)

    def _request_message(self, message_id: float, index: float, now: float) -> Answer:
        """Answer a request for a message; the index is that of the stream, 0 for all."""
        if message_id == TRACKING_STATUS:
            return Answer(ACCEPTED, [messages.tracking_status(self._corners())])
        size, milliseconds = self._targets.size or (0, 0), int(now * 1000) % 2**32
        message = messages.describe(self._description, message_id, size, milliseconds)
        if message is None:
            return Answer(UNSUPPORTED)
        if message_id in STREAM_MESSAGES and index not in (0, messages.STREAM_ID):
            return Answer(DENIED)
        return Answer(ACCEPTED, [message])

    def _set_interval(
        self, message_id: float, microseconds: float, sender: Address, now: float
    ) -> int:
        if message_id != TRACKING_STATUS:
            return UNSUPPORTED
        if not (microseconds == -1 or 0 <= microseconds <= MAX_INTERVAL * 1e6):
            return DENIED
        self._receivers.pop(sender, None)
        if microseconds > 0:
            if len(self._receivers) == MAX_RECEIVERS:
                oldest = min(self._receivers, key=lambda each: self._receivers[each].heard)
                if now - self._receivers[oldest].heard < RECEIVER_PRESENT:
                    return BUSY
                del self._receivers[oldest]
            self._receivers[sender] = Receiver(max(microseconds / 1e6, MIN_INTERVAL), now)
        return ACCEPTED

    def _track_point(self, parameters: Parameters, sender: Address, now: float) -> Answer | None:
        """Start from a point.

        The radius must be valid, but is not used: that of QGroundControl is the size of its cursor,
        not of the object.
        """
        x, y, radius, camera = parameters[:4]
        size = self._targets.size
        try:
            point = to_point(x, y, size or (1, 1))
            to_point(radius, radius, (1, 1))
        except BoxError:
            return Answer(DENIED)
        command = mavlink.MAV_CMD_CAMERA_TRACK_POINT
        start = partial(self._targets.init_point, point)
        return self._track(Request(sender, command, (x, y, radius), start, now), camera)

    def _track_rectangle(
        self, parameters: Parameters, sender: Address, now: float
    ) -> Answer | None:
        corners, camera = parameters[:4], parameters[4]
        try:
            box = to_box(corners, self._targets.size or (1, 1))
        except BoxError:
            return Answer(DENIED)
        command = mavlink.MAV_CMD_CAMERA_TRACK_RECTANGLE
        start = partial(self._targets.init_box, box)
        return self._track(Request(sender, command, corners, start, now), camera)

    def _track(self, request: Request, camera: float) -> Answer | None:
        if not self._is_meant(camera):
            return Answer(DENIED)
        if self._targets.size is None:
            self._tell(f'{self._description.name} has no image yet: check that it runs', True)
            return Answer(BUSY)
        result = self._requests.add(request, once=True)
        return None if result is None else Answer(result)

    def _stop(self, camera: float, sender: Address, now: float) -> Answer | None:
        if not self._is_meant(camera):
            return Answer(DENIED)
        self._following = False
        command = mavlink.MAV_CMD_CAMERA_STOP_TRACKING
        self._requests.add(Request(sender, command, (), self._targets.stop, now), once=False)
        return None

    def _is_meant(self, camera: float) -> bool:
        """Return whether this camera is meant by the parameter of a command; 0 is all cameras."""
        return math.isnan(camera) or camera in (ALL, self._component_id)

    # --- what is sent at certain times

    def tick(self, now: float) -> list[Outgoing]:
        """Return what is to be sent now; call at least every 20 ms for the shortest interval."""
        if self.system_id is None:
            return []
        outgoing = []
        for request, result in self._requests.step(now):
            outgoing.append(_acknowledge(request.sender, request.command, result))
            self._on_result(request, result, now)
        self._observe(now)
        if now >= self._next_heartbeat:
            due = self._next_heartbeat + HEARTBEAT_PERIOD
            self._next_heartbeat = due if due > now else now + HEARTBEAT_PERIOD
            outgoing.append(Outgoing(messages.heartbeat()))
        outgoing += self._status(now)
        outgoing += [Outgoing(each) for each in self._texts]
        self._texts.clear()
        return outgoing

    def _on_result(self, request: Request, result: int, now: float) -> None:
        if request.error:
            self._tell(f'{self._description.name}: {request.error}', True)
        tracks = request.command != mavlink.MAV_CMD_CAMERA_STOP_TRACKING
        if tracks and result == ACCEPTED and self._requests.is_last(request):
            self._following, self._told, self._present = True, None, now
            self.started += 1

    def _observe(self, now: float) -> None:
        """Tell when the target is lost, found again, or has disappeared."""
        if not self._following:
            return
        target = self._targets.target
        if target is not None:
            self._present = now
            lost, told = target.state == State.LOST, self._told
            self._told = State.LOST if lost else State.TRACKING
            if lost and told != State.LOST:
                self._tell('target lost: searching for it', True)
            elif not lost and told not in (None, State.TRACKING):
                self._tell('target found again', False)
        elif now - self._present >= MISSING and self._told != State.IDLE:
            started = self._told is not None
            self._told = State.IDLE
            self._tell('target not tracked any more' if started else 'no result yet', True)

    def _status(self, now: float) -> list[Outgoing]:
        """Return the tracking status if it is time; the end of tracking does not wait."""
        for sender, receiver in list(self._receivers.items()):
            if now - receiver.heard > RECEIVER_TIMEOUT:
                del self._receivers[sender]
        if not self._receivers:
            return []
        corners = self._corners()
        interval = min(each.interval for each in self._receivers.values())
        due = self._last_status + interval
        if now < due and not (self._shown and corners is None):
            return []
        self._last_status = due if due <= now < due + interval else now
        self._shown = corners is not None
        return [Outgoing(messages.tracking_status(corners))]

    def _corners(self) -> Corners | None:
        """Return the box to show; None if there is none."""
        target, size = self._targets.target, self._targets.size
        if not self._following or target is None or target.box is None or size is None:
            return None
        return to_corners(target.box, size)

    def _tell(self, text: str, warning: bool) -> None:
        """Send a text to the operators."""
        self._text_number = self._text_number % 65535 + 1
        self._texts += messages.status_texts(text, warning, self._text_number)


def _number(value: int) -> float:
    """Return an integer parameter of COMMAND_INT as one of COMMAND_LONG."""
    return math.nan if value == NOT_GIVEN else float(value)


def _acknowledge(receiver: Address, command: int, result: int) -> Outgoing:
    message = mavlink.MAVLink_command_ack_message(
        command,
        result,
        progress=UNKNOWN_PROGRESS if result == IN_PROGRESS else 0,
        target_system=receiver.system,
        target_component=receiver.component,
    )
    return Outgoing(message, receiver)
