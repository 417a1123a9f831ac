"""QoS profiles by name, with ROS's own `qos_overrides` for the details."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import (
    LivelinessPolicy,
    QoSCompatibility,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

from siamffn_model.errors import ConfigError

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

RELIABILITY = {
    'sensor_data': ReliabilityPolicy.BEST_EFFORT,
    'reliable': ReliabilityPolicy.RELIABLE,
}
INFINITE = Duration(nanoseconds=2**63 - 1)
UNLIMITED: Any = {  # explicit, since `incompatible_peers` takes an unset policy for less than this
    'deadline': INFINITE,
    'liveliness': LivelinessPolicy.AUTOMATIC,
    'liveliness_lease_duration': INFINITE,
}
OVERRIDING_OPTIONS = QoSOverridingOptions(
    [QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.DURABILITY]
)

# rclpy could call back on an incompatible QoS. While topics and nodes come and go, such callbacks
# end the process now and then (events executor, Kilted); `incompatible_peers` reads the ROS graph.
NO_SUBSCRIPTION_EVENTS = SubscriptionEventCallbacks(use_default_callbacks=False)
NO_PUBLISHER_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)


def profile(node: Node, topic: str, entity: str, name: str, depth: int) -> QoSProfile:
    """Return the profile with this name, or with the reliability that `qos_overrides` gives.

    rclpy would store the first reliability it sees in a read-only parameter, after which the name
    could no longer change; OVERRIDING_OPTIONS leaves that policy out.

    Args:
        topic: fully qualified, remapped name.
        entity: 'publisher' or 'subscription'.
        name: a key of RELIABILITY.

    Raises `ConfigError` for an unknown reliability in `qos_overrides`.
    """
    override = f'qos_overrides.{topic}.{entity}.reliability'
    if not node.has_parameter(override):
        text = 'reliable or best_effort; empty: as image_qos or output_qos says'
        node.declare_parameter(override, '', ParameterDescriptor(description=text, read_only=True))
    reliability = node.get_parameter(override).value
    if not reliability:
        return QoSProfile(depth=depth, reliability=RELIABILITY[name], **UNLIMITED)
    try:
        policy = ReliabilityPolicy[reliability.upper()]
    except KeyError:
        raise ConfigError(
            f'{override} is {reliability!r}: set it to "reliable" or "best_effort"'
        ) from None
    return QoSProfile(depth=depth, reliability=policy, **UNLIMITED)


def incompatible_peers(node: Node, topic: str, own: QoSProfile, publishing: bool) -> set[str]:
    """Return the names of nodes that exchange nothing with us on a topic, due to their QoS.

    Args:
        topic: fully qualified, remapped name.
        own: QoS of our publisher (`publishing`) or of our subscription.
    """
    incompatible = set()
    endpoints = (
        node.get_subscriptions_info_by_topic if publishing else node.get_publishers_info_by_topic
    )
    for peer in endpoints(topic):
        pair = (own, peer.qos_profile) if publishing else (peer.qos_profile, own)
        if qos_check_compatible(*pair)[0] == QoSCompatibility.ERROR:
            incompatible.add(f'{peer.node_namespace.rstrip("/")}/{peer.node_name}')
    return incompatible
