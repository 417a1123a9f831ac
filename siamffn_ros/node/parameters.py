"""The node's parameters: what they mean, what they may be, and when they may change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from siamffn_model.runtimes.selection import RUNTIMES
from siamffn_model.tracking import TrackerSettings
from siamffn_ros.node.qos import RELIABILITY

TRANSPORTS = ('auto', 'raw', 'compressed')
TRACKING = 'tracking.'  # before the names of the tracker's settings


class Parameter(NamedTuple):
    """One parameter.

    Attributes:
        text: its description.
        limits: least and greatest value of a number.
        choices: of a text that may not be anything.
        fixed: read by configure, so that it can only change before.
        start: read once, at the start of the process.
    """

    name: str
    default: Any
    text: str
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    fixed: bool = False
    start: bool = False


SETTINGS = {
    'window_influence': (
        'Weight of the window that prefers places near where the target is expected.',
        1,
    ),
    'penalty_k': ('Weight of the penalty on changes in size and ratio.', 1),
    'lr': ('Share of the new size in the size, in each image.', 1),
    'motion_gain': ('Share of its motion by which the target is looked for farther on.', 1),
    'uncertain_threshold': ('Below this score the target is UNCERTAIN, and keeps its size.', 1),
    'lost_threshold': ('Below this score the target is LOST, and has no box.', 1),
    'reacquire_threshold': ('From this score on an UNCERTAIN or LOST target is TRACKING again.', 1),
    'lost_patience': (
        'So many images after it was lost, "tracking.lost_threshold" is enough at its place.',
        1000,
    ),
    'max_searches': ('Searches an image for a LOST target: what it costs at most.', 32),
}

PARAMETERS = (
    Parameter('autostart', True, 'Configure and activate at start, without a manager.', start=True),
    Parameter('model', 'siamffn_lite0', 'Name of the network.', fixed=True),
    Parameter(
        'weights',
        '',
        'Weight file, or folder that `siamffn export` wrote; empty: the file that ships.',
        fixed=True,
    ),
    Parameter('device', 'auto', '"cpu", "cuda", or "auto": CUDA where there is any.', fixed=True),
    Parameter(
        'runtime',
        'auto',
        'What computes the network; "auto": the quickest that is installed.',
        choices=RUNTIMES,
        fixed=True,
    ),
    Parameter(
        'image_transport',
        'auto',
        'Type of the image topic: "raw" (Image), "compressed" (CompressedImage: jpeg, png), or '
        '"auto": what is published there.',
        choices=TRANSPORTS,
    ),
    Parameter(
        'image_qos',
        'sensor_data',
        '"sensor_data" (best effort) or "reliable"; the newest image wins.',
        choices=tuple(RELIABILITY),
    ),
    Parameter(
        'output_qos',
        'reliable',
        '"reliable" or "sensor_data" (best effort), of all that is published.',
        choices=tuple(RELIABILITY),
        fixed=True,
    ),
    Parameter(
        'image_timeout',
        5.0,
        'Warn when no image came for so many seconds; 0: never.',
        (0.0, 3600.0),
    ),
    Parameter(
        'buffer_seconds', 2.0, 'How long frames are kept for boxes that come late.', (0.0, 60.0)
    ),
    Parameter('buffer_megabytes', 256.0, 'Memory that these frames may take.', (1.0, 65536.0)),
    Parameter('max_targets', 16, 'How many targets are followed at most.', (1, 256)),
    *(
        Parameter(TRACKING + name, default, SETTINGS[name][0], (0, SETTINGS[name][1]))
        for name, default in asdict(TrackerSettings()).items()
    ),
)
BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}


def declare(node: Node) -> None:
    """Declare all parameters; raises rclpy's `ParameterException` for a value that is not fit."""
    for parameter in PARAMETERS:
        descriptor = ParameterDescriptor(description=parameter.text, read_only=parameter.start)
        if parameter.limits:
            low, high = parameter.limits
            if isinstance(parameter.default, int):
                descriptor.integer_range = [
                    IntegerRange(from_value=int(low), to_value=int(high), step=1)
                ]
            else:
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
                ]
        node.declare_parameter(parameter.name, parameter.default, descriptor)


def values_of(node: Node) -> dict[str, Any]:
    """Return the values of all parameters."""
    return {parameter.name: node.get_parameter(parameter.name).value for parameter in PARAMETERS}


def settings_of(values: Mapping[str, Any]) -> TrackerSettings:
    """Return the tracker's settings among the values."""
    found = {name: values[TRACKING + name] for name in asdict(TrackerSettings())}
    return TrackerSettings(**found)


def validate(values: Mapping[str, Any], changed: Iterable[str], configured: bool) -> str:
    """Return why these values may not be set, with what to do instead; empty if they may.

    Args:
        values: all, with the changes.
        changed: names of those that change.
        configured: whether the node has read those that are fixed.
    """
    for name in changed:
        parameter, value = BY_NAME[name], values[name]
        if parameter.fixed and configured:
            return (
                f'{name} is read by configure: clean the node up first '
                '(ros2 lifecycle set NODE deactivate, then cleanup), set it, and configure again'
            )
        if parameter.choices and value not in parameter.choices:
            return f'{name} is {value!r}: set it to {" or ".join(map(repr, parameter.choices))}'
    lost, uncertain, reacquire = (
        values[f'{TRACKING}{name}_threshold'] for name in ('lost', 'uncertain', 'reacquire')
    )
    if not lost <= uncertain <= reacquire:
        return (
            f'tracking.lost_threshold {lost:g}, tracking.uncertain_threshold {uncertain:g} and '
            f'tracking.reacquire_threshold {reacquire:g} must not fall: set them in one call (ros2 '
            'param load, or set_parameters_atomically)'
        )
    return ''
