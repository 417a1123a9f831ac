"""What the launch files share: what their arguments mean. Needs neither launch nor PyTorch.

`ros2 launch` may run in another Python than the node, which has only what ROS itself brings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from siamffn_model.errors import ConfigError
from siamffn_ros.dds import profile_path

CONFIG = profile_path().parent
SWITCHES = {'true': True, '1': True, 'false': False, '0': False}
SWITCHED = ('autostart', 'use_sim_time')
TEXTS = ('model', 'weights', 'device', 'image_transport', 'image_qos')
CAMERA = re.compile(r'([A-Za-z_]\w*)=(/?[A-Za-z_]\w*(?:/[A-Za-z_]\w*)*)', re.ASCII)
REPLAY_OPTIONS = {
    'init': '--init-file',
    'params_file': '--params-file',
    'model': '--model',
    'device': '--device',
    'min_success': '--min-success',
}


def parameters(arguments: Mapping[str, str]) -> list[str | dict[str, str | bool]]:
    """Return a node's `parameters`: the file, and over it the arguments that are given.

    Args:
        arguments: launch arguments by name; of those that are parameters of the node, an empty one
            is not given. Others are ignored.

    Raises `ConfigError` for a missing file, which launch itself would leave out, and for a switch
    that is neither true nor false.
    """
    file = arguments['params_file']
    if not Path(file).is_file():
        raise ConfigError(f'params_file {file!r} is no file: give the path of a .yaml file')
    overrides: dict[str, str | bool] = {
        name: arguments[name] for name in TEXTS if arguments.get(name)
    }
    for name in SWITCHED:
        if arguments.get(name):
            overrides[name] = _switch(name, arguments[name])
    return [file, overrides] if overrides else [file]


def _switch(name: str, text: str) -> bool:
    try:
        return SWITCHES[text.lower()]
    except KeyError:
        raise ConfigError(f'{name} is {text!r}: give true or false') from None


def camera_topics(words: Iterable[str]) -> dict[str, str]:
    """Return the topic of each camera, from 'NAME=TOPIC' words.

    Raises `ConfigError` for a word of another form, and a name that is there twice.
    """
    topics: dict[str, str] = {}
    for word in words:
        found = CAMERA.fullmatch(word)
        if not found:
            raise ConfigError(
                f'camera {word!r} is not NAME=TOPIC, such as front=/front/image_raw; a name has '
                'letters, digits and underscores'
            )
        name, topic = found.groups()
        if name in topics:
            raise ConfigError(f'camera {name!r} is there twice: give each a name of its own')
        topics[name] = topic
    return topics


def camera_arguments(cameras: str) -> list[str]:
    """Return the `--camera` arguments of tracker_node for 'NAME=TOPIC NAME=TOPIC ...'.

    Raises `ConfigError` for none at all, and as `camera_topics`.
    """
    words = cameras.split()
    if not camera_topics(words):
        raise ConfigError("cameras is empty: give 'NAME=TOPIC ...', such as front=/front/image_raw")
    return [part for word in words for part in ('--camera', word)]


def replay_arguments(arguments: Mapping[str, str]) -> list[str]:
    """Return the arguments of `siamffn` that replay a bag, from launch arguments by name.

    An empty one is not given, and may be missing.
    """
    words = ['bag', 'replay', arguments['bag'], '--output', arguments['out']]
    for name, option in REPLAY_OPTIONS.items():
        if arguments.get(name):
            words += [option, arguments[name]]
    return words
