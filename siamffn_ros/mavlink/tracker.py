"""The target of a MAVLink camera in its tracker node: services, results, images."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from siamffn.msg import TrackStatus
from siamffn.srv import InitPoint, InitTarget, StopTarget
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, Point2D

from siamffn_model.errors import BoxError, ConfigError, SiamFFNError
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image_header import image_size
from siamffn_model.live.frame_buffer import TIME_JUMP
from siamffn_model.live.results import Result, Target
from siamffn_ros.context import create_steady_timer
from siamffn_ros.mavlink.pixels import Size
from siamffn_ros.messages.conversions import to_bbox, to_nanoseconds, to_stamp
from siamffn_ros.tracker_client.discovery import Subscriptions, find_camera, published_topic
from siamffn_ros.tracker_client.results import ResultAssembler, to_target
from siamffn_ros.tracker_client.services import ServiceClients

TARGET_ID = 'mavlink'
UPDATE_PERIOD = 1.0  # seconds between two looks at the topics in the ROS graph
MAX_AGE = 2.0  # seconds after which a result is not the present state any more
MAX_STAMPS = 1000  # of images; 10 s of 100 images/s


class TrackerTargets:
    """The only target of a MAVLink camera; `Targets` for a tracker node.

    All methods run in the thread of the node's executor.

    Args:
        node: subscribes and calls.
        tracker: full name of the tracker node.
        video_latency: seconds from an image until the box that an operator has drawn on it arrives
            here; 0: boxes are for the newest image.
        on_result: receives the target of each image, None if there is none, and the image's stamp
            in nanoseconds.
    """

    def __init__(
        self,
        node: Node,
        tracker: str,
        video_latency: float,
        on_result: Callable[[Target | None, int], None],
    ) -> None:
        self._node, self._tracker = node, tracker
        self._latency, self._report = video_latency, on_result
        self._services = ServiceClients(node, tracker)
        self._subscriptions = Subscriptions(node)
        self._results = ResultAssembler(self._on_result)
        self._size: Size | None = None
        self._stamps: deque[int] = deque(maxlen=MAX_STAMPS)  # nanoseconds, of images
        self._arrival = 0.0  # of the newest image; times are in seconds, of `time.monotonic`
        self._target: Target | None = None
        self._result_time = 0.0
        create_steady_timer(node, UPDATE_PERIOD, self._update)
        self._update()

    @property
    def size(self) -> Size | None:
        """See `Targets`."""
        return self._size

    @property
    def target(self) -> Target | None:
        """See `Targets`."""
        return self._target if time.monotonic() - self._result_time < MAX_AGE else None

    def init_box(self, box: Box) -> Future[Any]:
        """See `Targets`."""
        request = InitTarget.Request(header=self._header(), bbox=to_bbox(box), target_id=TARGET_ID)
        return self._call('init_target', request)

    def init_point(self, point: tuple[float, float]) -> Future[Any]:
        """See `Targets`."""
        x, y = point
        request = InitPoint.Request(
            header=self._header(), point=Point2D(x=x, y=y), target_id=TARGET_ID
        )
        return self._call('init_point', request)

    def stop(self) -> Future[Any]:
        """See `Targets`; a target that does not exist is stopped."""
        stopped: Future[None] = Future()

        def done(answer: Future[Any]) -> None:
            error = answer.exception()
            if error is None or (isinstance(error, ConfigError) and self.target is None):
                stopped.set_result(None)
            else:
                stopped.set_exception(error)

        answer = self._call('stop_target', StopTarget.Request(target_id=TARGET_ID))
        answer.add_done_callback(done)
        return stopped

    def close(self) -> None:
        """End all calls and unsubscribe."""
        self._services.close()
        self._subscriptions.update({})

    def _call(self, service: str, request: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            self._services.call(service, request, future, lambda response: None)
        except SiamFFNError as error:
            future.set_exception(error)
        return future

    def _header(self) -> Header:
        """Return the header of the image that the operator has seen."""
        if not self._latency or not self._stamps:
            return Header()  # the newest
        age = time.monotonic() - self._arrival
        shown = self._stamps[-1] + round((age - self._latency) * 1e9)
        return Header(stamp=to_stamp(min(self._stamps, key=lambda stamp: abs(stamp - shown))))

    # --- what the tracker and its camera publish

    def _update(self) -> None:
        """Follow the topics of the tracker and its camera; end calls that are not answered."""
        self._services.check_deadlines()
        wanted = {
            published_topic(self._node, f'{self._tracker}/detections', Detection2DArray): (
                self._on_detections
            ),
            published_topic(self._node, f'{self._tracker}/status', TrackStatus): self._on_status,
        }
        if camera := find_camera(self._node, self._tracker):
            wanted[camera] = self._on_image
        self._subscriptions.update(wanted)

    def _on_image(self, message: Image | CompressedImage) -> None:
        if isinstance(message, CompressedImage):
            size = image_size(memoryview(message.data))
        else:
            size = message.width, message.height
        if not size or min(size) < 1:
            return  # the tracker says what is wrong with the image
        stamp = to_nanoseconds(message.header.stamp)
        if self._stamps and stamp < self._stamps[-1]:
            if self._stamps[-1] - stamp <= TIME_JUMP:
                return  # late
            self._stamps.clear()  # the time has jumped back, as when a bag starts again
        self._size, self._arrival = size, time.monotonic()
        self._stamps.append(stamp)

    def _on_detections(self, message: Detection2DArray) -> None:
        ids = {detection.id for detection in message.detections}
        self._results.add_detections(to_nanoseconds(message.header.stamp), ids)

    def _on_status(self, message: TrackStatus) -> None:
        try:
            target = to_target(message)
        except (BoxError, ValueError):
            return  # of no tracker
        self._results.add_status(to_nanoseconds(message.header.stamp), target)

    def _on_result(self, result: Result) -> None:
        found = (target for target in result.targets if target.id == TARGET_ID)
        self._target, self._result_time = next(found, None), time.monotonic()
        self._report(self._target, result.stamp)
