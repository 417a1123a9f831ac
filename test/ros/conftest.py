"""Fixtures and helpers of the ROS tests, which run in an isolated ROS graph."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip(
    'rclpy', reason='ROS 2 is not installed: run make setup, or source its setup.bash'
)

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image
from siamffn.msg import TrackStatus
from siamffn.srv import InitPoint, InitTarget, ListTargets, StopTarget
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2D, Detection2DArray

from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import open_frames
from siamffn_model.networks.names import DEFAULT_MODEL
from siamffn_model.runtimes.selection import WEIGHTS
from siamffn_ros.bags.io import create_from
from siamffn_ros.dds import use_profile
from siamffn_ros.messages.conversions import to_bbox, to_nanoseconds, to_stamp
from siamffn_ros.messages.images import to_image

TIMEOUT = 40.0  # seconds to wait for any event; these tests do not measure speed


@pytest.fixture(scope='session', autouse=True)
def own_graph() -> Iterator[None]:
    """Limit discovery to this machine and to a ROS domain derived from the process id."""
    before = dict(os.environ)
    os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    use_profile()
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope='session')
def weights() -> Path:
    """The folder with the converted default model, which runs without PyTorch."""
    return WEIGHTS / DEFAULT_MODEL


@pytest.fixture(scope='session')
def bag(sequence: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a bag that contains the clip."""
    path = tmp_path_factory.mktemp('bag') / 'clip.mcap'
    create_from(open_frames(sequence), path)
    return path


def until(condition: Callable[[], Any], what: str, seconds: float = TIMEOUT) -> Any:
    """Call `condition` until it returns a true value, and return that value.

    Raises `AssertionError` with a description of the event (`what`) after the timeout.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f'timeout of {seconds} s while waiting for {what}'
        time.sleep(0.01)
    return value


@pytest.fixture(name='until', scope='session')
def until_fixture() -> Callable[..., Any]:
    """Return the function `until`, for tests without a `Peer`."""
    return until


class NodeProcess:
    """The tracker node in a separate process, as users run it; its output goes to a log file."""

    def __init__(
        self, log: Path, weights: Path, arguments: Sequence[str] = (), **parameters: Any
    ) -> None:
        self.log = log
        command = [sys.executable, '-m', 'siamffn_ros.node.main', *arguments, '--ros-args']
        for name, value in {'weights': weights, **parameters}.items():
            command += ['-p', f'{name}:={value}']
        with log.open('wb') as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)

    def log_text(self) -> str:
        """Return what the node has printed so far."""
        return self.log.read_text(errors='replace')

    def wait_for(self, text: str) -> None:
        """Wait until the log contains a text."""
        until(lambda: text in self.log_text(), f'{text!r} in the log')

    def end(self, signal_number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the process, and return its exit status."""
        self.process.send_signal(signal_number)
        return self.process.wait(TIMEOUT)

    def stop(self) -> None:
        """Terminate the process, so that it removes its shared memory; kill it after 10 s."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def start_node(tmp_path: Path, weights: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Return a function that starts a node; the nodes are stopped after the test."""
    nodes: list[NodeProcess] = []

    def start(**parameters: Any) -> NodeProcess:
        log = tmp_path / f'node{len(nodes)}.log'
        nodes.append(NodeProcess(log, **{'weights': weights, **parameters}))
        return nodes[-1]

    yield start
    for node in nodes:
        node.stop()


class Peer:
    """A node in the test's process that acts as camera and user of the tracker node.

    It publishes images, calls the services, and stores all messages that the tracker node
    publishes.

    Args:
        reliable: whether the camera publishes with the QoS reliability RELIABLE.
        image_type: message type of the camera, `Image` or `CompressedImage`.
        namespace: of the node; the tracker node is expected in the same namespace.
        topic: on which the images are published.

    Attributes:
        camera: the image publisher.
        detections, single_detections, statuses: received messages by stamp in nanoseconds.
        diagnostics: all received diagnostic statuses, oldest first.
        clients: service clients by the name of the service.
    """

    until = staticmethod(until)

    def __init__(
        self,
        reliable: bool = True,
        image_type: Any = Image,
        namespace: str = '',
        topic: str = 'image',
    ) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.namespace = namespace
        self.node = rclpy.create_node('peer', namespace=namespace or None, context=self.context)
        self.detections: dict[int, Detection2DArray] = {}
        self.single_detections: dict[int, Detection2D] = {}
        self.statuses: dict[int, TrackStatus] = {}
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        self.diagnostics: list[DiagnosticStatus] = []
        self.node.create_subscription(
            DiagnosticArray, '/diagnostics', lambda array: self.diagnostics.extend(array.status), 10
        )
        self.image_type = image_type
        self.camera = self.node.create_publisher(
            image_type, topic, QoSProfile(depth=10, reliability=reliability)
        )
        self.subscribe(Detection2DArray, 'detections', self.detections)
        self.subscribe(Detection2D, 'detection', self.single_detections)
        self.subscribe(TrackStatus, 'status', self.statuses)
        self.clients = {
            name: self.node.create_client(service_type, f'tracker/{name}')
            for name, service_type in {
                'init_target': InitTarget,
                'init_point': InitPoint,
                'stop_target': StopTarget,
                'list_targets': ListTargets,
                'enable': SetBool,
                'reset': Trigger,
                'set_parameters_atomically': SetParametersAtomically,
                'change_state': ChangeState,
                'get_state': GetState,
            }.items()
        }
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self.executor.spin)
        self.thread.start()

    def subscribe(self, message_type: type, name: str, messages: dict[int, Any]) -> Any:
        """Store the messages of a topic of the tracker node by stamp; return the subscription."""

        def store(message: Any) -> None:
            messages[to_nanoseconds(message.header.stamp)] = message

        return self.node.create_subscription(message_type, f'tracker/{name}', store, 100)

    def close(self) -> None:
        """Stop the executor and destroy the node."""
        self.executor.shutdown()
        self.thread.join()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def wait_for_node(self) -> None:
        """Wait until the tracker node receives images and its messages are received here."""
        client = self.clients['init_target']
        until(lambda: client.service_is_ready() and self.camera.get_subscription_count(), 'node')
        until(lambda: self.node.count_publishers('tracker/status'), 'status topic')
        stamp = 1
        while not self.statuses:
            self.send(np.zeros((48, 64, 3), np.uint8), stamp)
            stamp += 1
            time.sleep(0.1)
            assert stamp < 10 * TIMEOUT, 'no status was received'
        self.statuses.clear()

    def send(self, image: np.ndarray, stamp: int) -> None:
        """Publish an image with a stamp in nanoseconds."""
        header = Header(stamp=to_stamp(stamp), frame_id='eye')
        if self.image_type is Image:
            self.camera.publish(to_image(image, header))
        else:
            data = cv2.imencode('.png', image)[1].tobytes()
            self.camera.publish(CompressedImage(header=header, format='png', data=data))

    def close_camera(self) -> None:
        """Destroy the image publisher."""
        self.node.destroy_publisher(self.camera)

    def track(self, image: np.ndarray, stamp: int) -> TrackStatus:
        """Publish an image, wait for its status and detections, and return the status."""
        self.send(image, stamp)
        status: TrackStatus = until(lambda: self.statuses.get(stamp), f'status of {stamp}')
        until(lambda: stamp in self.detections, f'detections of {stamp}')
        return status

    def call(self, name: str, request: Any) -> Any:
        """Call a service of the tracker node and return the response."""
        client = self.clients[name]
        until(client.service_is_ready, f'service {name}')
        future = client.call_async(request)
        return until(lambda: future.done() and future.result(), f'response of {name}')

    def init(self, box: Box, stamp: int = 0, target_id: str = '') -> InitTarget.Response:
        """Call `~/init_target`; a stamp of 0 is the newest image."""
        header = Header(stamp=to_stamp(stamp))
        request = InitTarget.Request(header=header, bbox=to_bbox(box), target_id=target_id)
        return self.call('init_target', request)

    def track_until(self, images: list[np.ndarray], start: int, target_id: str) -> TrackStatus:
        """Publish images with stamps 10 ms apart until a status names the target; return it."""
        for n, image in enumerate(images):
            self.send(image, start + n * 10_000_000)
            deadline = time.monotonic() + 0.5
            while time.monotonic() < deadline:
                status = self.statuses.get(start + n * 10_000_000)
                if status and status.target_id == target_id:
                    return status
                time.sleep(0.01)
        raise AssertionError(f'no status of {target_id} within {len(images)} images')

    def detected_ids(self, stamp: int) -> list[str]:
        """Return the ids of the targets in the detections with this stamp."""
        return [detection.id for detection in self.detections[stamp].detections]

    def list_targets(self) -> list[TrackStatus]:
        """Call `~/list_targets`."""
        return list(self.call('list_targets', ListTargets.Request()).targets)

    def diagnostic_value(self, key: str) -> float:
        """Return a number from the newest diagnostics."""
        until(lambda: self.diagnostics, 'diagnostics')
        return float({pair.key: pair.value for pair in self.diagnostics[-1].values}[key])

    def set_parameters(self, **values: Any) -> SetParametersResult:
        """Set parameters of the tracker node; "__" in a name is replaced by a dot."""
        parameters = [
            Parameter(name.replace('__', '.'), value=value).to_parameter_msg()
            for name, value in values.items()
        ]
        request = SetParametersAtomically.Request(parameters=parameters)
        return self.call('set_parameters_atomically', request).result

    def change_state(self, transition: int) -> bool:
        """Request a lifecycle transition; return whether it succeeded."""
        request = ChangeState.Request()
        request.transition.id = transition
        return self.call('change_state', request).success

    def state(self) -> str:
        """Return the name of the lifecycle state."""
        return self.call('get_state', GetState.Request()).current_state.label


@pytest.fixture(scope='module')
def live_node(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """Start one tracker node for all tests of a module."""
    node = NodeProcess(tmp_path_factory.mktemp('live') / 'node.log', weights)
    yield node
    node.stop()


@pytest.fixture(scope='module')
def live_peer(live_node: NodeProcess) -> Iterator[Peer]:
    """Return a peer that is connected to the live node."""
    peer = Peer()
    try:
        peer.wait_for_node()
        yield peer
    finally:
        peer.close()


@pytest.fixture
def user(live_peer: Peer, live_node: NodeProcess) -> Iterator[Peer]:
    """Return the peer of the live node after a reset; the node must survive the test."""
    live_peer.call('reset', Trigger.Request())
    live_peer.detections.clear()
    live_peer.single_detections.clear()
    live_peer.statuses.clear()
    live_peer.diagnostics.clear()
    yield live_peer
    assert live_node.process.poll() is None, live_node.log_text()


@pytest.fixture
def make_peer() -> Iterator[Callable[..., Peer]]:
    """Return a function that creates a peer; the peers are closed after the test."""
    peers: list[Peer] = []

    def make(**options: Any) -> Peer:
        peers.append(Peer(**options))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()


@pytest.fixture
def peer(make_peer: Callable[..., Peer]) -> Peer:
    """Return a peer for the nodes that the test starts."""
    return make_peer()
