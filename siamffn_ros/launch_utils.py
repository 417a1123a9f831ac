"""Convert the arguments of the launch files to parameters and command lines.

Imports only what ROS itself brings: `ros2 launch` may run in another Python than the node, without
NumPy or PyTorch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from siamffn_model.errors import ConfigError
from siamffn_ros.dds import profile_path

CONFIG = profile_path().parent
BOOLEANS = {'true': True, '1': True, 'false': False, '0': False}
BOOLEAN_PARAMETERS = ('autostart', 'use_sim_time')
STRING_PARAMETERS = (
    'model',
    'weights',
    'device',
    'runtime',
    'image_transport',
    'image_qos',
    'output_qos',
)
CAMERA = re.compile(r'([A-Za-z_]\w*)=(/?[A-Za-z_]\w*(?:/[A-Za-z_]\w*)*)', re.ASCII)
NUMBERS = re.compile(r'[-+.,\d\seE]*,[-+.,\d\seE]*')  # of a box, well-formed or not
REPLAY_OPTIONS = {
    'params_file': '--params-file',
    'model': '--model',
    'weights': '--weights',
    'device': '--device',
    'runtime': '--runtime',
    'min_success': '--min-success',
}


class Argument(NamedTuple):
    """A launch argument; without a default it is required.

    An empty value of a parameter of the node keeps that of params_file.
    """

    default: str | None
    description: str
    choices: tuple[str, ...] = ()


MODEL_ARGUMENTS = {
    'params_file': Argument(str(CONFIG / 'tracker.yaml'), 'parameter file of the node'),
    'model': Argument('', 'name of the model'),
    'weights': Argument('', 'a .safetensors file, or a folder written by `siamffn export`'),
    'device': Argument('', 'auto, cpu, cuda, or cuda:N for GPU N'),
    'runtime': Argument(
        '',
        'inference engine',
        ('', 'auto', 'eager', 'torch', 'openvino', 'openvino-f32', 'onnx'),
    ),
}
NODE_ARGUMENTS = {
    'image_transport': Argument(
        '', 'type of the images; auto: the published one', ('', 'auto', 'raw', 'compressed')
    ),
    'image_qos': Argument(
        '', 'reliability of the image subscription', ('', 'sensor_data', 'reliable')
    ),
    **MODEL_ARGUMENTS,
    'output_qos': Argument(
        '', 'reliability of the published topics', ('', 'sensor_data', 'reliable')
    ),
    'use_sim_time': Argument('', 'true to use the time on /clock'),
    'log_level': Argument(
        'info', 'log level of the node', ('debug', 'info', 'warn', 'error', 'fatal')
    ),
}
MAVLINK_ARGUMENTS = {  # parameters of the node mavlink_camera; an empty one keeps the default
    'url': Argument('', 'udpin:HOST:PORT, udpout:HOST:PORT or serial:DEVICE:BAUD'),
    'system_id': Argument('', 'MAVLink system id of the vehicle; empty: that in its heartbeat'),
    'component_id': Argument('', 'MAVLink component id of the camera, 100 to 105'),
    'video_latency': Argument('', 'seconds from an image until the box drawn on it arrives'),
    'video_uri': Argument('', 'address of the video for ground stations, such as rtsp://...'),
    'signing_file': Argument('', 'file with the passphrase of signed messages; empty: unsigned'),
    'gimbal': Argument('', 'off, rates or angles: how the gimbal is turned to the target'),
    'gimbal_autopilot': Argument('', 'ardupilot or px4: what controls the gimbal'),
    'gimbal_max_rate': Argument('', 'largest rate of the gimbal, in rad/s'),
    'field_of_view': Argument('', 'horizontal, in rad; empty: that of camera_info'),
}
MAVLINK_NUMBERS: dict[str, type[int] | type[float]] = {
    'system_id': int,
    'component_id': int,
    'video_latency': float,
    'gimbal_max_rate': float,
    'field_of_view': float,
}


def declaration(argument: Argument) -> dict[str, Any]:
    """Return the keyword arguments of `DeclareLaunchArgument` for an argument."""
    declared = {'default_value': argument.default, 'description': argument.description}
    return {**declared, 'choices': list(argument.choices)} if argument.choices else declared


def parameters(arguments: Mapping[str, str]) -> list[str | dict[str, str | bool]]:
    """Return the `parameters` of a node: the parameter file, then overrides from arguments.

    Args:
        arguments: launch arguments by name. An empty one does not override the file; those that
            are not parameters of the node are ignored.

    Raises `ConfigError` for a missing file, which launch itself would ignore, and for a boolean
    that is neither true nor false.
    """
    file = arguments['params_file']
    if not Path(file).is_file():
        raise ConfigError(f'params_file {file!r} is not a file: give the path of a .yaml file')
    overrides: dict[str, str | bool] = {
        name: arguments[name] for name in STRING_PARAMETERS if arguments.get(name)
    }
    for name in BOOLEAN_PARAMETERS:
        if arguments.get(name):
            overrides[name] = _parse_boolean(name, arguments[name])
    return [file, overrides] if overrides else [file]


def _parse_boolean(name: str, text: str) -> bool:
    try:
        return BOOLEANS[text.lower()]
    except KeyError:
        raise ConfigError(f'{name} is {text!r}: give true or false') from None


def mavlink_parameters(arguments: Mapping[str, str]) -> list[dict[str, str | float]]:
    """Return the `parameters` of the node mavlink_camera: the arguments that are not empty.

    Raises `ConfigError` for a text that is not the number that the parameter needs.
    """
    values: dict[str, str | float] = {}
    if text := arguments.get('use_sim_time'):
        values['use_sim_time'] = _parse_boolean('use_sim_time', text)
    for name in MAVLINK_ARGUMENTS:
        if text := arguments.get(name):
            try:
                values[name] = MAVLINK_NUMBERS[name](text) if name in MAVLINK_NUMBERS else text
            except ValueError:
                raise ConfigError(f'{name} is {text!r}: give a number') from None
    return [values] if values else []


def camera_topics(cameras: Iterable[str]) -> dict[str, str]:
    """Return the topic of each camera by name, from texts 'NAME=TOPIC'.

    Raises `ConfigError` for a text of another form and for a name that is used twice.
    """
    topics: dict[str, str] = {}
    for camera in cameras:
        match = CAMERA.fullmatch(camera)
        if not match:
            raise ConfigError(
                f'camera {camera!r} is not NAME=TOPIC, such as front=/front/image_raw; a name has '
                'letters, digits and underscores'
            )
        name, topic = match.groups()
        if name in topics:
            raise ConfigError(f'camera {name!r} is given twice: give each a name of its own')
        topics[name] = topic
    return topics


def camera_arguments(cameras: str) -> list[str]:
    """Return the `--camera` arguments of tracker_node for a text 'NAME=TOPIC NAME=TOPIC ...'.

    Raises `ConfigError` for an empty text, and the errors of `camera_topics`.
    """
    words = cameras.split()
    if not camera_topics(words):
        raise ConfigError("cameras is empty: give 'NAME=TOPIC ...', such as front=/front/image_raw")
    return [part for word in words for part in ('--camera', word)]


def replay_arguments(arguments: Mapping[str, str]) -> list[str]:
    """Return the arguments of `siamffn` that replay a bag, from launch arguments by name.

    Arguments that are empty or missing are omitted. `init` is a box or a file with one.
    """
    words = ['bag', 'replay', arguments['bag'], '--output', arguments['out']]
    if init := arguments.get('init'):
        words += ['--init' if NUMBERS.fullmatch(init) else '--init-file', init]
    for name, option in REPLAY_OPTIONS.items():
        if arguments.get(name):
            words += [option, arguments[name]]
    return words
