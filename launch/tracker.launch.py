"""Start the tracker node: ros2 launch siamffn tracker.launch.py image_topic:=/camera/image_raw"""

from __future__ import annotations

from launch.action import Action
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from siamffn_ros.dds import profile_environment
from siamffn_ros.launch_utils import CONFIG, NODE_ARGUMENTS, Argument, declaration, parameters

ARGUMENTS = {
    'image_topic': Argument('image', 'topic of type sensor_msgs/Image or CompressedImage'),
    'namespace': Argument('', 'namespace of the node'),
    **NODE_ARGUMENTS,
    'autostart': Argument('', 'true, or false if a lifecycle manager starts the node'),
    'rviz': Argument('false', 'true to show the debug image in RViz'),
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
    """Return the actions that start RViz, the console and the node.

    RViz comes first: launch does not stop a node that is already running if RViz is missing.
    """
    given = {name: context.launch_configurations[name] for name in ARGUMENTS}
    tracker = Node(
        package='siamffn',
        executable='tracker_node',
        name='tracker',
        namespace=LaunchConfiguration('namespace'),
        output='screen',
        parameters=parameters(given),
        remappings=[('image', LaunchConfiguration('image_topic'))],
        ros_arguments=['--log-level', LaunchConfiguration('log_level')],
    )
    rviz = Node(
        package='rviz2',
        executable='rviz2',
        name='rviz',
        namespace=LaunchConfiguration('namespace'),
        arguments=['-d', str(CONFIG / 'tracker.rviz')],
        # relative, so that it is in the namespace
        remappings=[('/tracker/debug_image', 'tracker/debug_image')],
        condition=IfCondition(LaunchConfiguration('rviz')),
    )
    console = Node(
        package='siamffn',
        executable='console',
        name='console',
        namespace=LaunchConfiguration('namespace'),
        output='screen',
        condition=IfCondition(LaunchConfiguration('console')),
    )
    return [rviz, console, tracker]
