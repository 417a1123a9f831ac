"""Play a bag into a tracker node, evaluate its detections, and fail if success is too low.

ros2 launch siamffn replay.launch.py bag:=clip.mcap min_success:=0.5
"""

from __future__ import annotations

from launch.action import Action
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, Shutdown
from launch.events.process import ProcessExited
from launch_ros.substitutions import ExecutableInPackage

from launch import LaunchContext, LaunchDescription
from siamffn_ros.launch_utils import CONFIG, replay_arguments

ARGUMENTS = {  # name: (default, description); an empty one does not override params_file
    'bag': (None, '.mcap or .db3 file, or rosbag2 folder, with images on one topic'),
    'init': ('', 'text file with x,y,w,h in its first row; empty: /ground_truth of the bag'),
    'out': ('out/replay', 'folder for detections.mcap, node.log and summary.json'),
    'params_file': (str(CONFIG / 'tracker.yaml'), 'parameter file of the node'),
    'model': ('', 'name of the model'),
    'device': ('', 'auto, cpu or cuda'),
    'min_success': ('', 'fail if success against /ground_truth is lower; empty: never'),
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the replay."""
    return LaunchDescription(
        [
            *[
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
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
