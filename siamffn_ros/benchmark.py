"""Measure what the node and DDS add to inference, and what the node costs.

`python -m siamffn_ros.benchmark` prints the latency, the CPU time and the memory of the node.

A camera, the tracker node, and this process, which only subscribes, run as three processes over
DDS.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
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
from siamffn_model.signals import END_SIGNALS, handle_signals
from siamffn_ros.bags.processes import TrackerProcess, node_with_executor
from siamffn_ros.context import make_executor
from siamffn_ros.dds import use_profile
from siamffn_ros.latency import Latency
from siamffn_ros.messages.conversions import to_bbox, to_nanoseconds, to_stamp
from siamffn_ros.messages.images import to_image
from siamffn_ros.node.image_subscriber import QUEUE_DEPTH

SIZE = (1280, 720)  # pixels
RATE = 30  # images a second
COUNT = 15 * RATE  # images of one measurement
WARM_UP = 3.0  # seconds after the first tracked image that are not measured
SETTLE_TIME = 2.0  # seconds for discovery before the first image, for messages after the last
IDLE_TIME = 10.0  # seconds in which a node without images is measured
TIMEOUT = 120.0  # seconds for one measurement
STARTS = 5
MAX_OVERHEAD = 3.0  # milliseconds that the node should add to inference at most


def scene() -> Scene:
    """Return the images of the camera, which it plays forwards and backwards, and the boxes."""
    return render_scene(60, SIZE, seed=1)


def run_camera() -> None:
    """Publish COUNT images with the current time as stamp, once there is a subscriber.

    The frame_id is the index of the image in the scene.
    """
    use_profile()
    rclpy.init()
    publisher = rclpy.create_node('camera').create_publisher(Image, 'image', QoSProfile(depth=10))
    messages = [to_image(image, Header(frame_id=str(n))) for n, image in enumerate(scene().images)]
    messages += messages[-2:0:-1]
    while not publisher.get_subscription_count():
        time.sleep(0.02)
    time.sleep(SETTLE_TIME)
    start = time.monotonic()
    for number in range(COUNT):
        time.sleep(max(0.0, start + number / RATE - time.monotonic()))
        message = messages[number % len(messages)]
        message.header.stamp = to_stamp(time.time_ns())
        publisher.publish(message)
    time.sleep(SETTLE_TIME)


def spin_with_camera(executor: Executor, check: Callable[[], None] = lambda: None) -> None:
    """Start a camera process and spin the executor until it ends; `check` may raise an error."""
    camera = subprocess.Popen([sys.executable, '-m', 'siamffn_ros.benchmark', 'camera'])
    deadline = time.monotonic() + TIMEOUT
    try:
        while camera.poll() is None:
            executor.spin_once(timeout_sec=0.1)
            check()
            if time.monotonic() > deadline:
                raise ProcessError(f'the camera process did not end within {TIMEOUT:.0f} s')
    finally:
        camera.kill()
        camera.wait()


def subscriber_node() -> AbstractContextManager[tuple[Node, Executor]]:
    """Provide a node with the same executor as the tracker node."""
    return node_with_executor(partial(rclpy.create_node, 'benchmark'), make_executor)


def age(header: Header) -> float:
    """Return the time since an image was published, in milliseconds."""
    return (time.time_ns() - to_nanoseconds(header.stamp)) / 1e6


def measure_transport() -> list[float]:
    """Return the latency from publisher to callback of each received image, in milliseconds."""
    latencies: list[float] = []
    qos = QoSProfile(depth=QUEUE_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)
    with subscriber_node() as (node, executor):
        node.create_subscription(Image, 'image', lambda m: latencies.append(age(m.header)), qos)
        spin_with_camera(executor)
    return latencies


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process so far, user and system."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


class ProcessLoad:
    """The CPU time of a process between the first and the last sample, and its memory then."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._samples: list[tuple[float, float]] = []  # time and CPU time in seconds

    def sample(self) -> None:
        """Read the CPU time and the memory."""
        self._samples.append((time.monotonic(), cpu_seconds(self._pid)))
        self._memory = psutil.Process(self._pid).memory_info().rss

    def report(self) -> None:
        """Print the CPU time in percent of a core, and the resident memory."""
        (start, cpu), (end, last_cpu) = self._samples[0], self._samples[-1]
        percent = 100 * (last_cpu - cpu) / (end - start)
        _print_row('CPU, memory', f'{percent:.1f} % of a core', f'{self._memory / 1e6:.0f} MB')


class Listener:
    """Initialise targets one after the other, and record the output of the tracker node.

    Recording starts `WARM_UP` seconds after the last target is initialised.

    Args:
        node: node of this process.
        targets: number of targets.
        on_measured: is called with each image that is recorded.

    Attributes:
        latencies: milliseconds from publishing each image to its detections.
        inference: milliseconds of the search for all targets, for each image.
        diagnostics: values of the diagnostics, once a second; the last include all images.
        refusal: the reason of the node if it refused a box, else empty.
    """

    def __init__(
        self, node: Node, targets: int, on_measured: Callable[[], None] = lambda: None
    ) -> None:
        self._on_measured = on_measured
        self.latencies: list[float] = []
        self.inference: list[float] = []
        self.diagnostics: list[dict[str, str]] = []
        self.refusal = ''
        self._remaining = targets
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
            self.latencies.append(age(message.header))
            self._on_measured()
        is_first, self._newest = self._newest is None, message.header
        if is_first and self._remaining:
            self._init_target()
        elif is_first:
            self._start = time.monotonic()

    def _init_target(self) -> None:
        """Request a target on the newest image; the ids count down to 0."""
        assert self._newest is not None
        self._remaining -= 1
        box = to_bbox(self._boxes[int(self._newest.frame_id)])
        request = InitTarget.Request(header=self._newest, bbox=box, target_id=str(self._remaining))
        self._client.call_async(request).add_done_callback(self._on_response)

    def _on_response(self, future: Any) -> None:
        if not future.result().success:
            self.refusal = future.result().message
        elif self._remaining:
            self._init_target()

    def _on_status(self, status: TrackStatus) -> None:
        if status.target_id == '0':  # the last one; the time of the search is the same in all
            self._start = min(self._start, time.monotonic())
            if self._measuring:
                self.inference.append(status.last_ms)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        values = {pair.key: pair.value for pair in message.status[0].values}
        if self._measuring:
            self.diagnostics.append(values)

    def median_diagnostic(self, key: str) -> float:
        """Return the median of a value of the diagnostics over the seconds with images."""
        active = [
            values
            for values in self.diagnostics
            if float(values.get('images tracked per second', 0)) > RATE / 10
        ]
        return float(np.median([float(values[key]) for values in active if key in values]))


def measure_node(targets: int) -> tuple[Listener, ProcessLoad]:
    """Run a tracker node with n targets in its own process; return its recorded output and load."""
    with tempfile.TemporaryDirectory() as scratch:
        tracker = TrackerProcess(Path(scratch) / 'node.log', [])
        try:
            with subscriber_node() as (node, executor):
                load = ProcessLoad(tracker.pid)
                listener = Listener(node, targets, load.sample)

                def check() -> None:
                    tracker.check()
                    if listener.refusal:
                        raise BoxError(f'the node refused a box: {listener.refusal}')

                spin_with_camera(executor, check)
                if not listener.latencies or not listener.diagnostics:
                    tracker.fail('the node tracked nothing')
                return listener, load
        finally:
            tracker.stop()


@contextmanager
def active_node() -> Iterator[TrackerProcess]:
    """Start a tracker node in its own process, and stop it at the end."""
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / 'node.log'
        deadline = time.monotonic() + TIMEOUT
        tracker = TrackerProcess(log, [])
        try:
            while 'waiting for images' not in log.read_text(errors='replace'):
                tracker.check()
                if time.monotonic() > deadline:
                    tracker.fail(f'the node was not active within {TIMEOUT:.0f} s')
                time.sleep(0.01)
            yield tracker
        finally:
            tracker.stop()


def measure_start() -> float:
    """Return the time from the start of the node's process until it is active, in seconds."""
    start = time.monotonic()
    with active_node():
        return time.monotonic() - start


def report_idle_node() -> None:
    """Measure a node that receives no images and print what it costs."""
    with active_node() as tracker:
        load = ProcessLoad(tracker.pid)
        time.sleep(WARM_UP)
        load.sample()
        time.sleep(IDLE_TIME)
        load.sample()
    print('\nnode without images')
    load.report()


def report_node(targets: int, transport: float) -> None:
    """Measure a node with n targets and print its latencies.

    `transport` is the median latency from publisher to subscriber in milliseconds.
    """
    listener, load = measure_node(targets)
    print(f'\nnode, {targets} target(s), {len(listener.latencies)} images measured')
    counters = listener.diagnostics[-1]
    counts = {key: int(counters[f'images {key}']) for key in ('received', 'tracked', 'dropped')}
    _print_row('images', ', '.join(f'{number} {key}' for key, number in counts.items()))
    _print_row('images lost in transport', str(COUNT - counts['received']))
    rate = listener.median_diagnostic('images tracked per second')
    _print_row('tracking rate', f'{rate:.1f} images/s')
    if listener.inference:
        _print_row('inference (last_ms of status)', *_statistics(listener.inference))
    _print_row('publisher to detections', *_statistics(listener.latencies))
    load.report()
    if targets != 1:  # with more, it may be slower than the camera: images wait for inference
        return
    inference, total = float(np.median(listener.inference)), float(np.median(listener.latencies))
    node = listener.median_diagnostic('latency median (ms)')
    _print_row('arrival to detections', f'{node:.2f} ms')
    _print_row(
        '  minus inference', f'{node - inference:.2f} ms', f'should be below {MAX_OVERHEAD:g} ms'
    )
    _print_row('total minus transport, inference', f'{total - transport - inference:.2f} ms')


def main(arguments: Sequence[str]) -> None:
    """Measure and print the results; with the argument `camera`, run the camera process."""
    if arguments:
        run_camera()
        return
    handle_signals(END_SIGNALS, signal.default_int_handler)  # stops node and camera, too
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    use_profile()
    print(f'{COUNT} images of {SIZE[0]}x{SIZE[1]}, bgr8, {RATE}/s; median and 95th percentile')
    starts = [measure_start() for _ in range(STARTS)]
    runs = ' '.join(f'{seconds:.2f}' for seconds in starts)
    _print_row(
        'process start to active node',
        f'{np.median(starts):.2f} s',
        f'of {runs}, should be below 3',
    )
    latencies = measure_transport()
    lost = f'{COUNT - len(latencies)} images lost'
    _print_row('publisher to subscriber', *_statistics(latencies), lost)
    transport = float(np.median(latencies))
    report_idle_node()
    for targets in (0, 1, 8):
        report_node(targets, transport)


def _statistics(latencies: Sequence[float]) -> tuple[str, str]:
    latency = Latency.from_milliseconds(latencies)
    return f'{latency.median:.2f} ms', f'{latency.p95:.2f} ms'


def _print_row(name: str, *values: str) -> None:
    print(f'{name:<34}' + '  '.join(f'{value:>8}' for value in values), flush=True)


if __name__ == '__main__':
    main(sys.argv[1:])
