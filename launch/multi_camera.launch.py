"""Start a tracker node /NAME/tracker for each camera, all in one process.

ros2 launch siamffn multi_camera.launch.py cameras:='front=/front/image_raw rear=/rear/image_raw'
"""

from __future__ import annotations

from launch.action import Action
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from siamffn_ros.dds import profile_environment
from siamffn_ros.launch_utils import (
    NODE_ARGUMENTS,
    Argument,
    camera_arguments,
    declaration,
    parameters,
)

ARGUMENTS = {
    'cameras': Argument(None, 'NAME=TOPIC of each camera, separated by spaces'),
    **NODE_ARGUMENTS,
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, set the DDS profile unless one is set, and start the process."""
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
    """Return the action that starts all nodes."""
    given = {name: context.launch_configurations[name] for name in ARGUMENTS}
    return [
        Node(
            package='siamffn',
            executable='tracker_node',
            output='screen',
            arguments=camera_arguments(given['cameras']),
            parameters=parameters(given),
            ros_arguments=['--log-level', LaunchConfiguration('log_level')],
        )
    ]
