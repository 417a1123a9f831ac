"""Tests of how a node of siamffn_ros/node starts, changes its lifecycle state and ends."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from siamffn.srv import InitTarget
from std_msgs.msg import Header
from std_srvs.srv import SetBool
from vision_msgs.msg import Detection2D

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import ConfigError, ImageError
from siamffn_model.live.frame_buffer import Frame
from siamffn_model.live.shared_runtime import load_shared
from siamffn_model.networks.names import DEFAULT_MODEL
from siamffn_model.tracking import State
from siamffn_ros.messages.images import to_image
from siamffn_ros.node import publishers
from siamffn_ros.node.main import main, make_nodes
from siamffn_ros.node.parameters import unknown
from siamffn_ros.node.tracker_node import TrackerNode

if TYPE_CHECKING:
    from conftest import NodeProcess, Peer

SECOND = 10**9
DEPTH = 'qos_overrides./image.subscription.depth'
CONFIG = Path(__file__).parents[3] / 'config'


@pytest.fixture(scope='module')
def local_node() -> Iterator[TrackerNode]:
    """Return a node in this process and in the namespace /local; no executor spins it.

    It is one for all tests: Fast DDS can wait for ever when the garbage collector frees a node
    while another is made.
    """
    options = SignalHandlerOptions.NO
    rclpy.init(args=['--ros-args', '-r', '__ns:=/local'], signal_handler_options=options)
    node = TrackerNode()
    yield node
    node.close()
    node.destroy_node()
    rclpy.shutdown()


def test_parameter_file_has_the_defaults(local_node: TrackerNode) -> None:
    values = yaml.safe_load((CONFIG / 'tracker.yaml').read_text())['/**']['ros__parameters']
    tracking = values.pop('tracking')
    values |= {f'tracking.{name}': value for name, value in tracking.items()}
    for name, value in values.items():
        assert local_node.get_parameter(name).value == value, name
        assert local_node.describe_parameter(name).description
    of_every_node = {'use_sim_time', 'start_type_description_service'}
    assert set(local_node._parameters) - of_every_node == set(values)


def test_debug_image_is_only_built_for_subscribers(
    local_node: TrackerNode,
    weights: Path,
    clip: Scene,
    monkeypatch: pytest.MonkeyPatch,
    until: Callable[..., Any],
) -> None:
    local_node.set_parameters([Parameter('weights', value=str(weights))])
    local_node.trigger_configure()
    local_node.trigger_activate()
    built: list[int] = []

    def record_and_convert(image: Any, header: Header) -> Any:
        built.append(1)
        return to_image(image, header)

    monkeypatch.setattr(publishers, 'to_image', record_and_convert)
    frame = Frame(1, lambda: clip.images[0], 1, Header())
    assert local_node._configured
    local_node._configured.publishers.publish(frame, (), clip=True)
    assert not built
    local_node.create_subscription(Image, '~/debug_image', print, 1)
    until(lambda: local_node.count_subscribers('/local/tracker/debug_image'), 'the subscription')
    local_node._configured.publishers.publish(frame, (), clip=True)
    assert built


@pytest.mark.parametrize('error', [ImageError('cut off'), ValueError('broken')])
def test_frame_errors_are_counted_by_their_kind(local_node: TrackerNode, error: Exception) -> None:
    """An image that cannot be decoded is skipped; anything else is a failure of tracking."""
    local_node._statistics.reset()
    local_node._on_frame_error(error)
    kind = 'bad' if isinstance(error, ImageError) else 'failed'
    assert local_node._statistics.total == {kind: 1}


def test_an_internal_error_is_counted_by_the_service_and_by_the_topic(
    local_node: TrackerNode, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(*_: object) -> Future[str]:
        future: Future[str] = Future()
        future.set_exception(ZeroDivisionError('boom'))
        return future

    if not local_node._configured:
        local_node.set_parameters([Parameter('weights', value=str(weights))])
        local_node.trigger_configure()
    if not local_node._active:
        local_node.trigger_activate()
    local_node._statistics.reset()
    assert local_node._configured
    monkeypatch.setattr(local_node._configured.pipeline, 'init', init)
    local_node._target_services.on_init_box(Detection2D())
    assert local_node._statistics.total['failed'] == 1
    coroutine = local_node._target_services.on_init_target(
        InitTarget.Request(), InitTarget.Response()
    )
    with pytest.raises(StopIteration) as finished:  # carries what the coroutine returns
        while True:
            coroutine.send(None)
    response = finished.value.value
    assert not response.success
    assert "internal error: ZeroDivisionError('boom')" in response.message
    assert local_node._statistics.total['failed'] == 2


def test_the_node_uses_the_model_that_cameras_share(local_node: TrackerNode, weights: Path) -> None:
    if not local_node._configured:
        local_node.set_parameters([Parameter('weights', value=str(weights))])
        local_node.trigger_configure()
    assert local_node._configured
    shared = load_shared(DEFAULT_MODEL, weights, 'auto', 'auto')
    assert shared is local_node._configured.pipeline.model


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGHUP])
def test_the_node_ends_cleanly_on_a_signal(
    start_node: Callable[..., NodeProcess], peer: Peer, clip: Scene, number: signal.Signals
) -> None:
    """For SIGTERM see `test_several_cameras_share_a_process`."""
    node = start_node()
    peer.wait_for_node()
    peer.track(clip.images[0], SECOND)
    peer.init(clip.boxes[0])
    peer.track(clip.images[1], 2 * SECOND)
    assert node.end(number) == 0
    assert 'Traceback' not in node.log_text() and 'ERROR' not in node.log_text()


def test_arguments_that_prevent_the_start_are_reported(
    start_node: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    """The nodes start at the same time, because each start takes seconds."""
    messages = {
        start_node(buffer_seconds=-1.0): (
            'buffer_seconds',
            'out of range',
            'decimal number from 0 to 60',
        ),
        start_node(image_timeout='soon'): (
            'image_timeout',
            'expecting type',
            'decimal number from 0 to 3600',
        ),
        start_node(weights=tmp_path / 'absent.safetensors'): ('absent.safetensors', 'missing'),
        start_node(**{'qos_overrides./image.subscription.depth': -3}): (
            'is -3: set it to a whole',
        ),
        start_node(**{'tracking.window': 1, 'model': 'yolo'}): (
            'unknown parameters are ignored: tracking.window',
            'contains siamffn_lite0_s16, not yolo',
        ),
        start_node(arguments=['--camera', 'front']): ("'front' is not NAME=TOPIC",),
    }
    for node, texts in messages.items():
        assert node.process.wait(40) == 1
        assert all(text in node.log_text() for text in texts), node.log_text()
        assert 'Traceback' not in node.log_text()


@pytest.mark.parametrize(
    ('arguments', 'error'),
    [
        ('-p foo', "'-p foo' is not a parameter override rule: give -p NAME:=VALUE"),
        ('-r image:=/a//b', "'-r image:=/a//b' is not a remap rule: give -r FROM:=TO"),
        ('-r image:=bad!', "'-r image:=bad!' is not a remap rule"),
        ('-r __ns:=1st', "'-r __ns:=1st' is not a remap rule"),
        ('--params-file nowhere.yaml', "nowhere.yaml' is not a params file (Error opening"),
        ('--params-file {file}', 'is not a params file (Cannot have a value before'),
        ('--log-level loud', 'give debug, info, warn, error or fatal'),
        ('--bogus', "unknown ROS arguments ['--bogus']"),
        ('-e', 'No enclave path provided'),
        ('-r image:=/caf\udce9', 'the arguments are not valid UTF-8'),
    ],
)
def test_malformed_ros_arguments_give_one_line_and_exit_status_1(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: str, error: str
) -> None:
    (tmp_path / 'list.yaml').write_text('/**: {ros__parameters: [1')
    words = arguments.format(file=tmp_path / 'list.yaml').split()
    assert main(['tracker_node', '--ros-args', *words]) == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if '[rcl]' not in line]
    assert line.startswith('error: ') and error in line and '.c:' not in line


def test_unknown_parameters_are_named() -> None:
    """ROS ignores them silently; those of ROS itself and QoS overrides are none of ours."""
    given = ['model', 'use_sim_time', 'tracking.window', 'qos_overrides./x.publisher.depth', 'a']
    assert unknown(given) == ['a', 'tracking.window']


def diagnosed(peer: Peer, text: str) -> DiagnosticStatus:
    """Wait for a diagnostic message that contains a text, and return it."""
    peer.diagnostics.clear()

    def found() -> DiagnosticStatus | None:
        return next((status for status in peer.diagnostics if text in status.message), None)

    return peer.until(found, f'diagnostics with {text!r}')


def test_the_lifecycle_can_be_run_through_twice(
    start_node: Callable[..., NodeProcess], peer: Peer, clip: Scene
) -> None:
    """In each state, services and diagnostics say which it is and what is possible."""
    node = start_node(autostart='false')
    assert peer.state() == 'unconfigured'
    assert diagnosed(peer, 'unconfigured: configure and').level == DiagnosticStatus.WARN
    for _ in range(2):
        message = peer.init(clip.boxes[0]).message
        assert message.startswith('the node is unconfigured: configure and activate it (ros2 life')
        assert peer.change_state(Transition.TRANSITION_CONFIGURE)
        assert peer.state() == 'inactive'
        message = peer.init(clip.boxes[0]).message
        assert message == (
            'the node is inactive: activate it (ros2 lifecycle set /tracker activate)'
        )
        paused = peer.call('enable', SetBool.Request(data=False)).message
        assert paused.startswith('the node is paused once it is active; it is inactive')
        assert peer.change_state(Transition.TRANSITION_ACTIVATE)
        node.wait_for('tracking is paused: call /tracker/enable with true to resume')
        assert peer.call('enable', SetBool.Request(data=True)).message == 'tracking'
        peer.wait_for_node()
        peer.track(clip.images[0], 10 * SECOND)
        assert peer.init(clip.boxes[0]).success
        peer.track(clip.images[1], 11 * SECOND)
        assert peer.change_state(Transition.TRANSITION_DEACTIVATE)
        peer.until(lambda: not peer.camera.get_subscription_count(), 'the end of the subscription')
        assert peer.change_state(Transition.TRANSITION_CLEANUP)
        assert peer.state() == 'unconfigured'
        peer.statuses.clear()
        peer.detections.clear()
    assert peer.change_state(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert peer.state() == 'finalized'
    assert 'the node is finalized: it was shut down' in peer.init(clip.boxes[0]).message
    assert node.end() == 0 and 'Traceback' not in node.log_text()
    for text in ('loaded siamffn', 'waiting for images', 'deactivated', 'cleaned up', 'shut down'):
        assert text in node.log_text()


def test_a_failed_configure_leaves_the_node_unconfigured(
    start_node: Callable[..., NodeProcess], peer: Peer
) -> None:
    node = start_node(autostart='false', image_qos='fast')
    assert not peer.change_state(Transition.TRANSITION_CONFIGURE)
    assert peer.state() == 'unconfigured'
    assert "image_qos is 'fast'" in node.log_text()


def test_several_cameras_share_a_process(
    start_node: Callable[..., NodeProcess], make_peer: Callable[..., Peer], clip: Scene
) -> None:
    cameras = ['--camera', 'front=/front/image', '--camera', 'rear=/rear/image']
    node = start_node(arguments=cameras)
    peers = [make_peer(namespace=name) for name in ('front', 'rear')]
    for peer in peers:
        peer.wait_for_node()
        peer.track(clip.images[0], 10 * SECOND)
        assert peer.init(clip.boxes[0], 10 * SECOND, f'car of {peer.namespace}').success
    for n, peer in itertools.product((1, 2, 3), peers):
        status = peer.track(clip.images[n], (10 + n) * SECOND)
        assert (status.target_id, status.state) == (f'car of {peer.namespace}', State.TRACKING)
    front, rear = peers
    assert front.change_state(Transition.TRANSITION_DEACTIVATE)
    assert front.change_state(Transition.TRANSITION_CLEANUP)
    assert rear.track(clip.images[4], 14 * SECOND).state == State.TRACKING
    assert node.end(signal.SIGTERM) == 0
    assert 'Traceback' not in node.log_text() and 'ERROR' not in node.log_text()


@pytest.mark.parametrize(
    ('cameras', 'message'),
    [
        (['a=/x', 'a=/y'], 'a name of its own'),
        (['no name=/x'], "'no name=/x' is not NAME=TOPIC"),
        (['a=//x'], "'a=//x' is not NAME=TOPIC"),
    ],
)
def test_invalid_camera_arguments_are_refused(cameras: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_nodes(cameras)
