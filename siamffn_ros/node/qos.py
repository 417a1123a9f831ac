"""Quality of service by name, with ROS's own `qos_overrides` for the details."""

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

from siamffn_model.errors import SiamFFNError

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

RELIABILITY = {
    'sensor_data': ReliabilityPolicy.BEST_EFFORT,
    'reliable': ReliabilityPolicy.RELIABLE,
}
FOREVER = Duration(nanoseconds=2**63 - 1)
UNLIMITED: Any = {  # stated, as `incompatible_peers` takes an unset policy for less than this
    'deadline': FOREVER,
    'liveliness': LivelinessPolicy.AUTOMATIC,
    'liveliness_lease_duration': FOREVER,
}
OTHERS = QoSOverridingOptions(
    [QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.DURABILITY]
)


def profile(node: Node, topic: str, entity: str, name: str, depth: int) -> QoSProfile:
    """Return the profile of this name, or of `qos_overrides` where it tells the reliability.

    ROS would keep the first value it has seen in a parameter that nobody can change any more, so
    that the name could not be changed either; OTHERS leaves that policy out.

    Args:
        topic: the whole, remapped name.
        entity: 'publisher' or 'subscription'.
        name: one of RELIABILITY.

    Raises `SiamFFNError` for an unknown reliability.
    """
    override = f'qos_overrides.{topic}.{entity}.reliability'
    if not node.has_parameter(override):
        text = 'reliable or best_effort; empty: by the parameter of its name'
        node.declare_parameter(override, '', ParameterDescriptor(description=text, read_only=True))
    wanted = node.get_parameter(override).value
    if not wanted:
        return QoSProfile(depth=depth, reliability=RELIABILITY[name], **UNLIMITED)
    try:
        return QoSProfile(depth=depth, reliability=ReliabilityPolicy[wanted.upper()], **UNLIMITED)
    except KeyError:
        raise SiamFFNError(
            f'{override} is {wanted!r}: set it to "reliable" or "best_effort"'
        ) from None


# ROS could call us when a peer does not fit. While topics and peers come and go, such calls end the
# process now and then (rclpy's events executor, Kilted); `incompatible_peers` reads the graph.
NO_SUBSCRIPTION_EVENTS = SubscriptionEventCallbacks(use_default_callbacks=False)
NO_PUBLISHER_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)


def incompatible_peers(node: Node, topic: str, own: QoSProfile, publishing: bool) -> set[str]:
    """Return the nodes with which nothing is exchanged on a topic, since the qualities do not fit.

    Args:
        topic: the whole, remapped name.
        own: quality of our publisher (`publishing`) or subscription.
    """
    found = set()
    peers = (
        node.get_subscriptions_info_by_topic if publishing else node.get_publishers_info_by_topic
    )
    for peer in peers(topic):
        pair = (own, peer.qos_profile) if publishing else (peer.qos_profile, own)
        if qos_check_compatible(*pair)[0] == QoSCompatibility.ERROR:
            found.add(f'{peer.node_namespace.rstrip("/")}/{peer.node_name}')
    return found
