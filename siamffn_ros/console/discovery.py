"""The trackers in the ROS graph, their cameras, and how to subscribe to their topics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.node import NodeNameNonExistentError
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from siamffn.msg import TrackStatus
from vision_msgs.msg import Detection2DArray

from siamffn_ros.messages.images import IMAGE_TYPES
from siamffn_ros.node.qos import NO_SUBSCRIPTION_EVENTS, UNLIMITED

INIT_TARGET = 'siamffn/srv/InitTarget'
QUEUE_DEPTH = 30  # messages; a shorter queue loses some when several arrive at once
