"""Quality of service by name, with ROS's own `qos_overrides` for the details."""

from __future__ import annotations

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from siamffn_model.errors import SiamFFNError

RELIABILITY = {
    'sensor_data': ReliabilityPolicy.BEST_EFFORT,
    'reliable': ReliabilityPolicy.RELIABLE,
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
        return QoSProfile(depth=depth, reliability=RELIABILITY[name])
    try:
        return QoSProfile(depth=depth, reliability=ReliabilityPolicy[wanted.upper()])
    except KeyError:
        raise SiamFFNError(
            f'{override} is {wanted!r}: set it to "reliable" or "best_effort"'
        ) from None
