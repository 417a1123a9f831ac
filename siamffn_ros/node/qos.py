"""QoS profiles by name, with ROS's own `qos_overrides` for the details."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)

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
POLICIES: dict[str, dict[str, Any]] = {  # values of `qos_overrides` by the name of the policy
    'reliability': {
        'reliable': ReliabilityPolicy.RELIABLE,
        'best_effort': ReliabilityPolicy.BEST_EFFORT,
    },
    'durability': {
        'volatile': DurabilityPolicy.VOLATILE,
        'transient_local': DurabilityPolicy.TRANSIENT_LOCAL,
    },
    'history': {'keep_last': HistoryPolicy.KEEP_LAST, 'keep_all': HistoryPolicy.KEEP_ALL},
}
MAX_DEPTH = 10_000

# rclpy could call back on an incompatible QoS. While topics and nodes come and go, such callbacks
# end the process now and then (events executor, Kilted); `incompatible_peers` reads the ROS graph.
NO_SUBSCRIPTION_EVENTS = SubscriptionEventCallbacks(use_default_callbacks=False)
NO_PUBLISHER_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)


def profile(node: Node, topic: str, entity: str, name: str, depth: int) -> QoSProfile:
    """Return the profile with this name, changed as `qos_overrides` says.

    The overrides are declared here and not by rclpy, which would store the first reliability it
    sees in a read-only parameter, after which the name could no longer change.

    Args:
        topic: fully qualified, remapped name.
        entity: 'publisher' or 'subscription'.
        name: a key of RELIABILITY.
        depth: default of the queue's depth.

    Raises `ConfigError` for a value in `qos_overrides` that is not allowed.
    """

    def override(policy: str, default: Any) -> Any:
        return _override(node, override_name(topic, entity, policy), default)

    return QoSProfile(
        depth=override('depth', depth),
        reliability=override('reliability', '') or RELIABILITY[name],
        durability=override('durability', 'volatile'),
        history=override('history', 'keep_last'),
        **UNLIMITED,
    )


def override_name(topic: str, entity: str, policy: str) -> str:
    """Return the name of the parameter that changes a policy of an endpoint."""
    return f'qos_overrides.{topic}.{entity}.{policy}'


def _override(node: Node, name: str, default: Any) -> Any:
    """Return the value of an override, declared at first use; a policy, a depth, or ''."""
    policy = name.rpartition('.')[2]
    choices = POLICIES.get(policy, {})
    allowed = ' or '.join(choices) or f'a whole number from 1 to {MAX_DEPTH}'
    if default == '':
        allowed += '; empty: as image_qos or output_qos says'
    try:
        if not node.has_parameter(name):
            description = f'{policy.capitalize()} of the topic: {allowed}.'
            descriptor = ParameterDescriptor(description=description, read_only=True)
            node.declare_parameter(name, default, descriptor)
        value = node.get_parameter(name).value
    except ParameterException as error:
        raise ConfigError(f'{error}: set it to {allowed}') from error
    if value == default == '':
        return value
    if (choices and value not in choices) or (not choices and not 1 <= value <= MAX_DEPTH):
        raise ConfigError(f'{name} is {value!r}: set it to {allowed}')
    return choices.get(value, value)


def incompatible_peers(node: Node, topic: str, own: QoSProfile, publishing: bool) -> dict[str, str]:
    """Return the names of nodes that exchange nothing with us on a topic, due to their QoS.

    The value of each is the policy: 'reliability', 'durability', or 'deadline or liveliness'.

    Args:
        topic: fully qualified, remapped name.
        own: QoS of our publisher (`publishing`) or of our subscription.
    """
    incompatible = {}
    endpoints = (
        node.get_subscriptions_info_by_topic if publishing else node.get_publishers_info_by_topic
    )
    for peer in endpoints(topic):
        offered, requested = (own, peer.qos_profile) if publishing else (peer.qos_profile, own)
        if qos_check_compatible(offered, requested)[0] == QoSCompatibility.ERROR:
            name = f'{peer.node_namespace.rstrip("/")}/{peer.node_name}'
            incompatible[name] = _incompatible_policy(offered, requested)
    return incompatible


def _incompatible_policy(offered: QoSProfile, requested: QoSProfile) -> str:
    if (requested.reliability, offered.reliability) == (
        ReliabilityPolicy.RELIABLE,
        ReliabilityPolicy.BEST_EFFORT,
    ):
        return 'reliability'
    if (requested.durability, offered.durability) == (
        DurabilityPolicy.TRANSIENT_LOCAL,
        DurabilityPolicy.VOLATILE,
    ):
        return 'durability'
    return 'deadline or liveliness'


def remedy(node: Node, topic: str, policies: Iterable[str], publishing: bool) -> str:
    """Return what to set so that peers with these incompatible policies are served."""
    parts = []
    for policy in sorted(set(policies)):
        if policy == 'deadline or liveliness':
            parts.append('let the peer request neither a deadline nor a liveliness')
            continue
        override = override_name(topic, 'publisher' if publishing else 'subscription', policy)
        own, peer = {
            ('reliability', True): ('reliable', 'request best effort'),
            ('durability', True): ('transient_local', 'request volatile'),
            ('reliability', False): ('best_effort', 'be reliable'),
            ('durability', False): ('volatile', 'be transient_local'),
        }[policy, publishing]
        parameter = f'{override} to {own}'
        if policy == 'reliability' and not node.get_parameter(override).value:
            parameter = 'output_qos to "reliable"' if publishing else 'image_qos to "sensor_data"'
        parts.append(f'set {parameter}, or let the peer {peer}')
    return '; '.join(parts)
