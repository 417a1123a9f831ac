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
from siamffn_ros.launch_utils import CONFIG, camera_arguments, parameters

ARGUMENTS = {  # name: (default, description); an empty one does not override params_file
    'cameras': (None, 'NAME=TOPIC of each camera, separated by spaces'),
    'image_transport': ('', 'auto, raw or compressed'),
    'image_qos': ('', 'sensor_data (best effort) or reliable'),
    'params_file': (str(CONFIG / 'tracker.yaml'), 'parameter file of the nodes'),
    'model': ('', 'name of the model'),
    'device': ('', 'auto, cpu or cuda'),
    'use_sim_time': ('', 'true to use the time on /clock'),
    'log_level': ('info', 'log level of the nodes'),
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, set the DDS profile unless one is set, and start the process."""
    return LaunchDescription(
        [
            *[
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
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
