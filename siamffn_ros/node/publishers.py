"""The topics that the node publishes for each tracked image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image
from siamffn.msg import TrackStatus
from vision_msgs.msg import Detection2D, Detection2DArray

from siamffn_model.errors import SiamFFNError
from siamffn_model.imaging.drawing import draw_track, nth_colour
from siamffn_model.live.frame_buffer import Frame
from siamffn_model.live.targets import TargetStatus
from siamffn_model.tracking import State
from siamffn_ros.messages.conversions import to_detections, to_status
from siamffn_ros.messages.images import to_image
from siamffn_ros.node.qos import (
    NO_PUBLISHER_EVENTS,
    incompatible_peers,
    profile,
    remedy,
)


class Publishers:
    """The publishers of detections, status and debug image.

    `qos` is the parameter `output_qos`. Raises `ConfigError` for an unknown reliability in
    `qos_overrides`.
    """

    def __init__(self, node: LifecycleNode, qos: str) -> None:
        self._node = node
        self._qos = qos
        self._publishers: dict[str, Any] = {}
        self._incompatible: set[tuple[str, str]] = set()
        try:
            self._detections = self._create(Detection2DArray, '~/detections', 10)
            self._detection = self._create(Detection2D, '~/detection', 10)
            self._status = self._create(TrackStatus, '~/status', 10)
            self._debug_image = self._create(Image, '~/debug_image', 1)
        except SiamFFNError:
            self.destroy()
            raise

    def _create(self, message_type: Any, name: str, depth: int) -> Any:
        topic = self._node.resolve_topic_name(name)
        publisher = self._node.create_lifecycle_publisher(
            message_type,
            name,
            profile(self._node, topic, 'publisher', self._qos, depth),
            event_callbacks=NO_PUBLISHER_EVENTS,
        )
        self._publishers[topic] = publisher
        return publisher

    def check_subscribers(self) -> None:
        """Warn of subscribers that receive nothing due to their QoS; call about once a second."""
        incompatible = set()
        for topic, publisher in self._publishers.items():
            peers = incompatible_peers(self._node, topic, publisher.qos_profile, publishing=True)
            for name, policy in peers.items():
                incompatible.add((name, topic))
                if (name, topic) not in self._incompatible:
                    self._node.get_logger().warning(
                        f'{name} requests a {policy} on {topic} that is not offered, and receives '
                        f'nothing: {remedy(self._node, topic, [policy], publishing=True)}'
                    )
        self._incompatible = incompatible

    def destroy(self) -> None:
        """Remove the topics."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)

    def publish(self, frame: Frame, targets: Sequence[TargetStatus], clip: bool) -> None:
        """Publish the targets that were searched in a frame, out of all `targets`.

        The boxes of detections are clipped to the image if `clip`.
        """
        current = [target for target in targets if target.frame_number == frame.number]
        size = (frame.image.shape[1], frame.image.shape[0]) if clip else None
        tracks = ((target.id, target.track) for target in current)
        array = to_detections(tracks, frame.header, size)
        self._detections.publish(array)
        if array.detections and array.detections[0].id == current[0].id:
            self._detection.publish(array.detections[0])
        for target in current:
            self._status.publish(status_message(target))
        if not targets:
            self._status.publish(TrackStatus(header=frame.header, state=TrackStatus.IDLE))
        if self._debug_image.get_subscription_count():
            self._debug_image.publish(to_image(debug_image(frame, current), frame.header))


def status_message(target: TargetStatus) -> TrackStatus:
    """Return the message for a target and the last image it was searched in."""
    return to_status(
        target.id,
        target.track,
        target.header,
        last_ms=target.last_ms,
        mean_ms=target.mean_ms,
        max_ms=target.max_ms,
        frames_processed=target.processed,
        frames_dropped=target.dropped,
    )


def debug_image(frame: Frame, targets: Sequence[TargetStatus]) -> NDArray[np.uint8]:
    """Return a copy of the image with the targets drawn in, each in its own colour."""
    image: NDArray[np.uint8] = frame.image.copy()
    for target in targets:
        box = None if target.track.state == State.LOST else target.track.box
        label = f'{target.id} {target.track.state.name.lower()} {target.track.score:.2f}'
        draw_track(image, box, label, nth_colour(target.colour_index))
    return image
