"""siamffn_ros/node/tracker_node.py: how a node starts, stands and ends."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import rclpy
import yaml
from lifecycle_msgs.msg import Transition
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import DataError
from siamffn_model.live.frame_buffer import Frame
from siamffn_model.tracking import State
from siamffn_ros.messages.images import to_image
from siamffn_ros.node import publishers
from siamffn_ros.node.tracker_node import TrackerNode, make_nodes

if TYPE_CHECKING:
    from conftest import NodeProcess, Peer

SECOND = 10**9
CONFIG = Path(__file__).parents[3] / 'config'


@pytest.fixture
def node_here() -> Iterator[TrackerNode]:
    """A node in this process, which nothing spins; its namespace keeps other tests from it."""
    options = SignalHandlerOptions.NO
    rclpy.init(args=['--ros-args', '-r', '__ns:=/here'], signal_handler_options=options)
    node = TrackerNode()
    yield node
    node.close()
    node.destroy_node()
    rclpy.shutdown()


def test_parameter_file_has_the_defaults(node_here: TrackerNode) -> None:
    written = yaml.safe_load((CONFIG / 'tracker.yaml').read_text())['/**']['ros__parameters']
    tracking = written.pop('tracking')
    written |= {f'tracking.{name}': value for name, value in tracking.items()}
    for name, value in written.items():
        assert node_here.get_parameter(name).value == value, name
        assert node_here.describe_parameter(name).description
    general = {'use_sim_time', 'start_type_description_service'}
    assert set(node_here._parameters) - general == set(written)


def test_debug_image_is_only_built_for_subscribers(
    node_here: TrackerNode, weights: Path, clip: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    node_here.set_parameters([Parameter('weights', value=str(weights))])
    node_here.trigger_configure()
    node_here.trigger_activate()
    built: list[int] = []

    def counted(image: Any, header: Header) -> Any:
        built.append(1)
        return to_image(image, header)

    monkeypatch.setattr(publishers, 'to_image', counted)
    frame = Frame(1, lambda: clip.images[0], 1, Header())
    node_here._track(frame)
    assert not built
    node_here.create_subscription(Image, '~/debug_image', print, 1)
    while not node_here.count_subscribers('/here/tracker/debug_image'):
        pass
    node_here._track(frame)
    assert built


def test_ends_cleanly_on_ctrl_c(
    start_node: Callable[..., NodeProcess], peer: Peer, clip: Scene
) -> None:
    """On SIGTERM: test_several_cameras_share_a_process."""
    node = start_node()
    peer.wait_for_node()
    peer.track(clip.images[0], SECOND)
    peer.init(clip.boxes[0])
    peer.track(clip.images[1], 2 * SECOND)
    assert node.end(signal.SIGINT) == 0
    assert 'Traceback' not in node.text() and 'ERROR' not in node.text()


def test_what_it_cannot_start_with_is_told_of(
    start_node: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    """All at the same time: a process takes seconds to start."""
    told = {
        start_node(buffer_seconds=-1.0): ('buffer_seconds', 'out of range'),
        start_node(image_timeout='soon'): ('image_timeout', 'expecting type'),
        start_node(weights=tmp_path / 'absent.safetensors'): ('absent.safetensors', 'missing'),
        start_node(arguments=['--camera', 'front']): ("'front' is not NAME=TOPIC",),
    }
    for node, texts in told.items():
        assert node.process.wait(40) == 1
        assert all(text in node.text() for text in texts), node.text()
        assert 'Traceback' not in node.text()


def test_lifecycle_twice_round(
    start_node: Callable[..., NodeProcess], peer: Peer, clip: Scene
) -> None:
    node = start_node(autostart='false')
    assert peer.state() == 'unconfigured'
    for _ in range(2):
        assert 'the node is not configured' in peer.init(clip.boxes[0]).message
        assert peer.change(Transition.TRANSITION_CONFIGURE)
        assert peer.state() == 'inactive'
        assert not peer.init(clip.boxes[0]).success, 'no image can have arrived'
        assert peer.change(Transition.TRANSITION_ACTIVATE)
        peer.wait_for_node()
        peer.track(clip.images[0], 10 * SECOND)
        assert peer.init(clip.boxes[0]).success
        peer.track(clip.images[1], 11 * SECOND)
        assert peer.change(Transition.TRANSITION_DEACTIVATE)
        peer.until(lambda: not peer.camera.get_subscription_count(), 'the end of the subscription')
        assert peer.change(Transition.TRANSITION_CLEANUP)
        assert peer.state() == 'unconfigured'
        peer.statuses.clear()
        peer.detections.clear()
    assert peer.change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert peer.state() == 'finalized'
    assert node.end() == 0 and 'Traceback' not in node.text()


def test_failed_configure_can_be_mended(start_node: Callable[..., NodeProcess], peer: Peer) -> None:
    node = start_node(autostart='false', image_qos='fast')
    assert not peer.change(Transition.TRANSITION_CONFIGURE)
    assert peer.state() == 'unconfigured'
    assert "image_qos is 'fast'" in node.text()


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
    assert node.end(signal.SIGTERM) == 0
    assert 'Traceback' not in node.text() and 'ERROR' not in node.text()


@pytest.mark.parametrize(
    ('cameras', 'told'),
    [
        (['a=/x', 'a=/y'], 'a name of its own'),
        (['no name=/x'], "'no name=/x' is not NAME=TOPIC"),
        (['a=//x'], "'a=//x' is not NAME=TOPIC"),
    ],
)
def test_wrong_cameras_are_told_of(cameras: list[str], told: str) -> None:
    with pytest.raises(DataError, match=told):
        make_nodes(cameras)
