"""Soak test: a camera and users send the node random requests and invalid data for some time.

The environment variable SIAMFFN_SOAK_SECONDS sets the duration (`make soak`: ten minutes). The
report is written to out/soak.json. Run as a program, this file is the camera.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from siamffn.srv import InitTarget, ListTargets, StopTarget
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2D, Detection2DArray

from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.imaging.geometry import Box
from siamffn_ros.dds import use_profile
from siamffn_ros.messages.conversions import to_bbox, to_detection, to_nanoseconds, to_stamp
from siamffn_ros.messages.images import to_image

if TYPE_CHECKING:
    from conftest import NodeProcess, Peer

SECONDS = float(os.environ.get('SIAMFFN_SOAK_SECONDS', '10'))
REPORT = Path(__file__).parents[3] / 'out' / 'soak.json'
SECOND = 10**9
RATE = 60  # images per second
RESPONSE_TIMEOUT = 20.0  # seconds
# Limit of the memory growth in megabytes; a short run includes the warm-up.
MAX_GROWTH = 30.0 if SECONDS >= 600 else 150.0
CLOCK_OFFSETS = (0, -100, -1_000_000, 3600, 300_000_000)  # seconds, of the camera's clock
BUFFER = {'buffer_seconds': 1.0, 'buffer_megabytes': 60.0}
THRESHOLDS = ('uncertain_threshold', 'lost_threshold', 'reacquire_threshold')
NORMAL_PARAMETERS = {
    'image_qos': 'sensor_data',
    'image_transport': 'auto',
    'max_targets': 4,
    'tracking.uncertain_threshold': 0.5,
    'tracking.lost_threshold': 0.3,
    'tracking.reacquire_threshold': 0.6,
    **BUFFER,
}
PARAMETER_CHANGES = (  # valid and invalid ones
    *({'image_qos': qos} for qos in ('reliable', 'sensor_data', 'fast')),
    *({'image_transport': kind} for kind in ('auto', 'raw', 'compressed', 'auto')),
    *({'max_targets': count} for count in (0, 1, 4)),
    *({'tracking.max_searches': count} for count in (1, 4)),
    *({'tracking.window_influence': weight} for weight in (0.1, 0.4, float('nan'))),
    *({f'tracking.{name}': value for name in THRESHOLDS} for value in (0, 1.0)),
    *({'buffer_seconds': seconds} for seconds in (0.0, 0.3, -1.0)),
    {'buffer_megabytes': 5.0},
    {'image_timeout': 0.1},
    {'model': 'siamffn_r50'},
    NORMAL_PARAMETERS,
    NORMAL_PARAMETERS,
)


def make_scene() -> Scene:
    """Render the scene that the camera shows; the users know its boxes."""
    return render_scene(60, (640, 480), seed=3)


# The camera


def unusual_images() -> list[Image]:
    """Return invalid images, and valid ones of other sizes and encodings than the scene."""
    from test_tracker_node import invalid_images  # only the camera process can import it

    rng = np.random.default_rng(0)
    shapes = ((1, 1), (1, 640), (480, 1), (240, 320), (720, 1280))
    sizes = [to_image(rng.integers(0, 255, (*shape, 3), np.uint8), Header()) for shape in shapes]
    kinds = (('mono8', 1), ('rgba8', 4), ('mono16', 2), ('yuv422', 2), ('bayer_rggb16', 2))
    encodings = [
        Image(width=64, height=48, encoding=kind, step=64 * size, data=rng.bytes(48 * 64 * size))
        for kind, size in kinds
    ]
    long = Image(header=Header(frame_id='x' * 10_000), width=1, height=1, encoding='mono8', step=1)
    return [*invalid_images(0).values(), *sizes, *encodings, long]


def camera(seed: int) -> None:
    """Publish the scene repeatedly, with random faults, until standard input ends.

    The faults are unusual images, late images, jumps of the clock and repeated stamps. The frame_id
    is the index of the image in the scene. Prints the number of events of each kind as JSON.
    """
    rng, events = random.Random(seed), Counter[str]()
    use_profile()
    rclpy.init()
    publisher = rclpy.create_node('camera').create_publisher(Image, 'image', QoSProfile(depth=10))
    messages = [
        to_image(image, Header(frame_id=str(n))) for n, image in enumerate(make_scene().images)
    ]
    messages += messages[-2:0:-1]  # forwards and backwards, without a jump of the target
    unusual = unusual_images()
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    offset, frozen_until, start = 0, 0, time.monotonic()
    for tick in itertools.count():
        if ended.wait(max(0.0, start + tick / RATE - time.monotonic())):
            break
        message = messages[tick % len(messages)]
        now = time.time_ns() + offset
        event = rng.choices(('normal', 'unusual', 'late', 'jump', 'freeze'), (300, 10, 5, 1, 1))[0]
        events[event] += 1
        if event == 'unusual':
            message = rng.choice(unusual)
        elif event == 'late':
            now -= rng.randrange(SECOND // 2)
        elif event == 'jump':
            offset = rng.choice(CLOCK_OFFSETS) * SECOND
        elif event == 'freeze':
            frozen_until, stamp = tick + RATE, rng.choice((0, now))
        message.header.stamp = to_stamp(stamp if tick < frozen_until else now)
        publisher.publish(message)
    print(json.dumps(events))


@contextmanager
def camera_process(seed: int) -> Iterator[Counter[str]]:
    """Run the camera in a process; the counter receives its events when it has ended."""
    events = Counter[str]()
    command = [sys.executable, __file__, str(seed)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield events
            output, _ = process.communicate(timeout=RESPONSE_TIMEOUT)
            assert process.returncode == 0
            events.update(json.loads(output))
        finally:
            process.kill()


# The users


class Users:
    """Send random requests to the node without waiting for the responses.

    Attributes:
        actions: number of actions of each kind.
        responses: number of responses of each service.
        slowest: maximum time of a response in seconds.
        detected_ids: ids of the targets in the newest detections.
    """

    def __init__(self, peer: Peer, boxes: list[Box], seed: int) -> None:
        self.actions, self.responses = Counter[str](), Counter[str]()
        self.slowest = 0.0
        self.detected_ids: set[str] = set()
        self._peer = peer
        self._boxes = boxes
        self._rng = random.Random(seed)
        self._headers: deque[Header] = deque(maxlen=2 * RATE)  # of tracked images of the scene
        self._pending: list[tuple[str, float, Any]] = []
        self._scheduled: list[tuple[float, Callable[[], None]]] = []
        self._entities: dict[str, Any] = {}
        self._init_box = peer.node.create_publisher(Detection2D, 'tracker/init_box', 10)
        peer.node.create_subscription(
            Detection2DArray, 'tracker/detections', self._on_detections, 10
        )
        self._weights: dict[Callable[[], None], float] = {
            self._init: 12,
            self._init_by_topic: 4,
            self._stop: 4,
            self._list: 4,
            self._pause: 2,
            self._reset: 1,
            self._set_parameters: 6,
            self._send_many_boxes: 0.5,
            self._create_or_destroy: 4,
            self._deactivate_and_activate: 1,
        }

    def step(self) -> None:
        """Run a random action and those that are due, and collect responses."""
        due = [action for when, action in self._scheduled if when <= time.monotonic()]
        self._scheduled = [pair for pair in self._scheduled if pair[1] not in due]
        due += self._rng.choices(list(self._weights), list(self._weights.values()))
        for action in due:
            action()
        self._collect_responses()
        for received in (self._peer.detections, self._peer.single_detections, self._peer.statuses):
            received.clear()
        del self._peer.diagnostics[:-1]
        time.sleep(self._rng.uniform(0, 0.2))

    @property
    def buffer_megabytes(self) -> float:
        """Size of the images in the node's frame buffer, from the newest diagnostics."""
        newest = self._peer.diagnostics[-1:]
        values = {pair.key: pair.value for status in newest for pair in status.values}
        return float(values.get('images kept', '0 (0 MB)').split('(')[1].split()[0])

    def finish(self) -> None:
        """Run the scheduled actions and wait for all responses."""
        self._run_scheduled()
        while self._pending:
            time.sleep(0.01)
            self._collect_responses()

    def set_parameters(self, changes: dict[str, Any]) -> None:
        """Set parameters in one call, without waiting for the response."""
        parameters = [
            Parameter(name, value=value).to_parameter_msg() for name, value in changes.items()
        ]
        request = SetParametersAtomically.Request(parameters=parameters)
        self._call('set_parameters_atomically', request)

    def reload(self) -> None:
        """Deactivate, clean up, configure and activate the node while calls are pending."""
        self._run_scheduled()
        for name in ('DEACTIVATE', 'CLEANUP', 'CONFIGURE', 'ACTIVATE'):
            assert self._peer.change_state(getattr(Transition, f'TRANSITION_{name}')), name
            self.actions[name.lower()] += 1
            self._list()

    def ensure_tracked(self, target_id: str) -> bool:
        """Initialise a target unless it is tracked; return whether it is tracked."""
        if target_id not in self.detected_ids and self._headers:
            box = self._box(self._headers[-1])
            self._peer.init(box, to_nanoseconds(self._headers[-1].stamp), target_id)
            time.sleep(0.5)
        return target_id in self.detected_ids

    def _on_detections(self, message: Detection2DArray) -> None:
        self.detected_ids = {detection.id for detection in message.detections}
        if message.header.frame_id.isdecimal():
            self._headers.append(message.header)

    def _call(self, name: str, request: Any) -> None:
        self.actions[name] += 1
        future = self._peer.clients[name].call_async(request)
        self._pending.append((name, time.monotonic(), future))

    def _collect_responses(self) -> None:
        for call in list(self._pending):
            name, start, future = call
            waited = time.monotonic() - start
            if future.done():
                self._pending.remove(call)
                self.responses[name] += 1
                self.slowest = max(self.slowest, waited)
                if getattr(future.result(), 'success', False):
                    self.responses[f'{name} with success'] += 1
            else:
                assert waited < RESPONSE_TIMEOUT, (
                    f'no response of {name} within {RESPONSE_TIMEOUT} s'
                )

    def _schedule(self, action: Callable[[], None]) -> None:
        """Run an action within the next 1.5 s."""
        self._scheduled.append((time.monotonic() + self._rng.uniform(0, 1.5), action))

    def _box(self, header: Header) -> Box:
        return self._boxes[int(header.frame_id)]

    def _random_target(self) -> tuple[Header, Box, str]:
        """Return the header, box and id of a request to initialise a target, valid or not."""
        header = self._headers[-1] if self._headers else Header(frame_id='0')
        box = self._box(header)
        target_id = self._rng.choice(('', 'a', 'b', 'c', 'd'))
        kind = self._rng.choice(
            ('latest', 'latest', 'older', 'zero', 'invalid stamp', 'invalid box', 'invalid id')
        )
        self.actions[f'init: {kind}'] += 1
        if kind == 'older' and self._headers:
            header = self._rng.choice(self._headers)
            box = self._box(header)
        elif kind == 'zero':
            header = Header()
        elif kind == 'invalid stamp':
            header = Header(stamp=to_stamp(self._rng.choice((1, -SECOND, 2**31 * SECOND - 1))))
        elif kind == 'invalid box':
            box = self._rng.choice(
                (
                    Box(9000, 0, 9, 9),
                    Box(10, 10, 0, 0),
                    Box(10, 10, -5, 5),
                    Box(float('nan'), 1, 9, 9),
                    Box(0, 0, 1e300, 1e300),
                    Box(1, 1, 1e-9, 1e-9),
                    Box(-1e4, -1e4, 3e4, 3e4),
                )
            )
        elif kind == 'invalid id':
            target_id = 'x' * 1000
        return header, box, target_id

    def _init(self) -> None:
        header, box, target_id = self._random_target()
        request = InitTarget.Request(header=header, bbox=to_bbox(box), target_id=target_id)
        request.bbox.center.theta = self._rng.choice((0.0,) * 9 + (1.0,))
        self._call('init_target', request)

    def _init_by_topic(self) -> None:
        header, box, target_id = self._random_target()
        self._init_box.publish(to_detection(target_id, box, 1.0, header))

    def _stop(self) -> None:
        target_id = self._rng.choice(('a', 'b', '1', 'unknown', ''))
        self._call('stop_target', StopTarget.Request(target_id=target_id))

    def _list(self) -> None:
        self._call('list_targets', ListTargets.Request())

    def _pause(self) -> None:
        self._call('enable', SetBool.Request(data=False))
        self._schedule(partial(self._call, 'enable', SetBool.Request(data=True)))

    def _reset(self) -> None:
        self._call('reset', Trigger.Request())

    def _set_parameters(self) -> None:
        self.set_parameters(self._rng.choice(PARAMETER_CHANGES))

    def _send_many_boxes(self) -> None:
        """Send more boxes than may be pending; the stamp is too old, so each is refused fast."""
        self._call('stop_target', StopTarget.Request())
        box = to_detection('a', self._boxes[0], 1.0, Header(stamp=to_stamp(1)))
        for _ in range(300):
            self._init_box.publish(box)
        self.actions['many boxes'] += 1

    def _run_scheduled(self) -> None:
        """Run the scheduled actions now."""
        for _, action in self._scheduled:
            action()
        self._scheduled.clear()

    def _create_or_destroy(self) -> None:
        """Create a random publisher, subscription or client, or destroy it if it exists.

        The QoS of some is incompatible with that of the node.
        """
        node, reliable = self._peer.node, QoSProfile(depth=1)
        transient = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        name, create, destroy = self._rng.choice(
            (
                (
                    'debug image',
                    partial(_subscribe, node, Image, 'debug_image', reliable),
                    node.destroy_subscription,
                ),
                (
                    'detections',
                    partial(_subscribe, node, Detection2DArray, 'detections', reliable),
                    node.destroy_subscription,
                ),
                (
                    'transient local',
                    partial(_subscribe, node, Detection2DArray, 'detections', transient),
                    node.destroy_subscription,
                ),
                (
                    'best effort',
                    partial(node.create_publisher, Image, 'image', best_effort),
                    node.destroy_publisher,
                ),
                (
                    'client',
                    partial(node.create_client, ListTargets, 'tracker/list_targets'),
                    partial(_call_and_destroy, node),
                ),
            )
        )
        self.actions[f'create or destroy: {name}'] += 1
        if entity := self._entities.pop(name, None):
            destroy(entity)
        else:
            self._entities[name] = create()

    def _deactivate_and_activate(self) -> None:
        self._change_state(Transition.TRANSITION_DEACTIVATE)
        self._schedule(partial(self._change_state, Transition.TRANSITION_ACTIVATE))

    def _change_state(self, transition: int) -> None:
        request = ChangeState.Request()
        request.transition.id = transition
        self._call('change_state', request)


def _subscribe(node: Node, message_type: type, name: str, qos: QoSProfile) -> Any:
    return node.create_subscription(message_type, f'tracker/{name}', lambda message: None, qos)


def _call_and_destroy(node: Node, client: Any) -> None:
    """Call a service and destroy the client before the response arrives."""
    client.call_async(ListTargets.Request())
    node.destroy_client(client)


# The test


def resident_memory(pid: int) -> float:
    """Return the resident memory of a process in megabytes."""
    return psutil.Process(pid).memory_info().rss / 1e6


@contextmanager
def print_log_on_failure(node: NodeProcess) -> Iterator[None]:
    """Print the log of the node and the stacks of its threads if an assertion fails."""
    try:
        yield
    except AssertionError:
        node.process.send_signal(signal.SIGABRT)  # rclpy's events executor then prints its stacks
        node.process.wait(RESPONSE_TIMEOUT)
        print(node.log_text())
        raise


def soak(users: Users, node: NodeProcess) -> list[tuple[float, float]]:
    """Run the users for `SECONDS`.

    Returns for each second the resident memory of the node and the size of its frame buffer, both
    in megabytes.
    """
    samples: list[tuple[float, float]] = []
    start = time.monotonic()
    reloaded = False
    while (elapsed := time.monotonic() - start) < SECONDS:
        assert node.process.poll() is None, 'the node died'
        if elapsed >= len(samples):
            samples.append((resident_memory(node.process.pid), users.buffer_megabytes))
        if elapsed > SECONDS / 2 and not reloaded:
            reloaded = True
            users.reload()
        users.step()
    users.finish()
    return samples


def memory_statistics(samples: list[tuple[float, float]]) -> dict[str, float]:
    """Return statistics of the samples of `soak` in megabytes.

    The growth is the difference between the medians of the second and of the last fifth, without
    the frame buffer, whose size changes all the time.
    """
    resident = [total for total, _ in samples]
    own = [total - buffered for total, buffered in samples]
    fifth = len(own) // 5
    early, late = (statistics.median(part) for part in (own[fifth : 2 * fifth], own[-fifth:]))
    slope, _ = statistics.linear_regression(range(len(own) - fifth), own[fifth:])
    result = {
        'start': resident[0],
        'max': max(resident),
        'end': resident[-1],
        'second fifth, without images': early,
        'last fifth, without images': late,
        'growth': late - early,
        'slope per minute': 60 * slope,
    }
    return {name: round(value, 2) for name, value in result.items()}


@pytest.mark.timeout(SECONDS + 180)
def test_the_node_survives_random_requests(
    start_node: Callable[..., NodeProcess], make_peer: Callable[[], Peer]
) -> None:
    """Each service call must receive a response, and the memory must not grow."""
    node = start_node(max_targets=4, **BUFFER)
    peer = make_peer()
    peer.wait_for_node()
    seed = int(os.environ.get('SIAMFFN_SOAK_SEED', '1'))
    users = Users(peer, make_scene().boxes, seed)
    with print_log_on_failure(node), camera_process(seed) as camera_events:
        samples = soak(users, node)
        assert peer.set_parameters(
            **{name.replace('.', '__'): value for name, value in NORMAL_PARAMETERS.items()}
        ).successful
        assert peer.call('stop_target', StopTarget.Request()).success
        peer.until(lambda: users.ensure_tracked('last'), 'a tracked target at the end')
    report = {
        'seconds': SECONDS,
        'memory (MB)': memory_statistics(samples),
        'slowest response (s)': round(users.slowest, 2),
        'camera': camera_events,
        'actions': users.actions,
        'responses': users.responses,
        'memory and frame buffer by second (MB)': samples,
    }
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=2) + '\n')
    del report['memory and frame buffer by second (MB)']
    print(json.dumps(report, indent=2))
    assert node.process.poll() is None
    assert 'Traceback' not in node.log_text() and 'internal error' not in node.log_text(), (
        node.log_text()
    )
    assert report['memory (MB)']['growth'] < MAX_GROWTH


if __name__ == '__main__':
    camera(int(sys.argv[1]))
