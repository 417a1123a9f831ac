"""The trackers in the ROS graph, their cameras, and subscriptions that follow them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from siamffn_ros.messages.images import IMAGE_TYPES
from siamffn_ros.node.qos import NO_SUBSCRIPTION_EVENTS, UNLIMITED

INIT_TARGET = 'init_target', 'siamffn/srv/InitTarget'  # name and type
QUEUE_DEPTH = 30  # messages; with fewer, some are lost when several arrive at once


class Topic(NamedTuple):
    """A topic, its message type, and the reliability with which it is subscribed to."""

    name: str
    message_type: Any
    reliability: ReliabilityPolicy


def find_trackers(node: Node) -> set[str]:
    """Return the full name of every node that offers `<node>/init_target`."""
    name, kind = INIT_TARGET
    services = {
        service
        for service, types in node.get_service_names_and_types()
        if kind in types and service.endswith(f'/{name}')
    }  # also those that only have a client, such as ours
    return {
        tracker
        for service in services
        if service in _offered(node, tracker := service.removesuffix(f'/{name}'))
    }


def _offered(node: Node, tracker: str) -> set[str]:
    try:
        services = node.get_service_names_and_types_by_node(*_split(tracker))
    except RuntimeError:  # the node has ended meanwhile
        return set()
    return {name for name, _ in services}


def find_camera(node: Node, tracker: str) -> Topic | None:
    """Return the topic from which a tracker receives images, with the type and reliability of its
    own subscription, so that what reaches the tracker reaches us; None if it is not subscribed."""
    name, namespace = _split(tracker)
    try:
        topics = node.get_subscriber_names_and_types_by_node(name, namespace)
    except RuntimeError:
        return None
    for topic, types in topics:
        if IMAGE_TYPES.keys().isdisjoint(types):
            continue
        for info in node.get_subscriptions_info_by_topic(topic):
            own = (info.node_name, info.node_namespace) == (name, namespace)
            if own and info.topic_type in IMAGE_TYPES:
                return Topic(topic, IMAGE_TYPES[info.topic_type], info.qos_profile.reliability)
    return None


def published_topic(node: Node, name: str, message_type: Any) -> Topic:
    """Return a topic with a reliability that all its publishers offer."""
    offered = {info.qos_profile.reliability for info in node.get_publishers_info_by_topic(name)}
    reliable = offered == {ReliabilityPolicy.RELIABLE}
    reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
    return Topic(name, message_type, reliability)


def _split(tracker: str) -> tuple[str, str]:
    """Return the name and the namespace of a node."""
    namespace, _, name = tracker.rpartition('/')
    return name, namespace or '/'


class Subscriptions:
    """The subscriptions to one tracker; all methods run in the thread of the node's executor."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._open: dict[Topic, Subscription[Any]] = {}

    def update(self, wanted: Mapping[Topic, Callable[[Any], None]]) -> None:
        """Subscribe to these topics only, each with its callback.

        If a topic cannot be subscribed to yet, as its type has just changed, the next call tries
        again.
        """
        for topic in self._open.keys() - wanted.keys():
            self._node.destroy_subscription(self._open.pop(topic))
        for topic in wanted.keys() - self._open.keys():
            try:
                self._open[topic] = self._subscribe(topic, wanted[topic])
            except RuntimeError as error:
                self._node.get_logger().warning(f'cannot subscribe to {topic.name} yet: {error}')

    def _subscribe(self, topic: Topic, callback: Callable[[Any], None]) -> Subscription[Any]:
        profile = QoSProfile(
            depth=QUEUE_DEPTH,
            history=HistoryPolicy.KEEP_LAST,
            reliability=topic.reliability,
            durability=DurabilityPolicy.VOLATILE,
            **UNLIMITED,
        )
        return self._node.create_subscription(
            topic.message_type,
            topic.name,
            callback,
            profile,
            event_callbacks=NO_SUBSCRIPTION_EVENTS,
        )
