"""Play a bag into a tracker node, evaluate its detections, and fail if success is too low.

ros2 launch siamffn replay.launch.py bag:=clip.mcap min_success:=0.5
"""

from __future__ import annotations

from launch.action import Action
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, Shutdown
from launch.events.process import ProcessExited
from launch_ros.substitutions import ExecutableInPackage

from launch import LaunchContext, LaunchDescription
from siamffn_ros.launch_utils import MODEL_ARGUMENTS, Argument, declaration, replay_arguments

ARGUMENTS = {
    'bag': Argument(None, '.mcap or .db3 file, or rosbag2 folder, with images on one topic'),
    'init': Argument(
        '',
        'x,y,w,h in pixels of the first image, or a text file with it in its first row; without: '
        '/ground_truth of the bag',
    ),
    'out': Argument('out/replay', 'folder for detections.mcap, node.log and summary.json'),
    **MODEL_ARGUMENTS,
    'min_success': Argument('', 'fail if success against /ground_truth is lower; without: never'),
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the replay."""
    return LaunchDescription(
        [
            *[
                DeclareLaunchArgument(name, **declaration(argument))
                for name, argument in ARGUMENTS.items()
            ],
            OpaqueFunction(function=start_replay),
        ]
    )


def start_replay(context: LaunchContext) -> list[Action]:
    """Return the action; not a `Node`, as `siamffn` does not accept ROS arguments."""
    given = {name: context.launch_configurations[name] for name in ARGUMENTS}
    program = ExecutableInPackage(package='siamffn', executable='siamffn')
    return [ExecuteProcess(cmd=[program, *replay_arguments(given)], output='screen', on_exit=end)]


def end(event: ProcessExited, context: LaunchContext) -> list[Action]:
    """Shut down; an exception makes `ros2 launch` exit with status 1."""
    if event.returncode:
        raise RuntimeError(
            f'the replay ended with exit code {event.returncode}: see its messages above'
        )
    return [Shutdown(reason='the replay has finished')]
