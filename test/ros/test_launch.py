"""launch/"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('launch_ros', reason='launch_ros is not installed (no registry has it)')

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    OpaqueFunction,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.events.process import ProcessExited
from launch.utilities import perform_substitutions
from launch_ros.actions import Node

from launch import LaunchContext, LaunchService
from siamffn_ros.dds import FAST_DDS_2, FAST_DDS_3

LAUNCH = Path(__file__).parents[2] / 'launch'
MODEL = {'params_file', 'model', 'weights', 'device', 'runtime'}
NODE = MODEL | {'image_transport', 'image_qos', 'output_qos', 'use_sim_time', 'log_level'}
MAVLINK = {'url', 'system_id', 'component_id', 'video_latency', 'video_uri', 'signing_file'}
MAVLINK |= {'camera_info_topic', 'gimbal', 'gimbal_autopilot', 'gimbal_max_rate', 'field_of_view'}
DECLARED = {
    'tracker': NODE | {'image_topic', 'namespace', 'autostart', 'rviz', 'console'},
    'mavlink': NODE | MAVLINK | {'image_topic', 'namespace', 'console'},
    'multi_camera': NODE | {'cameras'},
    'replay': MODEL | {'bag', 'init', 'out', 'min_success'},
}
REQUIRED = {
    'tracker': {},
    'mavlink': {},
    'multi_camera': {'cameras': 'front=/a rear=/b'},
    'replay': {'bag': 'x'},
}


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which no DDS profile is set."""
    for name in (FAST_DDS_2, FAST_DDS_3):
        monkeypatch.setenv(name, '')
    return monkeypatch


def load(name: str) -> Any:
    path = LAUNCH / f'{name}.launch.py'
    spec = importlib.util.spec_from_file_location('launch_file', path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def visit(name: str, **given: str) -> tuple[list[Any], LaunchContext]:
    """Return the actions of a launch file, and their context."""
    context = LaunchContext()
    context.launch_configurations.update({**REQUIRED[name], **given})
    actions = []
    for entity in load(name).generate_launch_description().entities:
        if isinstance(entity, OpaqueFunction):
            actions += entity.execute(context)
            continue
        if isinstance(entity, (DeclareLaunchArgument, SetEnvironmentVariable)):
            entity.execute(context)
        actions.append(entity)
    enabled = [a for a in actions if a.condition is None or a.condition.evaluate(context)]
    return enabled, context


def processes(actions: list[Any]) -> list[Any]:
    return [action for action in actions if isinstance(action, ExecuteProcess)]


def words(node: Any, context: LaunchContext) -> list[str]:
    """The command of a node, the program left out."""
    node._perform_substitutions(context)
    texts = []
    for part in node.cmd[1:]:
        try:
            texts.append(perform_substitutions(context, part))
        except Exception:  # a placeholder for name or namespace
            texts.append('')
    return texts


@pytest.mark.parametrize('name', DECLARED)
def test_arguments(clean: pytest.MonkeyPatch, name: str) -> None:
    actions, context = visit(name)
    declared = [action for action in actions if isinstance(action, DeclareLaunchArgument)]
    assert {argument.name for argument in declared} == DECLARED[name]
    assert {a.name for a in declared if a.default_value is None} == set(REQUIRED[name])
    assert all(argument.description for argument in declared)
    assert Path(context.launch_configurations['params_file']).is_file()


@pytest.mark.parametrize('argument', ['runtime', 'image_transport', 'image_qos', 'log_level'])
def test_values_that_are_no_choice_are_refused(clean: pytest.MonkeyPatch, argument: str) -> None:
    with pytest.raises(RuntimeError, match=f'"{argument}" provided value "loud" is not valid'):
        visit('tracker', **{argument: 'loud'})


@pytest.mark.parametrize('name', ['tracker', 'mavlink', 'multi_camera'])
@pytest.mark.parametrize('profile', ['', '/my/own.xml'])
def test_dds_profile(clean: pytest.MonkeyPatch, name: str, profile: str) -> None:
    clean.setenv(FAST_DDS_2, profile)
    actions, _ = visit(name)
    assert sum(isinstance(a, SetEnvironmentVariable) for a in actions) == (0 if profile else 1)


def test_tracker(clean: pytest.MonkeyPatch) -> None:
    actions, context = visit('tracker', image_topic='/camera', device='cpu', namespace='left')
    (node,) = processes(actions)
    arguments = words(node, context)
    assert node.node_package == 'siamffn' and node.node_executable == 'tracker_node'
    assert node.node_name == '/left/tracker'
    assert 'image:=/camera' in arguments and arguments[arguments.index('--log-level') + 1] == 'info'
    assert arguments.count('--params-file') == 2, "the user's file, then the overrides"
    overrides = Path(arguments[len(arguments) - arguments[::-1].index('--params-file')])
    assert '/left/tracker:' in overrides.read_text() and 'device: cpu' in overrides.read_text()


def test_tracker_with_rviz(clean: pytest.MonkeyPatch) -> None:
    actions, context = visit('tracker', rviz='true', namespace='left')
    rviz, _ = processes(actions)  # first, since launch leaves a node behind if RViz is missing
    arguments = words(rviz, context)
    assert rviz.node_name == '/left/rviz'
    assert '/tracker/debug_image:=tracker/debug_image' in arguments, 'relative: in the namespace'
    assert Path(arguments[arguments.index('-d') + 1]).name == 'tracker.rviz'


def test_tracker_with_console(clean: pytest.MonkeyPatch) -> None:
    actions, context = visit('tracker', console='true', namespace='left')
    console, tracker = processes(actions)
    words(console, context)
    assert (console.node_package, console.node_executable) == ('siamffn', 'console')
    assert console.node_name == '/left/console'
    assert tracker.node_executable == 'tracker_node'


def test_mavlink(clean: pytest.MonkeyPatch) -> None:
    given = {'namespace': 'left', 'video_latency': '1', 'component_id': '101', 'console': 'true'}
    given |= {'use_sim_time': 'true', 'log_level': 'debug', 'gimbal': 'off'}
    actions, context = visit('mavlink', image_topic='/camera', **given)
    console, camera, tracker = processes(actions)
    arguments = words(camera, context)
    assert (camera.node_executable, camera.node_name) == ('mavlink_camera', '/left/mavlink_camera')
    overrides = Path(arguments[arguments.index('--params-file') + 1]).read_text()
    assert 'video_latency: 1.0' in overrides and 'component_id: 101' in overrides
    assert 'url' not in overrides
    assert 'use_sim_time: true' in overrides and "gimbal: 'off'" in overrides
    assert arguments[arguments.index('--log-level') + 1] == 'debug'
    assert 'image:=/camera' in words(tracker, context)
    assert (tracker.node_name, console.node_executable) == ('/left/tracker', 'console')


def test_cameras_share_a_process(clean: pytest.MonkeyPatch) -> None:
    actions, context = visit('multi_camera')
    (node,) = processes(actions)
    arguments = words(node, context)
    assert arguments[:5] == ['--camera', 'front=/a', '--camera', 'rear=/b', '--ros-args']
    assert not any('__node' in word for word in arguments), 'each keeps its name'
    assert arguments.count('--params-file') == 1


def test_replay(clean: pytest.MonkeyPatch) -> None:
    actions, context = visit('replay', min_success='0.5', params_file='p')
    (process,) = processes(actions)
    assert not isinstance(process, Node)
    arguments = [perform_substitutions(context, part) for part in process.cmd[1:]]
    assert arguments[:5] == ['bag', 'replay', 'x', '--output', 'out/replay']
    assert arguments[5:] == ['--params-file', 'p', '--min-success', '0.5']


@pytest.mark.parametrize('code', [0, 1])
def test_end_of_the_replay(clean: pytest.MonkeyPatch, code: int) -> None:
    """In a real launch: its exit code is 1 where that of the process is not 0."""
    module = load('replay')
    program = f'import sys, time; sys.exit({code})'
    process = ExecuteProcess(cmd=[sys.executable, '-c', program], on_exit=module.end)
    asleep = ExecuteProcess(cmd=['sleep', '600'])
    service = LaunchService()
    service.include_launch_description(module.LaunchDescription([asleep, process]))
    assert service.run() == code


def test_end_shuts_down(clean: pytest.MonkeyPatch) -> None:
    event = ProcessExited(returncode=0, action=None, name='x', cmd=[], cwd=None, env=None, pid=1)
    (action,) = load('replay').end(event, LaunchContext())
    assert isinstance(action, Shutdown)
