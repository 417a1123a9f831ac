"""siamffn_ros/launch_utils.py"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from siamffn_model.errors import ConfigError
from siamffn_ros.launch_utils import (
    BOOLEAN_PARAMETERS,
    MAVLINK_ARGUMENTS,
    NODE_ARGUMENTS,
    STRING_PARAMETERS,
    camera_arguments,
    declaration,
    mavlink_parameters,
    parameters,
    replay_arguments,
)


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A parameter file."""
    path = tmp_path / 'params.yaml'
    path.touch()
    return str(path)


def test_empty_arguments_do_not_override_the_file(file: str) -> None:
    given = {'params_file': file, 'model': '', 'autostart': '', 'image_topic': '/camera'}
    assert parameters(given) == [file]


def test_given_arguments_override_the_file(file: str) -> None:
    given = {
        'params_file': file,
        'image_topic': '/camera',
        'image_transport': 'compressed',
        'image_qos': 'reliable',
        'model': '1',
        'weights': 'x.safetensors',
        'device': 'cpu',
        'runtime': 'onnx',
        'output_qos': 'sensor_data',
        'autostart': 'False',
        'use_sim_time': 'true',
        'log_level': 'info',
    }
    overrides = {
        'image_transport': 'compressed',
        'image_qos': 'reliable',
        'model': '1',
        'weights': 'x.safetensors',
        'device': 'cpu',
        'runtime': 'onnx',
        'output_qos': 'sensor_data',
        'autostart': False,
        'use_sim_time': True,
    }
    assert parameters(given) == [file, overrides]


def test_missing_file_is_refused(tmp_path: Path) -> None:
    message = r"params_file '.*nowhere\.yaml' is not a file: give the path"
    with pytest.raises(ConfigError, match=message):
        parameters({'params_file': str(tmp_path / 'nowhere.yaml')})


def test_invalid_boolean_is_refused(file: str) -> None:
    with pytest.raises(ConfigError, match="use_sim_time is 'maybe': give true or false"):
        parameters({'params_file': file, 'use_sim_time': 'maybe'})


def test_each_camera_is_a_pair() -> None:
    assert camera_arguments(' front=/front/image_raw  rear_2=rear/image ') == [
        '--camera', 'front=/front/image_raw', '--camera', 'rear_2=rear/image',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ('cameras', 'error'),
    [
        (' ', r"cameras is empty: give 'NAME=TOPIC \.\.\.'"),
        ('/front/image_raw', "'/front/image_raw' is not NAME=TOPIC"),
        ('front=/a rear=', "'rear=' is not NAME=TOPIC"),
        ('=/a', "'=/a' is not NAME=TOPIC"),
        ('1st=/a', "'1st=/a' is not NAME=TOPIC"),
        ('front=/a rear=/b front=/c', "'front' is given twice"),
        ('front=/a,rear=/b', 'is not NAME=TOPIC'),
    ],
)
def test_invalid_cameras_are_refused(cameras: str, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        camera_arguments(cameras)


def test_replay_arguments() -> None:
    given = {'bag': 'x.mcap', 'out': 'y', 'init': '', 'model': '', 'min_success': '0.5'}
    words = ['bag', 'replay', 'x.mcap', '--output', 'y', '--min-success', '0.5']
    assert replay_arguments(given) == words


@pytest.mark.parametrize(
    ('init', 'option'),
    [
        ('64,34.5,51,68', '--init'),
        ('-5, 34, 5e1, 68', '--init'),
        ('1,2,3', '--init'),
        ('box.txt', '--init-file'),
        ('/data/1,2/box', '--init-file'),
    ],
)
def test_init_of_the_replay_is_a_box_or_a_file(init: str, option: str) -> None:
    words = replay_arguments({'bag': 'x.mcap', 'out': 'y', 'init': init})
    assert words[5:] == [option, init]


def test_choices_are_those_of_the_parameters() -> None:
    from siamffn_ros.node.parameters import BY_NAME

    for name, argument in NODE_ARGUMENTS.items():
        if name in STRING_PARAMETERS:
            assert argument.choices == (
                ('', *BY_NAME[name].choices) if BY_NAME[name].choices else ()
            )
    not_parameters = {'params_file', 'log_level'}
    assert NODE_ARGUMENTS.keys() - not_parameters == {*STRING_PARAMETERS, *BOOLEAN_PARAMETERS} - {
        'autostart'
    }


def test_declarations_have_choices_only_where_there_are_some() -> None:
    assert declaration(NODE_ARGUMENTS['image_qos'])['choices'] == ['', 'sensor_data', 'reliable']
    assert 'choices' not in declaration(NODE_ARGUMENTS['device'])


def test_replay_arguments_are_accepted_by_the_command(tmp_path: Path) -> None:
    """The command accepts all of them: the error is about the missing bag."""
    from click.testing import CliRunner

    from siamffn_model.cli.main import main as siamffn

    (tmp_path / 'params.yaml').touch()
    given = {
        'bag': str(tmp_path / 'nowhere.mcap'),
        'out': str(tmp_path / 'out'),
        'init': '1,2,3,4',
        'weights': 'w',
        'runtime': 'auto',
        'params_file': str(tmp_path / 'params.yaml'),
        'model': 'm',
        'device': 'cpu',
        'min_success': '0.5',
    }
    result = CliRunner().invoke(siamffn, replay_arguments(given))
    assert result.exit_code == 2 and 'nowhere.mcap does not exist' in result.output


def test_launch_files_need_only_what_ros_brings() -> None:
    """`ros2 launch` runs in the system's Python, the node in that of a virtual environment."""
    code = (
        'import siamffn_ros.dds, siamffn_ros.launch_utils, sys; '
        'print(*{"torch", "cv2", "numpy", "click", "rosbags", "tqdm"} & sys.modules.keys())'
    )
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == []


def test_mavlink_parameters_have_the_types_of_the_node() -> None:
    pytest.importorskip('pymavlink', reason='extra [mavlink] not installed')
    from siamffn_ros.mavlink.node import PARAMETERS

    given = dict.fromkeys(MAVLINK_ARGUMENTS, '')
    assert mavlink_parameters(given) == []
    given |= {'system_id': '2', 'component_id': '101', 'video_latency': '1', 'url': 'udpout:a:1'}
    sim_time = {'use_sim_time': 'true'}
    assert mavlink_parameters(sim_time) == [{'use_sim_time': True}]
    (values,) = mavlink_parameters({**given, 'image_topic': '/camera'})
    assert values == {
        'url': 'udpout:a:1',
        'system_id': 2,
        'component_id': 101,
        'video_latency': 1.0,
    }
    assert all(type(value) is type(PARAMETERS[name][0]) for name, value in values.items())
    assert given.keys() | {'tracker'} <= PARAMETERS.keys()
    for name in ('component_id', 'video_latency'):
        with pytest.raises(ConfigError, match=f'{name} is .x.: give a number'):
            mavlink_parameters({**given, name: 'x'})
