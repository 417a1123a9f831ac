"""Convert the arguments of the launch files to parameters and command lines.

Imports only what ROS itself brings: `ros2 launch` may run in another Python than the node, without
NumPy or PyTorch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from siamffn_model.errors import ConfigError
from siamffn_ros.dds import profile_path

CONFIG = profile_path().parent
BOOLEANS = {'true': True, '1': True, 'false': False, '0': False}
BOOLEAN_PARAMETERS = ('autostart', 'use_sim_time')
STRING_PARAMETERS = ('model', 'weights', 'device', 'image_transport', 'image_qos')
CAMERA = re.compile(r'([A-Za-z_]\w*)=(/?[A-Za-z_]\w*(?:/[A-Za-z_]\w*)*)', re.ASCII)
REPLAY_OPTIONS = {
    'init': '--init-file',
    'params_file': '--params-file',
    'model': '--model',
    'device': '--device',
    'min_success': '--min-success',
}


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

    Arguments that are empty or missing are omitted.
    """
    words = ['bag', 'replay', arguments['bag'], '--output', arguments['out']]
    for name, option in REPLAY_OPTIONS.items():
        if arguments.get(name):
            words += [option, arguments[name]]
    return words
