"""What the node takes beside the network, and DDS beside both: `python -m siamffn_ros.benchmark`.

A camera, the node, and this process, which only listens, are three processes over real DDS.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from siamffn.msg import TrackStatus
from siamffn.srv import InitTarget
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.errors import BoxError, ProcessError
from siamffn_ros.bags.processes import TrackerProcess, graph
from siamffn_ros.dds import use_profile
from siamffn_ros.latency import Latency
from siamffn_ros.messages.conversions import to_bbox, to_nanoseconds, to_stamp
from siamffn_ros.messages.images import to_image
from siamffn_ros.node.image_subscriber import QUEUE
from siamffn_ros.node.tracker_node import make_executor

SIZE = (1280, 720)
RATE = 30  # images a second
COUNT = 15 * RATE  # images of a phase
WARM_UP = 3.0  # seconds from the first image with a target, which are not measured
SETTLE = 2.0  # seconds for connections before the first image, for messages after the last
PATIENCE = 120.0  # seconds for a phase
STARTS = 5
AIM = 3.0  # milliseconds that the node may add to the network


def scene() -> Scene:
    """Return the images that the camera shows there and back, and the target's boxes."""
    return render_scene(60, SIZE, seed=1)


def film() -> None:
    """Be the camera: publish COUNT images, stamped when they are, once somebody listens.

    The frame_id is the number of the image in the scene.
    """
    use_profile()
    rclpy.init()
    publisher = rclpy.create_node('camera').create_publisher(Image, 'image', QoSProfile(depth=10))
    shown = [to_image(image, Header(frame_id=str(n))) for n, image in enumerate(scene().images)]
    shown += shown[-2:0:-1]
    while not publisher.get_subscription_count():
        time.sleep(0.02)
    time.sleep(SETTLE)
    start = time.monotonic()
    for number in range(COUNT):
        time.sleep(max(0.0, start + number / RATE - time.monotonic()))
        message = shown[number % len(shown)]
        message.header.stamp = to_stamp(time.time_ns())
        publisher.publish(message)
    time.sleep(SETTLE)


def spin_while_filmed(executor: Executor, check: Callable[[], None] = lambda: None) -> None:
    """Run a camera in its own process, and the executor until both have ended."""
    camera = subprocess.Popen([sys.executable, '-m', 'siamffn_ros.benchmark', 'camera'])
    deadline = time.monotonic() + PATIENCE
    try:
        while camera.poll() is None:
            executor.spin_once(timeout_sec=0.1)
            check()
            if time.monotonic() > deadline:
                raise ProcessError(f'the camera had not ended after {PATIENCE:.0f} s')
    finally:
        camera.kill()
        camera.wait()


def listening() -> AbstractContextManager[tuple[Node, Executor]]:
    """Provide a node, and the executor that the tracker node has, and end both."""
    return graph(partial(rclpy.create_node, 'benchmark'), make_executor)


def since(header: Header) -> float:
    """Return the milliseconds since an image was published."""
    return (time.time_ns() - to_nanoseconds(header.stamp)) / 1e6


def measure_transport() -> list[float]:
    """Return the milliseconds from publishing to the callback of each image that came."""
    delays: list[float] = []
    qos = QoSProfile(depth=QUEUE, reliability=ReliabilityPolicy.BEST_EFFORT)
    with listening() as (node, executor):
        node.create_subscription(Image, 'image', lambda m: delays.append(since(m.header)), qos)
        spin_while_filmed(executor)
    return delays


class Listener:
    """Asks for targets, one after the other, and keeps what the node says once it has them all.

    Attributes:
        delays: milliseconds from publishing of an image to its detections.
        network: milliseconds that the search for all targets took, of each image.
        told: what the diagnostics said, each second; the last has all images.
    """

    def __init__(self, node: Node, targets: int) -> None:
        self.delays: list[float] = []
        self.network: list[float] = []
        self.told: list[dict[str, str]] = []
        self.refusal = ''
        self._to_ask = targets
        self._newest: Header | None = None
        self._boxes = scene().boxes
        self._start = float('inf')
        self._client: Any = node.create_client(InitTarget, 'tracker/init_target')
        node.create_subscription(Detection2DArray, 'tracker/detections', self._on_detections, 100)
        node.create_subscription(TrackStatus, 'tracker/status', self._on_status, 100)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)

    @property
    def _measuring(self) -> bool:
        return time.monotonic() > self._start + WARM_UP

    def _on_detections(self, message: Detection2DArray) -> None:
        if self._measuring:
            self.delays.append(since(message.header))
        first, self._newest = self._newest is None, message.header
        if first:
            self._ask()

    def _ask(self) -> None:
        """Ask for a target on the newest image; they are numbered down to 0."""
        assert self._newest is not None
        self._to_ask -= 1
        box = to_bbox(self._boxes[int(self._newest.frame_id)])
        request = InitTarget.Request(header=self._newest, bbox=box, target_id=str(self._to_ask))
        self._client.call_async(request).add_done_callback(self._on_answer)

    def _on_answer(self, future: Any) -> None:
        if not future.result().success:
            self.refusal = future.result().message
        elif self._to_ask:
            self._ask()

    def _on_status(self, status: TrackStatus) -> None:
        if status.target_id == '0':  # the last; each tells the same of the search
            self._start = min(self._start, time.monotonic())
            if self._measuring:
                self.network.append(status.last_ms)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        values = {pair.key: pair.value for pair in message.status[0].values}
        if self._measuring:
            self.told.append(values)

    def of_diagnostics(self, key: str) -> float:
        """Return the median of a figure that is told each second while images come."""
        seconds = [v for v in self.told if float(v.get('images tracked per second', 0)) > RATE / 10]
        return float(np.median([float(values[key]) for values in seconds if key in values]))


def measure_node(targets: int) -> Listener:
    """Let a node of its own process follow so many targets; returns what it said."""
    with tempfile.TemporaryDirectory() as scratch:
        tracker = TrackerProcess(Path(scratch) / 'node.log', [])
        try:
            with listening() as (node, executor):
                listener = Listener(node, targets)

                def check() -> None:
                    tracker.check()
                    if listener.refusal:
                        raise BoxError(f'the node refused a box: {listener.refusal}')

                spin_while_filmed(executor, check)
                if not listener.network or not listener.told:
                    tracker.fail('the node followed nothing')
                return listener
        finally:
            tracker.stop()


def measure_start() -> float:
    """Return the seconds from the start of the node's process until it is active."""
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / 'node.log'
        start = time.monotonic()
        tracker = TrackerProcess(log, [])
        try:
            while 'waiting for images' not in log.read_text(errors='replace'):
                tracker.check()
                if time.monotonic() > start + PATIENCE:
                    tracker.fail('the node is not active')
                time.sleep(0.01)
            return time.monotonic() - start
        finally:
            tracker.stop()


def main(arguments: Sequence[str]) -> None:
    """Measure and print the figures; with the argument `camera`, be the camera."""
    if arguments:
        film()
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that node and camera end with us
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    use_profile()
    print(f'{COUNT} images of {SIZE[0]}x{SIZE[1]}, bgr8, {RATE}/s; medians, 95th percentiles')
    starts = [measure_start() for _ in range(STARTS)]
    told = ' '.join(f'{seconds:.2f}' for seconds in starts)
    _row('process to active node', f'{np.median(starts):.2f} s', f'of {told}, under 3 is the aim')
    delays = measure_transport()
    transport = float(np.median(delays))
    _row('publisher to a bare subscriber', *_spread(delays), f'{COUNT - len(delays)} images lost')
    for targets in (1, 8):
        heard = measure_node(targets)
        print(f'\nnode, {targets} target(s), {len(heard.delays)} images measured')
        images = {
            key: int(heard.told[-1][f'images {key}']) for key in ('received', 'tracked', 'dropped')
        }
        _row('images', ', '.join(f'{number} {key}' for key, number in images.items()))
        _row('images lost in transport', str(COUNT - images['received']))
        _row('rate tracked', f'{heard.of_diagnostics("images tracked per second"):.1f} images/s')
        _row('network (last_ms of status)', *_spread(heard.network))
        _row('publisher to detections', *_spread(heard.delays))
        if targets == 1:  # more of them are slower than the camera: images wait for the network
            network, whole = float(np.median(heard.network)), float(np.median(heard.delays))
            arrival = heard.of_diagnostics('latency median (ms)')
            _row('arrival to detections sent', f'{arrival:.2f} ms')
            _row(
                '  less the network', f'{arrival - network:.2f} ms', f'under {AIM:g} ms is the aim'
            )
            _row('the whole less both others', f'{whole - transport - network:.2f} ms')


def _spread(values: Sequence[float]) -> tuple[str, str]:
    latency = Latency.from_milliseconds(values)
    return f'{latency.median:.2f} ms', f'{latency.p95:.2f} ms'


def _row(name: str, *values: str) -> None:
    print(f'{name:<32}' + '  '.join(f'{value:>8}' for value in values), flush=True)


if __name__ == '__main__':
    main(sys.argv[1:])
