"""One tracker node as the console sees it: its state, its topics, its services, its recording."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from siamffn.msg import TrackStatus
from vision_msgs.msg import Detection2DArray

from siamffn_model.console.backend import CameraFrame, Listener, TrackerInfo
from siamffn_model.errors import BoxError, ImageError
from siamffn_model.imaging.image_header import JPEG_START
from siamffn_ros.console.recording import Recording
from siamffn_ros.messages.conversions import to_nanoseconds
from siamffn_ros.messages.images import check_message, to_bgr
from siamffn_ros.tracker_client.discovery import Subscriptions, Topic, published_topic
from siamffn_ros.tracker_client.results import ResultAssembler, to_target
from siamffn_ros.tracker_client.services import ServiceClients

MAX_SILENCE = 5.0  # seconds without diagnostics, which a tracker publishes once a second
COMPLAINT_PERIOD = 5.0  # seconds between two events about unusable messages


class Tracker:
    """A tracker that was found; all methods run in the thread of the node's executor.

    Attributes:
        name: full name of its node.
        services: clients of its services.
        paused: whether tracking is paused.
        recording: what is recorded; None if nothing is.
    """

    def __init__(self, node: Node, name: str, listener: Listener) -> None:
        self.name = name
        self.services = ServiceClients(node, name)
        self.paused = False
        self.recording: Recording | None = None
        self._node = node
        self._listener = listener
        self._camera: Topic | None = None
        self._watched = False
        self._subscriptions = Subscriptions(node)
        self._results = ResultAssembler(partial(listener.on_result, name))
        self._diagnosis: DiagnosticStatus | None = None
        self._heard = time.monotonic()
        self._last_problem = ''
        self._last_complaint = 0.0

    def close(self) -> None:
        """End the recording and all calls, and unsubscribe."""
        if recording := self.recording:
            recording.stop()
        self.services.close()
        self._subscriptions.update({})

    def info(self) -> TrackerInfo:
        """Return the state of the tracker; report when a problem begins or ends."""
        problem = self._problem()
        if bool(problem) != bool(self._last_problem):
            self._listener.on_event(self.name, problem or 'can track again')
        self._last_problem = problem
        return TrackerInfo(
            self.name, self._camera.name if self._camera else '', problem, self.paused
        )

    def _problem(self) -> str:
        """Return why the tracker cannot track; empty if it can, or while it starts."""
        if time.monotonic() - self._heard > MAX_SILENCE:
            return f'{self.name} publishes no diagnostics: check that it still runs'
        diagnosis = self._diagnosis
        if diagnosis and (diagnosis.level >= DiagnosticStatus.ERROR or self._camera is None):
            return str(diagnosis.message)
        return ''

    def on_diagnostics(self, status: DiagnosticStatus) -> None:
        """Take the tracker's own status."""
        self._diagnosis, self._heard = status, time.monotonic()
        values = {pair.key: pair.value for pair in status.values}
        self.paused = values.get('paused', str(self.paused)) == str(True)

    def subscribe(self, camera: Topic | None, watched: bool) -> None:
        """Subscribe to what is needed, if the tracker is `watched` by somebody or recorded."""
        if watched and not self._watched:
            self._results = ResultAssembler(partial(self._listener.on_result, self.name))
        self._camera, self._watched = camera, watched
        recorded = self.recording
        wanted: dict[Topic, Callable[[Any], None]] = {}
        if watched or recorded:
            wanted[self._published('detections', Detection2DArray)] = self._on_detections
        if watched:
            wanted[self._published('status', TrackStatus)] = self._on_status
        if camera and (watched or (recorded and recorded.images)):
            wanted[camera] = self._on_image
        self._subscriptions.update(wanted)

    def _published(self, name: str, message_type: Any) -> Topic:
        return published_topic(self._node, f'{self.name}/{name}', message_type)

    def record(self, name: str, message: Any) -> None:
        """Append a message on the tracker's topic `name` to the recording, if there is one."""
        if recording := self.recording:
            recording.write(f'{self.name}/{name}', message)

    # --- messages

    def _on_image(self, message: Image | CompressedImage) -> None:
        if self.recording and self._camera:
            self.recording.write(self._camera.name, message)
        if not self._watched:
            return
        try:
            check_message(message)
        except ImageError as error:
            self._complain(f'an image cannot be shown: {error}')
            return
        jpeg = None
        if isinstance(message, CompressedImage):
            data = bytes(message.data)
            jpeg = data if data.startswith(JPEG_START) else None
        stamp = to_nanoseconds(message.header.stamp)
        self._listener.on_frame(self.name, CameraFrame(stamp, partial(to_bgr, message), jpeg))

    def _on_detections(self, message: Detection2DArray) -> None:
        self.record('detections', message)
        if self._watched:
            ids = {detection.id for detection in message.detections}
            self._results.add_detections(to_nanoseconds(message.header.stamp), ids)

    def _on_status(self, message: TrackStatus) -> None:
        try:
            target = to_target(message)
        except (BoxError, ValueError) as error:
            self._complain(f'a status cannot be shown: {error}')
        else:
            self._results.add_status(to_nanoseconds(message.header.stamp), target)

    def _complain(self, text: str) -> None:
        now = time.monotonic()
        if now - self._last_complaint > COMPLAINT_PERIOD:
            self._last_complaint = now
            self._listener.on_event(self.name, text)
