"""The node's parameters: their descriptions, allowed values, and when they may change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, NamedTuple

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node

from siamffn_model.errors import ConfigError
from siamffn_model.networks.names import DEFAULT_MODEL
from siamffn_model.runtimes.selection import RUNTIMES
from siamffn_model.tracking.settings import RANGES, TrackerSettings
from siamffn_ros.descriptors import parameter_descriptor
from siamffn_ros.node.qos import RELIABILITY

PARAMETERS_OF_ROS = ('use_sim_time', 'start_type_description_service')
TRACKING = 'tracking.'  # prefix of the tracker's settings


TYPES = {bool: 'true or false', int: 'a whole number', float: 'a decimal number', str: 'a text'}


class Parameter(NamedTuple):
    """Declaration of one parameter.

    Attributes:
        limits: smallest and largest value of a number.
        choices: allowed values of a string; empty if any is allowed.
        read_by_configure: whether it can change only while the node is unconfigured.
        read_at_start: whether it is read once, when the process starts.
    """

    name: str
    default: Any
    description: str
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    read_by_configure: bool = False
    read_at_start: bool = False

    @property
    def allowed(self) -> str:
        """The allowed values; empty if any of the type is."""
        if self.limits:
            return f'{TYPES[type(self.default)]} from {self.limits[0]:g} to {self.limits[1]:g}'
        return ' or '.join(map(repr, self.choices))

    @property
    def constraints(self) -> str:
        """The allowed values, and when they may change; empty if any may at any time."""
        when = {
            self.read_at_start: 'read at the start of the process',
            self.read_by_configure: 'read by configure: can change while the node is unconfigured',
        }.get(True, '')
        return '; '.join(filter(None, [self.allowed, when]))

    @property
    def descriptor(self) -> ParameterDescriptor:
        """The descriptor with which the node declares it."""
        return parameter_descriptor(
            self.default,
            self.description,
            self.limits,
            additional_constraints=self.constraints,
            read_only=self.read_at_start,
        )


def _parameter(default: Any, description: str, **options: Any) -> Any:
    return field(default=default, metadata={'description': description, **options})


@dataclass(frozen=True)
class NodeParameters:
    """The values of all parameters; `tracking` holds those with the prefix `tracking.`."""

    autostart: bool = _parameter(
        True, 'Configure and activate at start, without a lifecycle manager.', read_at_start=True
    )
    model: str = _parameter(DEFAULT_MODEL, 'Name of the network.', read_by_configure=True)
    weights: str = _parameter(
        '',
        'Weight file, or folder written by `siamffn export`; empty: the weights that ship.',
        read_by_configure=True,
    )
    device: str = _parameter(
        'auto',
        '"cpu", "cuda", "cuda:N" for GPU N, or "auto": CUDA if available.',
        read_by_configure=True,
    )
    runtime: str = _parameter(
        'auto',
        'Inference engine; "auto": the fastest that is installed.',
        choices=RUNTIMES,
        read_by_configure=True,
    )
    output_qos: str = _parameter(
        'reliable',
        'QoS of all published topics: "reliable" or "sensor_data" (best effort).',
        choices=tuple(RELIABILITY),
        read_by_configure=True,
    )
    image_transport: str = _parameter(
        'auto',
        'Type of the image topic: "raw" (Image), "compressed" (CompressedImage: JPEG or PNG), or '
        '"auto": the type that is published.',
        choices=('auto', 'raw', 'compressed'),
    )
    image_qos: str = _parameter(
        'sensor_data',
        'QoS of the image subscription: "sensor_data" (best effort) or "reliable"; the newest '
        'image is tracked in both.',
        choices=tuple(RELIABILITY),
    )
    image_timeout: float = _parameter(
        5.0,
        'Seconds without an image after which a warning is logged; 0: never.',
        limits=(0.0, 3600.0),
    )
    buffer_seconds: float = _parameter(
        10.0, 'Seconds for which frames are kept for boxes that arrive late.', limits=(0.0, 60.0)
    )
    buffer_megabytes: float = _parameter(
        256.0, 'Megabytes that these frames may use.', limits=(1.0, 65536.0)
    )
    clip_boxes: bool = _parameter(
        True, 'Clip the boxes of detections to the image; false: the complete target.'
    )
    max_targets: int = _parameter(16, 'Maximum number of targets.', limits=(1, 256))
    tracking: TrackerSettings = field(default_factory=TrackerSettings)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> NodeParameters:
        """Return the parameters with these values by name; all must be present.

        Raises `ConfigError` for a setting of the tracker outside its range.
        """
        settings = {name: values[TRACKING + name] for name in asdict(TrackerSettings())}
        own = {item.name: values[item.name] for item in fields(cls) if item.name != 'tracking'}
        return cls(**own, tracking=TrackerSettings(**settings))


TRACKING_DESCRIPTIONS = {
    'window_influence': 'Weight of the Hanning window around the expected position.',
    'penalty_k': 'Weight of the penalty on changes of size and aspect ratio.',
    'lr': 'Learning rate of the size: weight of the new size in each image.',
    'motion_gain': 'Fraction of its smoothed motion by which the search is moved ahead.',
    'uncertain_threshold': 'Below this score a target is UNCERTAIN, and keeps its size; at least '
    '"tracking.lost_threshold" is used.',
    'lost_threshold': 'Below this score a target is LOST, and has no box.',
    'reacquire_threshold': 'From this score on an UNCERTAIN or LOST target is TRACKING again; at '
    'least "tracking.uncertain_threshold" is used.',
    'lost_patience': 'Number of images after a loss in which "tracking.lost_threshold" is enough '
    'to reacquire the target at its last position.',
    'max_searches': 'Maximum number of searches per image for a LOST target.',
}

PARAMETERS = (
    *(
        Parameter(item.name, item.default, **item.metadata)
        for item in fields(NodeParameters)
        if item.default is not MISSING
    ),
    *(
        Parameter(TRACKING + name, default, TRACKING_DESCRIPTIONS[name], RANGES[name])
        for name, default in asdict(TrackerSettings()).items()
    ),
)
BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}


def declare(node: Node) -> None:
    """Declare all parameters; raises `ConfigError` for a value that is not allowed."""
    for parameter in PARAMETERS:
        try:
            node.declare_parameter(parameter.name, parameter.default, parameter.descriptor)
        except ParameterException as error:
            allowed = parameter.allowed or TYPES[type(parameter.default)]
            raise ConfigError(f'{error}: set {parameter.name} to {allowed}') from error


def unknown(overrides: Iterable[str]) -> list[str]:
    """Return the names among these that are neither parameters of this node nor of ROS itself."""
    return sorted(
        name
        for name in overrides
        if name not in BY_NAME
        and name not in PARAMETERS_OF_ROS
        and not name.startswith('qos_overrides.')
    )


def read(node: Node, changes: Mapping[str, Any] | None = None) -> NodeParameters:
    """Return the node's parameters, with `changes` by name in place of the current values."""
    values = {parameter.name: node.get_parameter(parameter.name).value for parameter in PARAMETERS}
    return NodeParameters.from_values({**values, **(changes or {})})


def validate(parameters: NodeParameters, changed: Iterable[str], configured: bool) -> str:
    """Return why these values are not allowed and what to do; empty if they are.

    Args:
        parameters: all values, with the changes.
        changed: names of the parameters that change.
        configured: whether configure has already read those that it reads.
    """
    for name in changed:
        declared = BY_NAME[name]
        if declared.read_by_configure and configured:
            return (
                f'{name} is read by configure: clean the node up first '
                '(ros2 lifecycle set NODE deactivate, then cleanup), set it, and configure again'
            )
        if declared.choices and (value := getattr(parameters, name)) not in declared.choices:
            return f'{name} is {value!r}: set it to {declared.allowed}'
    return ''


def threshold_correction(settings: TrackerSettings) -> str:
    """Return which thresholds are used instead of those that are not in order; empty if none.

    Thresholds may be out of order, since `ros2 param set` and `ros2 param load` change one
    parameter after the other.
    """
    used = asdict(settings.ordered)
    changes = [
        f'{TRACKING}{name} {value:g} is used as {used[name]:g}'
        for name, value in asdict(settings).items()
        if value != used[name]
    ]
    if not changes:
        return ''
    return (
        f'{" and ".join(changes)}: lost_threshold <= uncertain_threshold <= reacquire_threshold '
        'must hold'
    )
