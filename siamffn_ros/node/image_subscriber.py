"""The image topic: subscribed with the type and QoS it has, and monitored for silence."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from siamffn_model.live.frame_buffer import Frame
from siamffn_ros.messages.conversions import to_nanoseconds
from siamffn_ros.messages.images import IMAGE_TYPES, check_message, to_bgr
from siamffn_ros.node.qos import (
    NO_SUBSCRIPTION_EVENTS,
    incompatible_peers,
    profile,
)

TYPES = {'raw': Image, 'compressed': CompressedImage}
# Holds only what the receiving thread cannot take at once: it passes every image on, and the
# newest is tracked. With a depth of 1 images are lost.
QUEUE_DEPTH = 30
LARGE_IMAGES = (
    'give the publisher the Fast DDS profile config/fastdds.xml '
    '(FASTDDS_DEFAULT_PROFILES_FILE), or set image_qos to "reliable"'
)


class ImageSubscriber:
    """Receive images, validate them, and pass them on as frames that are not yet decoded.

    Args:
        node: owns the subscription.
        on_received: called when an image arrives, before anything else.
        on_frame: receives each frame, in the executor's thread.
        on_error: receives what is wrong with an image, or what `on_frame` raised.
    """

    def __init__(
        self,
        node: Node,
        on_received: Callable[[], object],
        on_frame: Callable[[Frame], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.topic = node.resolve_topic_name('image')
        self._node = node
        self._on_received = on_received
        self._on_frame = on_frame
        self._on_error = on_error
        self._group = MutuallyExclusiveCallbackGroup()
        self._subscription: Any = None
        self._type: Any = Image

    def open(self, transport: str, qos: str) -> None:
        """Subscribe, or subscribe again: parameters `image_transport` and `image_qos`.

        Raises `ConfigError` for an unknown reliability in `qos_overrides`.
        """
        self._profile = profile(self._node, self.topic, 'subscription', qos, QUEUE_DEPTH)
        self._transport, self._qos = transport, qos
        self._incompatible: set[str] = set()
        self._last_image = self._last_warning = time.monotonic()
        type_changes = self._subscription and self._wanted_type() is not self._type
        self.close()
        if not type_changes:
            self._subscribe()  # otherwise `check` does

    def close(self) -> None:
        """Stop receiving."""
        if self._subscription:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def check(self, timeout: float) -> str:
        """Follow the published type and warn of silence; call about once a second.

        Returns what is wrong, or an empty string; `timeout` is the parameter `image_timeout` in
        seconds, 0 for never.
        """
        if not self._subscription:
            self._subscribe()
        elif self._wanted_type() is not self._type:
            self.close()  # the middleware needs a moment before the topic may have another type
        else:
            self._warn_of_incompatible_peers()
        now = time.monotonic()
        silence = now - self._last_image
        if not timeout or silence < timeout:
            return ''
        message = f'no image on {self.topic} for {silence:.0f} s'
        if now - self._last_warning >= timeout:
            self._last_warning = now
            self._node.get_logger().warning(f'{message}; {self._remedy()}')
        return message

    def _subscribe(self) -> None:
        """Subscribe with the wanted type; if the topic still has another, `check` tries again."""
        message_type = self._wanted_type()
        try:
            self._subscription = self._node.create_subscription(
                message_type,
                'image',
                self._on_image,
                self._profile,
                callback_group=self._group,
                event_callbacks=NO_SUBSCRIPTION_EVENTS,
            )
        except RuntimeError as error:
            self._node.get_logger().warning(f'cannot subscribe to {self.topic} yet: {error}')
        else:
            self._type = message_type

    def _on_image(self, message: Image | CompressedImage) -> None:
        arrival = self._last_image = time.monotonic()
        self._on_received()
        try:
            check_message(message)
            frame = Frame(
                to_nanoseconds(message.header.stamp),
                partial(to_bgr, message),
                len(message.data),
                message.header,
                arrival,
            )
            self._on_frame(frame)
        except Exception as error:  # no message may end the node
            self._on_error(error)

    def _wanted_type(self) -> Any:
        """Return the type to subscribe with; for "auto" the published one, else the last one."""
        if self._transport != 'auto':
            return TYPES[self._transport]
        infos = self._node.get_publishers_info_by_topic(self.topic)
        published = {info.topic_type for info in infos} & IMAGE_TYPES.keys()
        return IMAGE_TYPES[published.pop()] if len(published) == 1 else self._type

    def _warn_of_incompatible_peers(self) -> None:
        incompatible = incompatible_peers(
            self._node, self.topic, self._subscription.qos_profile, publishing=False
        )
        if incompatible - self._incompatible:
            self._node.get_logger().warning(
                f'{", ".join(sorted(incompatible))} publishes on {self.topic} with a QoS that is '
                f'incompatible with image_qos "{self._qos}", so none of its images arrive: '
                'set image_qos to "sensor_data", or make the publisher reliable'
            )
        self._incompatible = incompatible

    def _remedy(self) -> str:
        infos = self._node.get_publishers_info_by_topic(self.topic)
        if not infos:
            return 'nobody publishes there: start the camera or remap image:=/its/topic'
        own = f'sensor_msgs/msg/{self._type.__name__}'
        types = {info.topic_type for info in infos}
        if own not in types:
            return (
                f'{", ".join(sorted(types))} is published there, not {own}: set image_transport '
                'to "auto", or remap image:=/its/topic'
            )
        return f'{len(infos)} publisher(s) there: if their images are large, {LARGE_IMAGES}'
