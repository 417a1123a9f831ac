"""The image topic: subscribed by the type and quality it has, and watched for silence."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from siamffn_model.errors import SiamFFNError
from siamffn_model.live.frame_buffer import Frame
from siamffn_ros.messages.conversions import to_nanoseconds
from siamffn_ros.messages.images import IMAGE_TYPES, check_image, to_bgr
from siamffn_ros.node.diagnostics import NodeStatistics
from siamffn_ros.node.qos import NO_SUBSCRIPTION_EVENTS, OTHERS, incompatible_peers, profile

TYPES = {'raw': Image, 'compressed': CompressedImage}
# Only what the receiving thread cannot take at once is queued here: it hands every image on, and
# the worker takes the newest. With 1 images are lost.
QUEUE = 30
LARGE_IMAGES = (
    'give the publisher the Fast DDS profile config/fastdds.xml '
    '(FASTDDS_DEFAULT_PROFILES_FILE), or set image_qos to "reliable"'
)
THROTTLE = 1.0  # seconds between two log lines about bad images


class ImageSubscriber:
    """Receive images and hand them on as frames, undecoded.

    Args:
        node: owns the subscription.
        on_frame: takes each frame, in the executor's thread.
        figures: where images are counted.
    """

    def __init__(
        self, node: Node, on_frame: Callable[[Frame], None], figures: NodeStatistics
    ) -> None:
        self.topic = node.resolve_topic_name('image')
        self._node = node
        self._on_frame = on_frame
        self._figures = figures
        self._group = MutuallyExclusiveCallbackGroup()
        self._subscription: Any = None
        self._type: Any = Image

    def open(self, transport: str, qos: str) -> None:
        """Subscribe, or subscribe anew: `image_transport` and `image_qos` of the parameters.

        Raises `SiamFFNError` for a reliability in `qos_overrides` that does not exist.
        """
        self._profile = profile(self._node, self.topic, 'subscription', qos, QUEUE)
        self._transport, self._qos = transport, qos
        self._incompatible_peers: set[str] = set()
        self._last_image = self._last_warning = time.monotonic()
        other = self._subscription and self._wanted_type() is not self._type
        self.close()
        if not other:
            self._subscribe()  # else `watch` does

    def close(self) -> None:
        """Stop to receive."""
        if self._subscription:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def watch(self, timeout: float) -> str:
        """Do what is due about once a second: take the type that is published, warn of silence.

        Returns what is wrong, empty if nothing is; `timeout` is `image_timeout`, 0 for never.
        """
        if not self._subscription:
            self._subscribe()
        elif self._wanted_type() is not self._type:
            self.close()  # the middleware needs a moment before the topic may have another type
        else:
            self._warn_of_incompatible_peers()
        now = time.monotonic()
        silent = now - self._last_image
        if not timeout or silent < timeout:
            return ''
        told = f'no image on {self.topic} for {silent:.0f} s'
        if now - self._last_warning >= timeout:
            self._last_warning = now
            self._node.get_logger().warning(f'{told}; {self._remedy()}')
        return told

    def _subscribe(self) -> None:
        """Subscribe to the wanted type; where the topic still has the other, `watch` tries anew."""
        kind = self._wanted_type()
        try:
            self._subscription = self._node.create_subscription(
                kind,
                'image',
                self._on_image,
                self._profile,
                callback_group=self._group,
                event_callbacks=NO_SUBSCRIPTION_EVENTS,
                qos_overriding_options=OTHERS,
            )
        except RuntimeError as error:
            self._node.get_logger().warning(f'cannot subscribe to {self.topic} yet: {error}')
        else:
            self._type = kind

    def failed(self, error: Exception) -> None:
        """Count and tell of an image that cannot be used, or could not be worked on."""
        ours = isinstance(error, SiamFFNError)
        count = self._figures.count('bad' if ours else 'failed')
        reason = str(error) if ours else ''.join(traceback.format_exception(error))
        self._node.get_logger().error(
            f'image skipped ({count} so far): {reason}', throttle_duration_sec=THROTTLE
        )

    def _on_image(self, message: Image | CompressedImage) -> None:
        arrival = self._last_image = time.monotonic()
        self._figures.count('received')
        try:
            check_image(message)
            frame = Frame(
                to_nanoseconds(message.header.stamp),
                partial(to_bgr, message),
                len(message.data),
                message.header,
                arrival,
            )
            self._on_frame(frame)
        except Exception as error:  # no message may end the node
            self.failed(error)

    def _wanted_type(self) -> Any:
        """Return the type to subscribe to: with "auto" what is published, else what it was."""
        if self._transport != 'auto':
            return TYPES[self._transport]
        infos = self._node.get_publishers_info_by_topic(self.topic)
        published = {info.topic_type for info in infos} & IMAGE_TYPES.keys()
        return IMAGE_TYPES[published.pop()] if len(published) == 1 else self._type

    def _warn_of_incompatible_peers(self) -> None:
        found = incompatible_peers(
            self._node, self.topic, self._subscription.qos_profile, publishing=False
        )
        if found - self._incompatible_peers:
            self._node.get_logger().warning(
                f'{", ".join(sorted(found))} publishes on {self.topic} with a QoS that does not '
                f'fit image_qos "{self._qos}", so none of its images arrive: '
                'set image_qos to "sensor_data", or make the publisher reliable'
            )
        self._incompatible_peers = found

    def _remedy(self) -> str:
        infos = self._node.get_publishers_info_by_topic(self.topic)
        if not infos:
            return 'nobody publishes there: start the camera or remap image:=/its/topic'
        kind = f'sensor_msgs/msg/{self._type.__name__}'
        others = {info.topic_type for info in infos}
        if kind not in others:
            return (
                f'{", ".join(sorted(others))} is published there, not {kind}: set image_transport '
                'to "auto", or remap image:=/its/topic'
            )
        return f'{len(infos)} publisher(s) there: if their images are large, {LARGE_IMAGES}'
