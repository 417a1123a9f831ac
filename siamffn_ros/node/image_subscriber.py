"""The image topic: subscribed with the type and QoS it has, and monitored for silence."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from siamffn_model.errors import SiamFFNError
from siamffn_model.live.frame_buffer import Frame
from siamffn_ros.messages.conversions import to_nanoseconds
from siamffn_ros.messages.images import IMAGE_TYPES, check_message, to_bgr
from siamffn_ros.node.qos import (
    NO_SUBSCRIPTION_EVENTS,
    incompatible_peers,
    override_name,
    profile,
    remedy,
)
from siamffn_ros.node.stamp_rate import StampRate

# Holds only what the receiving thread cannot take at once: it passes every image on, and the
# newest is tracked. With a depth of 1 images are lost.
QUEUE_DEPTH = 30
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
PROFILE = (
    'give the publisher the Fast DDS profile config/fastdds.xml (FASTDDS_DEFAULT_PROFILES_FILE)'
)
LOSS_PERIOD = 60.0  # seconds between two warnings of lost images


class ImageSubscriber:
    """Receive images, validate them, and pass them on as frames that are not yet decoded.

    Args:
        node: owns the subscription.
        on_received: called when an image arrives, before anything else.
        on_frame: receives each frame, in the executor's thread.
        on_error: receives what is wrong with an image, or what `on_frame` raised.

    Attributes:
        topic: the topic that is subscribed to: `image`, remapped, or that with the suffix of
            image_transport, "/compressed".
        loss: how many images do not arrive, and the remedy; empty for few.
    """

    def __init__(
        self,
        node: Node,
        on_received: Callable[[], object],
        on_frame: Callable[[Frame], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.topic = self._base = node.resolve_topic_name('image')
        self.loss = ''
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
        topic, kind = self._wanted(transport)
        self._profile(topic, qos)
        self._transport, self._qos = transport, qos
        self._incompatible: dict[str, str] = {}
        self._last_image = self._last_warning = time.monotonic()
        self._last_loss = 0.0
        self._rate = StampRate()
        self.loss = ''
        type_changes = self._subscription and topic == self.topic and kind is not self._type
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
        elif self._wanted(self._transport) != (self.topic, self._type):
            self.close()  # the middleware needs a moment before the topic may have another type
        else:
            self._warn_of_incompatible_peers()
        now = time.monotonic()
        silence = now - self._last_image
        if not timeout or silence < timeout:
            self._warn_of_loss(now)
            return ''
        message = f'no image on {self.topic} for {silence:.0f} s: {self._remedy()}'
        if now - self._last_warning >= timeout:
            self._last_warning = now
            self._node.get_logger().warning(message)
        return message

    def _subscribe(self) -> None:
        """Subscribe with the wanted type; if the topic still has another, `check` tries again."""
        topic, message_type = self._wanted(self._transport)
        try:
            self._subscription = self._node.create_subscription(
                message_type,
                'image' if topic == self._base else topic,
                self._on_image,
                self._profile(topic, self._qos),
                callback_group=self._group,
                event_callbacks=NO_SUBSCRIPTION_EVENTS,
            )
        except (RuntimeError, SiamFFNError) as error:
            self._node.get_logger().warning(f'cannot subscribe to {topic} yet: {error}')
        else:
            self.topic, self._type = topic, message_type

    def _profile(self, topic: str, qos: str) -> QoSProfile:
        return profile(self._node, topic, 'subscription', qos, QUEUE_DEPTH)

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
            self._rate.add(frame.stamp)
            self._on_frame(frame)
        except Exception as error:  # no message may end the node
            self._on_error(error)

    def _wanted(self, transport: str) -> tuple[str, Any]:
        """Return the topic and the type to subscribe to.

        With "auto" the type is the published one, else the last one. With "compressed" the topic
        is that of image_transport, TOPIC/compressed, unless TOPIC itself has compressed images.
        """
        if transport == 'raw':
            return self._base, Image
        published = self._published(self._base) & IMAGE_TYPES.keys()
        if transport == 'auto':
            kind = IMAGE_TYPES[published.pop()] if len(published) == 1 else self._type
            return self._base, kind
        suffixed = f'{self._base}/compressed'
        if COMPRESSED in published or self._base.endswith('/compressed'):
            return self._base, CompressedImage
        known = self.topic == self._base and self._type is CompressedImage
        if known and COMPRESSED not in self._published(suffixed):
            return self._base, CompressedImage
        return suffixed, CompressedImage

    def _published(self, topic: str) -> set[str]:
        """Return the types that are published on a topic."""
        return {info.topic_type for info in self._node.get_publishers_info_by_topic(topic)}

    def _warn_of_incompatible_peers(self) -> None:
        incompatible = incompatible_peers(
            self._node, self.topic, self._subscription.qos_profile, publishing=False
        )
        if incompatible.keys() - self._incompatible.keys():
            self._node.get_logger().warning(self._incompatibility(incompatible))
        self._incompatible = incompatible

    def _incompatibility(self, peers: Mapping[str, str]) -> str:
        return (
            f'{", ".join(sorted(peers))} publishes on {self.topic} with a QoS that is incompatible '
            f'({", ".join(sorted({*peers.values()}))}), so none of its images arrive: '
            + remedy(self._node, self.topic, peers.values(), publishing=False)
        )

    def _warn_of_loss(self, now: float) -> None:
        self.loss = ''
        if loss := self._rate.loss():
            self.loss = (
                f'{loss.lost:.0f} of {loss.taken:.0f} images per second on {self.topic} do not '
                f'arrive: {self._remedy_of_loss()}'
            )
            if now - self._last_loss >= LOSS_PERIOD:
                self._last_loss = now
                self._node.get_logger().warning(self.loss)

    def _remedy_of_loss(self) -> str:
        """Return what to do if the publisher's buffers are too small for its images."""
        if self._subscription.qos_profile.reliability == ReliabilityPolicy.RELIABLE:
            return PROFILE
        override = override_name(self.topic, 'subscription', 'reliability')
        given = self._node.get_parameter(override).value
        return f'{PROFILE}, or set {override if given else "image_qos"} to "reliable"'

    def _remedy(self) -> str:
        infos = self._node.get_publishers_info_by_topic(self.topic)
        if not infos:
            others = self._image_topics()
            found = f'; images are on {", ".join(others)}' if others else ''
            return f'nobody publishes there: start the camera or remap image:=/its/topic{found}'
        own = f'sensor_msgs/msg/{self._type.__name__}'
        types = {info.topic_type for info in infos}
        if own not in types:
            return (
                f'{", ".join(sorted(types))} is published there, not {own}: set image_transport '
                'to "auto", or remap image:=/its/topic'
            )
        if len(self._incompatible) == len(infos):
            return self._incompatibility(self._incompatible)
        return (
            f'{len(infos)} publisher(s) there: if their images are large, {self._remedy_of_loss()}'
        )

    def _image_topics(self) -> list[str]:
        """Return the topics on which images are published, without our own."""
        own = self._node.resolve_topic_name('~/debug_image')
        return sorted(
            name
            for name, types in self._node.get_topic_names_and_types()
            if name not in (own, self.topic)
            and IMAGE_TYPES.keys() & set(types)
            and self._node.count_publishers(name)
        )
