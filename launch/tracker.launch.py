"""Start the tracker node: ros2 launch siamffn tracker.launch.py image_topic:=/camera/image_raw"""

from __future__ import annotations

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.action import Action
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription

CONFIG = Path(get_package_share_directory('siamffn')) / 'config'
PROFILE_VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')
OVERRIDES = ('model', 'device', 'autostart')


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, set the DDS profile where none is set, start the node."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'image_topic', default_value='image', description='sensor_msgs/Image to follow in'
            ),
            DeclareLaunchArgument(
                'params_file',
                default_value=str(CONFIG / 'tracker.yaml'),
                description='parameters of the node',
            ),
            DeclareLaunchArgument(
                'model', default_value='', description='name of the model; empty: as params_file'
            ),
            DeclareLaunchArgument(
                'device', default_value='', description='auto, cpu, cuda; empty: as params_file'
            ),
            DeclareLaunchArgument(
                'autostart',
                default_value='',
                description='true, or false where a lifecycle manager starts the node; '
                'empty: as params_file',
            ),
            DeclareLaunchArgument('log_level', default_value='info', description='of the node'),
            *dds_profile(),
            OpaqueFunction(function=start_node),
        ]
    )


def dds_profile() -> list[Action]:
    """Let large images through between processes (see config/fastdds.xml)."""
    if any(os.environ.get(name) for name in PROFILE_VARIABLES):
        return []
    old = os.environ.get('ROS_DISTRO') in ('humble', 'iron', 'jazzy')  # Fast DDS 2
    name = PROFILE_VARIABLES[1 if old else 0]
    return [SetEnvironmentVariable(name, str(CONFIG / 'fastdds.xml'))]


def start_node(context: LaunchContext) -> list[Action]:
    """Return the node; an argument that is given overrides the parameter file."""
    given = {name: LaunchConfiguration(name).perform(context) for name in OVERRIDES}
    overrides: dict[str, str | bool] = {name: value for name, value in given.items() if value}
    if 'autostart' in overrides:
        overrides['autostart'] = given['autostart'].lower() in ('true', '1', 'yes')
    return [
        Node(
            package='siamffn',
            executable='tracker_node',
            name='tracker',
            output='screen',
            parameters=[LaunchConfiguration('params_file'), *([overrides] if overrides else [])],
            remappings=[('image', LaunchConfiguration('image_topic'))],
            ros_arguments=['--log-level', LaunchConfiguration('log_level')],
        )
    ]
