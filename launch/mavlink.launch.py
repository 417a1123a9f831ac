"""Start a tracker as a MAVLink camera, for QGroundControl and autopilots.

ros2 launch siamffn mavlink.launch.py image_topic:=/camera/image_raw url:=udpin:0.0.0.0:14540
"""

from __future__ import annotations

from launch.action import Action
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from siamffn_ros.dds import profile_environment
from siamffn_ros.launch_utils import (
    MAVLINK_ARGUMENTS,
    NODE_ARGUMENTS,
    Argument,
    declaration,
    mavlink_parameters,
    parameters,
)

ARGUMENTS = {
    'image_topic': Argument('image', 'topic of type sensor_msgs/Image or CompressedImage'),
    'camera_info_topic': Argument('camera_info', 'topic of type sensor_msgs/CameraInfo'),
    'namespace': Argument('', 'namespace of the nodes'),
    **MAVLINK_ARGUMENTS,
    **NODE_ARGUMENTS,
    'console': Argument('false', 'true to start the web console; its address is printed'),
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, set the DDS profile unless one is set, and start the nodes."""
    return LaunchDescription(
        [
            *[
                DeclareLaunchArgument(name, **declaration(argument))
                for name, argument in ARGUMENTS.items()
            ],
            *[SetEnvironmentVariable(*item) for item in profile_environment().items()],
            OpaqueFunction(function=start_nodes),
        ]
    )


def start_nodes(context: LaunchContext) -> list[Action]:
    """Return the actions that start the console, the camera and the tracker node."""
    given = {name: context.launch_configurations[name] for name in ARGUMENTS}
    common = {
        'package': 'siamffn',
        'namespace': LaunchConfiguration('namespace'),
        'output': 'screen',
    }
    logging = {'ros_arguments': ['--log-level', LaunchConfiguration('log_level')]}
    tracker = Node(
        executable='tracker_node',
        name='tracker',
        parameters=parameters(given),
        remappings=[('image', LaunchConfiguration('image_topic'))],
        **logging,
        **common,
    )
    camera = Node(
        executable='mavlink_camera',
        name='mavlink_camera',
        parameters=mavlink_parameters(given),
        remappings=[('camera_info', LaunchConfiguration('camera_info_topic'))],
        **logging,
        **common,
    )
    console = Node(
        executable='console',
        name='console',
        condition=IfCondition(LaunchConfiguration('console')),
        **common,
    )
    return [console, camera, tracker]
