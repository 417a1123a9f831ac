"""A ROS node that initialises a target in the tracker node and records its output."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from rclpy.client import Client
from rclpy.node import Node
from siamffn.msg import TrackStatus
from siamffn.srv import InitTarget
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from siamffn_model.errors import ProcessError
from siamffn_model.imaging.geometry import Box
from siamffn_model.tracking import State
from siamffn_ros.bags.io import BagWriter
from siamffn_ros.bags.tracking import DETECTIONS_TOPIC, STATUS_TOPIC, TARGET
from siamffn_ros.messages.conversions import to_bbox, to_box, to_nanoseconds


class Observation(NamedTuple):
    """The output of the node for one frame.

    Attributes:
        box: the target in pixels; None if it is lost.
        score: confidence in [0, 1].
        state: state of the target.
        arrival: time at which the detections arrived here, in nanoseconds since the epoch.
    """

    box: Box | None
    score: float
    state: State
    arrival: int


class ReplayResult(NamedTuple):
    """The result of a replay.

    Attributes:
        published: header stamp -> time of publishing of each image, both in nanoseconds.
        observations: header stamp -> output of the node, for each tracked frame.
        last: the status with the final counters of the node.
    """

    published: dict[int, int]
    observations: dict[int, Observation]
    last: TrackStatus


class Recorder(Node):
    """Initialise one target and record the detections and status of the tracker node.

    Args:
        bag: the bag to record to.
        box: the target, in pixels of the image with the header `first`.
        first: header of the image that the box refers to.

    Attributes:
        received: number of messages received.
        refusal: the reason of the node if it refused the box, else empty.
    """

    def __init__(self, bag: BagWriter, box: Box, first: Header) -> None:
        super().__init__('siamffn_recorder')
        self._bag = bag
        self._request = InitTarget.Request(header=first, bbox=to_bbox(box), target_id=TARGET)
        self._detections: dict[int, tuple[Detection2DArray, int]] = {}  # with time of arrival
        self._statuses: dict[int, TrackStatus] = {}
        self._requested = False
        self.received = 0
        self.refusal = ''
        self.client: Client[Any, Any] = self.create_client(InitTarget, 'tracker/init_target')
        self.create_subscription(Detection2DArray, DETECTIONS_TOPIC, self._on_detections, 100)
        self.create_subscription(TrackStatus, STATUS_TOPIC, self._on_status, 100)

    def has_frame(self, stamp: int) -> bool:
        """Return whether both detections and status of the frame with this stamp have arrived."""
        return stamp in self._detections and stamp in self._statuses

    def result(self, published: dict[int, int]) -> ReplayResult:
        """Return the recorded output; `published` maps header stamps to times of publishing.

        Raises `ProcessError` if the node has tracked the target in no frame.
        """
        statuses = {stamp: status for stamp, status in self._statuses.items() if status.target_id}
        observations = {}
        for stamp in sorted(statuses.keys() & self._detections.keys() & published.keys()):
            array, arrival = self._detections[stamp]
            status = statuses[stamp]
            box = to_box(array.detections[0].bbox) if array.detections else None
            observations[stamp] = Observation(box, status.score, State(status.state), arrival)
        if not observations:
            raise ProcessError('the node tracked no frame: see node.log beside the other outputs')
        last = max(statuses.values(), key=lambda status: status.frames_processed)
        return ReplayResult(published, observations, last)

    def _on_status(self, status: TrackStatus) -> None:
        self._bag.write(STATUS_TOPIC, status, time.time_ns())
        self._statuses[to_nanoseconds(status.header.stamp)] = status
        self.received += 1
        if not self._requested:  # the first status shows that images reach the node
            self._requested = True
            self.client.call_async(self._request).add_done_callback(self._on_response)

    def _on_response(self, future: Any) -> None:
        response = future.result()
        if not response.success:
            self.refusal = response.message

    def _on_detections(self, message: Detection2DArray) -> None:
        arrival = time.time_ns()
        self._bag.write(DETECTIONS_TOPIC, message, arrival)
        self._detections[to_nanoseconds(message.header.stamp)] = (message, arrival)
        self.received += 1
