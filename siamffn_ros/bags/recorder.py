"""The node that asks the tracker for one target and records what it publishes."""

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
    """What the node said of one frame; no box where the target is lost."""

    box: Box | None
    score: float
    state: State
    arrival: int  # nanoseconds since the epoch


class ReplayResult(NamedTuple):
    """What came of a run: by stamp, and the last status."""

    published: dict[int, int]  # stamp -> time of publishing, nanoseconds since the epoch
    seen: dict[int, Observation]
    last: TrackStatus


class Recorder(Node):
    """Ask for one target and record what the tracker publishes, to a bag and in memory.

    `first` is the header of the image that the box was drawn on.
    """

    def __init__(self, bag: BagWriter, box: Box, first: Header) -> None:
        super().__init__('siamffn_recorder')
        self._bag = bag
        self._request = InitTarget.Request(header=first, bbox=to_bbox(box), target_id=TARGET)
        self._arrays: dict[int, tuple[Detection2DArray, int]] = {}  # with time of arrival
        self._statuses: dict[int, TrackStatus] = {}
        self._asked = False
        self.received = 0  # messages
        self.refusal = ''
        self.client: Client[Any, Any] = self.create_client(InitTarget, 'tracker/init_target')
        self.create_subscription(Detection2DArray, DETECTIONS_TOPIC, self._on_detections, 100)
        self.create_subscription(TrackStatus, STATUS_TOPIC, self._on_status, 100)

    def told_of(self, stamp: int) -> bool:
        """Whether the node has told all of this frame."""
        return stamp in self._arrays and stamp in self._statuses

    def result(self, published: dict[int, int]) -> ReplayResult:
        """Return all that was recorded of the target; raises `ProcessError` if nothing was."""
        told = {stamp: status for stamp, status in self._statuses.items() if status.target_id}
        seen = {}
        for stamp in sorted(told.keys() & self._arrays.keys() & published.keys()):
            array, arrival = self._arrays[stamp]
            box = to_box(array.detections[0].bbox) if array.detections else None
            seen[stamp] = Observation(box, told[stamp].score, State(told[stamp].state), arrival)
        if not seen:
            raise ProcessError('the node followed no frame: see node.log beside the other outputs')
        last = max(told.values(), key=lambda status: status.frames_processed)
        return ReplayResult(published, seen, last)

    def _on_status(self, status: TrackStatus) -> None:
        self._bag.write(STATUS_TOPIC, status, time.time_ns())
        self._statuses[to_nanoseconds(status.header.stamp)] = status
        self.received += 1
        if not self._asked:  # now that the node gets frames
            self._asked = True
            self.client.call_async(self._request).add_done_callback(self._on_answer)

    def _on_answer(self, future: Any) -> None:
        response = future.result()
        if not response.success:
            self.refusal = response.message

    def _on_detections(self, message: Detection2DArray) -> None:
        arrival = time.time_ns()
        self._bag.write(DETECTIONS_TOPIC, message, arrival)
        self._arrays[to_nanoseconds(message.header.stamp)] = (message, arrival)
        self.received += 1
