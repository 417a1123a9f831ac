"""What the node publishes of each tracked image."""

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
from siamffn_model.live.targets import Target
from siamffn_model.tracking import State
from siamffn_ros.messages.conversions import to_detections, to_status
from siamffn_ros.messages.images import to_image
from siamffn_ros.node.qos import NO_PUBLISHER_EVENTS, OTHERS, incompatible_peers, profile


class Publishers:
    """The publishers of detections, status and debug image.

    `qos` is `output_qos` of the parameters. Raises `SiamFFNError` for a reliability in
    `qos_overrides` that does not exist.
    """

    def __init__(self, node: LifecycleNode, qos: str) -> None:
        self._node = node
        self._qos = qos
        self._publishers: dict[str, Any] = {}
        self._incompatible_peers: set[str] = set()
        try:
            self._create()
        except SiamFFNError:
            self.destroy()
            raise

    def _create(self) -> None:
        self._detections = self._publisher(Detection2DArray, '~/detections', 10)
        self._detection = self._publisher(Detection2D, '~/detection', 10)
        self._status = self._publisher(TrackStatus, '~/status', 10)
        self._debug_image = self._publisher(Image, '~/debug_image', 1)

    def _publisher(self, kind: Any, name: str, depth: int) -> Any:
        topic = self._node.resolve_topic_name(name)
        publisher = self._node.create_lifecycle_publisher(
            kind,
            name,
            profile(self._node, topic, 'publisher', self._qos, depth),
            event_callbacks=NO_PUBLISHER_EVENTS,
            qos_overriding_options=OTHERS,
        )
        self._publishers[topic] = publisher
        return publisher

    def watch(self) -> None:
        """Warn of subscribers that get nothing; call it about once a second."""
        found = {
            f'{name} on {topic}'
            for topic, publisher in self._publishers.items()
            for name in incompatible_peers(
                self._node, topic, publisher.qos_profile, publishing=True
            )
        }
        if found - self._incompatible_peers:
            self._node.get_logger().warning(
                f'{", ".join(sorted(found))} asks for a QoS that is not offered, so it gets '
                'nothing: let it ask for best effort and volatile, or set output_qos to "reliable"'
            )
        self._incompatible_peers = found

    def destroy(self) -> None:
        """Take the topics away."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)

    def publish(self, frame: Frame, seen: Sequence[Target], idle: bool) -> None:
        """Tell of the targets seen on a frame; `idle` says that there is none at all."""
        array = to_detections(((target.id, target.track) for target in seen), frame.header)
        self._detections.publish(array)
        if array.detections and array.detections[0].id == seen[0].id:
            self._detection.publish(array.detections[0])
        for target in seen:
            self._status.publish(status_of(target))
        if idle:
            self._status.publish(TrackStatus(header=frame.header, state=TrackStatus.IDLE))
        if self._debug_image.get_subscription_count():
            self._debug_image.publish(to_image(drawn(frame, seen), frame.header))


def status_of(target: Target) -> TrackStatus:
    """Return the status of a target on the last image it was looked for in."""
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


def drawn(frame: Frame, targets: Sequence[Target]) -> NDArray[np.uint8]:
    """Return a copy of the image with the targets drawn in, each in its own colour."""
    image: NDArray[np.uint8] = frame.image.copy()
    for target in targets:
        box = None if target.track.state == State.LOST else target.track.box
        label = f'{target.id} {target.track.state.name.lower()} {target.track.score:.2f}'
        draw_track(image, box, label, nth_colour(target.colour))
    return image
