"""A ROS graph of their own for these tests, and what they share."""

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

pytest.importorskip('rclpy', reason='ROS 2 is not installed: run make setup, or source it')

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
from siamffn.srv import InitTarget, ListTargets, StopTarget
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2D, Detection2DArray

from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import open_frames
from siamffn_ros.bags.io import create_from
from siamffn_ros.dds import use_profile
from siamffn_ros.messages.conversions import to_bbox, to_nanoseconds, to_stamp
from siamffn_ros.messages.images import to_image

PATIENCE = 40.0  # seconds that anything may take; nothing here is about speed


@pytest.fixture(scope='session', autouse=True)
def own_graph() -> Iterator[None]:
    """Keep to this machine and to a domain of this test session."""
    before = dict(os.environ)
    os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    use_profile()
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope='session')
def bag(sequence: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip as a bag."""
    path = tmp_path_factory.mktemp('bag') / 'clip.mcap'
    create_from(open_frames(sequence), path)
    return path


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait for a true value and return it."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f'waited {seconds} s in vain for {what}'
        time.sleep(0.01)
    return value


class NodeProcess:
    """The real node in a process of its own."""

    def __init__(
        self, log: Path, weights: Path, arguments: Sequence[str] = (), **parameters: Any
    ) -> None:
        self.log = log
        given = [f'{name}:={value}' for name, value in {'weights': weights, **parameters}.items()]
        options = [part for parameter in given for part in ('-p', parameter)]
        module = [sys.executable, '-m', 'siamffn_ros.node.tracker_node']
        command = [*module, *arguments, '--ros-args', *options]
        with log.open('wb') as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)

    def text(self) -> str:
        return self.log.read_text(errors='replace')

    def wait_for(self, text: str) -> None:
        """Wait until the log has this text."""
        until(lambda: text in self.text(), f'{text!r} in the log')

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def stop(self) -> None:
        """End it, whatever it does; by itself, so that it takes its shared memory with it."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def start_node(tmp_path: Path, weights: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Start nodes; they end with the test."""
    nodes: list[NodeProcess] = []

    def start(**parameters: Any) -> NodeProcess:
        log = tmp_path / f'node{len(nodes)}.log'
        nodes.append(NodeProcess(log, **{'weights': weights, **parameters}))
        return nodes[-1]

    yield start
    for node in nodes:
        node.stop()


class Peer:
    """The other side of the node: a camera and a user, with all that the node has published."""

    until = staticmethod(until)

    def __init__(self, reliable: bool = True, kind: Any = Image, namespace: str = '') -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.namespace = namespace
        self.node = rclpy.create_node('peer', namespace=namespace or None, context=self.context)
        self.detections: dict[int, Detection2DArray] = {}
        self.single: dict[int, Detection2D] = {}
        self.statuses: dict[int, TrackStatus] = {}
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        self.diagnostics: list[DiagnosticStatus] = []
        self.node.create_subscription(
            DiagnosticArray, '/diagnostics', lambda told: self.diagnostics.extend(told.status), 10
        )
        self.kind = kind
        self.camera = self.node.create_publisher(
            kind, 'image', QoSProfile(depth=10, reliability=reliability)
        )
        for kind, name, kept in (
            (Detection2DArray, 'detections', self.detections),
            (Detection2D, 'detection', self.single),
            (TrackStatus, 'status', self.statuses),
        ):
            self.listen(kind, name, kept)
        self.clients = {
            name: self.node.create_client(kind, f'tracker/{name}')
            for name, kind in {
                'init_target': InitTarget,
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

    def listen(self, kind: type, name: str, kept: dict[int, Any]) -> Any:
        """Keep what comes on a topic of the node by its stamp."""

        def keep(message: Any) -> None:
            kept[to_nanoseconds(message.header.stamp)] = message

        return self.node.create_subscription(kind, f'tracker/{name}', keep, 100)

    def close(self) -> None:
        self.executor.shutdown()
        self.thread.join()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def wait_for_node(self) -> None:
        """Until images get there and answers come back."""
        client = self.clients['init_target']
        until(lambda: client.service_is_ready() and self.camera.get_subscription_count(), 'node')
        until(lambda: self.node.count_publishers('tracker/status'), 'the status topic')
        stamp = 1
        while not self.statuses:
            self.send(np.zeros((48, 64, 3), np.uint8), stamp)
            stamp += 1
            time.sleep(0.1)
            assert stamp < 10 * PATIENCE, 'no status came back'
        self.statuses.clear()

    def send(self, image: np.ndarray, stamp: int) -> None:
        header = Header(stamp=to_stamp(stamp), frame_id='eye')
        if self.kind is Image:
            self.camera.publish(to_image(image, header))
        else:
            data = cv2.imencode('.png', image)[1].tobytes()
            self.camera.publish(CompressedImage(header=header, format='png', data=data))

    def close_camera(self) -> None:
        self.node.destroy_publisher(self.camera)

    def track(self, image: np.ndarray, stamp: int) -> TrackStatus:
        """Send an image and return the status of this very frame."""
        self.send(image, stamp)
        status: TrackStatus = until(lambda: self.statuses.get(stamp), f'status of {stamp}')
        until(lambda: stamp in self.detections, f'detections of {stamp}')
        return status

    def call(self, name: str, request: Any) -> Any:
        client = self.clients[name]
        until(client.service_is_ready, f'service {name}')
        future = client.call_async(request)
        return until(lambda: future.done() and future.result(), f'answer of {name}')

    def init(self, box: Box, stamp: int = 0, target_id: str = '') -> InitTarget.Response:
        header = Header(stamp=to_stamp(stamp))
        request = InitTarget.Request(header=header, bbox=to_bbox(box), target_id=target_id)
        return self.call('init_target', request)

    def track_until(self, images: list[np.ndarray], start: int, target_id: str) -> TrackStatus:
        """Send images, 10 ms of stamp apart, until one has a status of the target; returns it."""
        for n, image in enumerate(images):
            self.send(image, start + n * 10_000_000)
            deadline = time.monotonic() + 0.5
            while time.monotonic() < deadline:
                status = self.statuses.get(start + n * 10_000_000)
                if status and status.target_id == target_id:
                    return status
                time.sleep(0.01)
        raise AssertionError(f'no status of {target_id} came with {len(images)} images')

    def call_list(self) -> list[TrackStatus]:
        return list(self.call('list_targets', ListTargets.Request()).targets)

    def diagnosed(self, key: str) -> float:
        """Return a number of the newest diagnostics."""
        until(lambda: self.diagnostics, 'diagnostics')
        return float({pair.key: pair.value for pair in self.diagnostics[-1].values}[key])

    def set(self, **values: Any) -> SetParametersResult:
        """Set parameters of the node, "__" in a name standing for a dot."""
        parameters = [
            Parameter(name.replace('__', '.'), value=value).to_parameter_msg()
            for name, value in values.items()
        ]
        request = SetParametersAtomically.Request(parameters=parameters)
        return self.call('set_parameters_atomically', request).result

    def change(self, transition: int) -> bool:
        request = ChangeState.Request()
        request.transition.id = transition
        return self.call('change_state', request).success

    def state(self) -> str:
        return self.call('get_state', GetState.Request()).current_state.label


@pytest.fixture(scope='module')
def live_node(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node for all tests of a module."""
    node = NodeProcess(tmp_path_factory.mktemp('live') / 'node.log', weights)
    yield node
    node.stop()


@pytest.fixture(scope='module')
def live_peer(live_node: NodeProcess) -> Iterator[Peer]:
    """The peer of the live node."""
    peer = Peer()
    try:
        peer.wait_for_node()
        yield peer
    finally:
        peer.close()


@pytest.fixture
def user(live_peer: Peer, live_node: NodeProcess) -> Iterator[Peer]:
    """The peer of a live node without targets, which must outlive every test."""
    live_peer.call('reset', Trigger.Request())
    for kept in (live_peer.detections, live_peer.statuses, live_peer.diagnostics):
        kept.clear()
    yield live_peer
    assert live_node.process.poll() is None, live_node.text()


@pytest.fixture
def make_peer() -> Iterator[Callable[..., Peer]]:
    """Make peers; they end with the test."""
    peers: list[Peer] = []

    def make(**options: Any) -> Peer:
        peers.append(Peer(**options))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()


@pytest.fixture
def peer(make_peer: Callable[..., Peer]) -> Peer:
    return make_peer()
