"""The live node for a while, among all that a camera and its users may do at the same time.

SIAMFFN_SOAK_SECONDS says how long (`make soak`: ten minutes); out/soak.json tells what came of it.
Run as a program, this file is the camera.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
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
RATE = 60  # images a second
ANSWER = 20.0  # seconds that any answer may take
GROWTH = 30.0 if SECONDS >= 600 else 150.0  # megabytes; within seconds much is still warming up
JUMPS = (0, -100, -1_000_000, 3600, 300_000_000)  # seconds that the camera's clock may be off
BUFFER = {'buffer_seconds': 1.0, 'buffer_megabytes': 60.0}
QUIET = {
    'image_qos': 'sensor_data',
    'image_transport': 'auto',
    'max_targets': 4,
    'tracking.uncertain_threshold': 0.5,
    'tracking.lost_threshold': 0.3,
    'tracking.reacquire_threshold': 0.6,
    **BUFFER,
}
CHANGES = (
    *({'image_qos': qos} for qos in ('reliable', 'sensor_data', 'fast')),
    *({'image_transport': kind} for kind in ('auto', 'raw', 'compressed', 'auto')),
    *({'max_targets': count} for count in (0, 1, 4)),
    *({'tracking.max_searches': count} for count in (1, 4)),
    *({'tracking.window_influence': weight} for weight in (0.1, 0.4, float('nan'))),
    *({f'tracking.{name}': value for name in ('uncertain', 'lost', 'found')} for value in (0, 1.0)),
    *({'buffer_seconds': seconds} for seconds in (0.0, 0.3, -1.0)),
    {'buffer_megabytes': 5.0},
    {'image_timeout': 0.1},
    {'model': 'siamffn_r50'},
    QUIET,
    QUIET,
)


def the_scene() -> Scene:
    return render_scene(60, (640, 480), seed=3)


# The camera


def odd_images() -> list[Image]:
    """Images that are garbage, and images that are right but not like the others."""
    from test_tracker_node import garbage  # pytest does not let test modules see each other

    rng = np.random.default_rng(0)
    shapes = ((1, 1), (1, 640), (480, 1), (240, 320), (720, 1280))
    right = [to_image(rng.integers(0, 255, (*s, 3), np.uint8), Header()) for s in shapes]
    kinds = (('mono8', 1), ('rgba8', 4), ('mono16', 2), ('yuv422', 2), ('bayer_rggb16', 2))
    others = [
        Image(width=64, height=48, encoding=kind, step=64 * size, data=rng.bytes(48 * 64 * size))
        for kind, size in kinds
    ]
    long = Image(header=Header(frame_id='x' * 10_000), width=1, height=1, encoding='mono8', step=1)
    return [*garbage(0).values(), *right, *others, long]


def camera(seed: int) -> None:
    """Publish the scene again and again, with all that goes wrong, until standard input ends.

    The frame_id is the number of the image in the scene. Prints in the end how often what was done.
    """
    rng, done = random.Random(seed), Counter[str]()
    use_profile()
    rclpy.init()
    publisher = rclpy.create_node('camera').create_publisher(Image, 'image', QoSProfile(depth=10))
    shown = [to_image(image, Header(frame_id=str(n))) for n, image in enumerate(the_scene().images)]
    shown += shown[-2:0:-1]  # there and back
    odd = odd_images()
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    offset, frozen, start = 0, 0, time.monotonic()
    for tick in itertools.count():
        if ended.wait(max(0.0, start + tick / RATE - time.monotonic())):
            break
        message = shown[tick % len(shown)]
        now = time.time_ns() + offset
        event = rng.choices(('plain', 'odd', 'late', 'jump', 'freeze'), (300, 10, 5, 1, 1))[0]
        done[event] += 1
        if event == 'odd':
            message = rng.choice(odd)
        elif event == 'late':
            now -= rng.randrange(SECOND // 2)
        elif event == 'jump':
            offset = rng.choice(JUMPS) * SECOND
        elif event == 'freeze':
            frozen, stamp = tick + RATE, rng.choice((0, now))
        message.header.stamp = to_stamp(stamp if tick < frozen else now)
        publisher.publish(message)
    print(json.dumps(done))


@contextmanager
def camera_process(seed: int) -> Iterator[Counter[str]]:
    """Run the camera; the counter has what it did once it has ended."""
    done = Counter[str]()
    command = [sys.executable, __file__, str(seed)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield done
            output, _ = process.communicate(timeout=ANSWER)
            assert process.returncode == 0
            done.update(json.loads(output))
        finally:
            process.kill()


# Its users


class Users:
    """Ask the node for everything, at random and without waiting for its answers.

    Attributes:
        done: how often what was done.
        answered: how many calls of each service were answered.
        slowest: seconds that any answer took at most.
    """

    def __init__(self, peer: Peer, boxes: list[Box], seed: int) -> None:
        self.done, self.answered = Counter[str](), Counter[str]()
        self.slowest = 0.0
        self.seen: set[str] = set()  # ids in the newest detections
        self._peer = peer
        self._boxes = boxes
        self._rng = random.Random(seed)
        self._headers: deque[Header] = deque(maxlen=2 * RATE)  # of images of the scene
        self._pending: list[tuple[str, float, Any]] = []
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._guests: dict[str, Any] = {}
        self._init_box = peer.node.create_publisher(Detection2D, 'tracker/init_box', 10)
        peer.node.create_subscription(
            Detection2DArray, 'tracker/detections', self._on_detections, 10
        )
        self._actions: dict[Callable[[], None], float] = {
            self._init: 12,
            self._init_by_topic: 4,
            self._stop: 4,
            self._list: 4,
            self._pause: 2,
            self._reset: 1,
            self._change: 6,
            self._flood: 0.5,
            self._come_or_go: 4,
            self._bounce: 1,
        }

    def step(self) -> None:
        """Do one thing, and look for answers."""
        due = [action for when, action in self._later if when <= time.monotonic()]
        self._later = [pair for pair in self._later if pair[1] not in due]
        due += self._rng.choices(list(self._actions), list(self._actions.values()))
        for action in due:
            action()
        self._look_for_answers()
        for kept in (self._peer.detections, self._peer.single, self._peer.statuses):
            kept.clear()
        del self._peer.diagnostics[:-1]
        time.sleep(self._rng.uniform(0, 0.2))

    @property
    def kept(self) -> float:
        """Megabytes of images that the node keeps, as it said last."""
        values = {pair.key: pair.value for last in self._peer.diagnostics for pair in last.values}
        return float(values.get('images kept', '0 (0 MB)').split('(')[1].split()[0])

    def finish(self) -> None:
        """Do what is still to come, and wait for all answers."""
        self._hurry()
        while self._pending:
            time.sleep(0.01)
            self._look_for_answers()

    def set(self, changes: dict[str, Any]) -> None:
        """Set parameters in one call."""
        parameters = [
            Parameter(name, value=value).to_parameter_msg() for name, value in changes.items()
        ]
        request = SetParametersAtomically.Request(parameters=parameters)
        self._call('set_parameters_atomically', request)

    def reload(self) -> None:
        """Let the node go of everything and begin anew, while calls wait for their answers."""
        self._hurry()
        for name in ('DEACTIVATE', 'CLEANUP', 'CONFIGURE', 'ACTIVATE'):
            assert self._peer.change(getattr(Transition, f'TRANSITION_{name}')), name
            self.done[name.lower()] += 1
            self._list()

    def follow(self, target_id: str) -> bool:
        """Ask for a target at its place unless it is followed; returns whether it is."""
        if target_id not in self.seen and self._headers:
            box = self._box(self._headers[-1])
            self._peer.init(box, to_nanoseconds(self._headers[-1].stamp), target_id)
            time.sleep(0.5)
        return target_id in self.seen

    def _on_detections(self, message: Detection2DArray) -> None:
        self.seen = {detection.id for detection in message.detections}
        if message.header.frame_id.isdecimal():
            self._headers.append(message.header)

    def _call(self, name: str, request: Any) -> None:
        self.done[name] += 1
        future = self._peer.clients[name].call_async(request)
        self._pending.append((name, time.monotonic(), future))

    def _look_for_answers(self) -> None:
        for call in list(self._pending):
            name, asked, future = call
            waited = time.monotonic() - asked
            if future.done():
                self._pending.remove(call)
                self.answered[name] += 1
                self.slowest = max(self.slowest, waited)
                if getattr(future.result(), 'success', False):
                    self.answered[f'{name} with success'] += 1
            else:
                assert waited < ANSWER, f'no answer of {name} within {ANSWER} s'

    def _soon(self, action: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + self._rng.uniform(0, 1.5), action))

    def _box(self, header: Header) -> Box:
        return self._boxes[int(header.frame_id)]

    def _wish(self) -> tuple[Header, Box, str]:
        """Return the header, box and id of a target that the node may be asked for."""
        header = self._headers[-1] if self._headers else Header(frame_id='0')
        box = self._box(header)
        target_id = self._rng.choice(('', 'a', 'b', 'c', 'd'))
        kind = self._rng.choice(('latest', 'latest', 'older', 'zero', 'absurd', 'box', 'id'))
        self.done[f'init: {kind}'] += 1
        if kind == 'older' and self._headers:
            header = self._rng.choice(self._headers)
            box = self._box(header)
        elif kind == 'zero':
            header = Header()
        elif kind == 'absurd':
            header = Header(stamp=to_stamp(self._rng.choice((1, -SECOND, 2**31 * SECOND - 1))))
        elif kind == 'box':
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
        elif kind == 'id':
            target_id = 'x' * 1000
        return header, box, target_id

    def _init(self) -> None:
        header, box, target_id = self._wish()
        request = InitTarget.Request(header=header, bbox=to_bbox(box), target_id=target_id)
        request.bbox.center.theta = self._rng.choice((0.0,) * 9 + (1.0,))
        self._call('init_target', request)

    def _init_by_topic(self) -> None:
        header, box, target_id = self._wish()
        self._init_box.publish(to_detection(target_id, box, 1.0, header))

    def _stop(self) -> None:
        wanted = self._rng.choice(('a', 'b', '1', 'nobody', ''))
        self._call('stop_target', StopTarget.Request(target_id=wanted))

    def _list(self) -> None:
        self._call('list_targets', ListTargets.Request())

    def _pause(self) -> None:
        self._call('enable', SetBool.Request(data=False))
        self._soon(partial(self._call, 'enable', SetBool.Request(data=True)))

    def _reset(self) -> None:
        self._call('reset', Trigger.Request())

    def _change(self) -> None:
        self.set(self._rng.choice(CHANGES))

    def _flood(self) -> None:
        """Ask for more than may wait, without a target that would take long."""
        self._call('stop_target', StopTarget.Request())
        box = to_detection('a', self._boxes[0], 1.0, Header(stamp=to_stamp(1)))
        for _ in range(300):
            self._init_box.publish(box)
        self.done['flood'] += 1

    def _hurry(self) -> None:
        """Do now what is to come."""
        for _, action in self._later:
            action()
        self._later.clear()

    def _come_or_go(self) -> None:
        """Let a peer come, or go if it is there; with some nothing can be exchanged."""
        node, own = self._peer.node, QoSProfile(depth=1)
        late = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        hasty = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        name, come, go = self._rng.choice(
            (
                ('pictures', partial(_listen, node, Image, 'debug_image', own), _deafen),
                ('listener', partial(_listen, node, Detection2DArray, 'detections', own), _deafen),
                (
                    'latecomer',
                    partial(_listen, node, Detection2DArray, 'detections', late),
                    _deafen,
                ),
                ('best effort', partial(node.create_publisher, Image, 'image', hasty), _dumb),
                (
                    'client',
                    partial(node.create_client, ListTargets, 'tracker/list_targets'),
                    _hang_up,
                ),
            )
        )
        self.done[f'came or went: {name}'] += 1
        if guest := self._guests.pop(name, None):
            go(node, guest)
        else:
            self._guests[name] = come()

    def _bounce(self) -> None:
        self._transition(Transition.TRANSITION_DEACTIVATE)
        self._soon(partial(self._transition, Transition.TRANSITION_ACTIVATE))

    def _transition(self, number: int) -> None:
        request = ChangeState.Request()
        request.transition.id = number
        self._call('change_state', request)


def _listen(node: Node, kind: type, name: str, qos: QoSProfile) -> Any:
    return node.create_subscription(kind, f'tracker/{name}', lambda message: None, qos)


def _deafen(node: Node, subscription: Any) -> None:
    node.destroy_subscription(subscription)


def _dumb(node: Node, publisher: Any) -> None:
    node.destroy_publisher(publisher)


def _hang_up(node: Node, client: Any) -> None:
    client.call_async(ListTargets.Request())
    node.destroy_client(client)


# The test


def memory(pid: int) -> float:
    """Return the megabytes that a process has in memory."""
    pages = Path(f'/proc/{pid}/statm').read_text().split()[1]
    return int(pages) * resource.getpagesize() / 1e6


@contextmanager
def told(node: NodeProcess) -> Iterator[None]:
    """Print what the node has said, and what it is at, if something fails."""
    try:
        yield
    except AssertionError:
        node.process.send_signal(signal.SIGABRT)  # rclpy's events executor has it tell its stacks
        node.process.wait(ANSWER)
        print(node.text())
        raise


def soak(users: Users, node: NodeProcess) -> list[tuple[float, float]]:
    """Let the users do what they like.

    Returns the node's megabytes in each second, and those of them that are images it keeps.
    """
    samples: list[tuple[float, float]] = []
    start = time.monotonic()
    reloaded = False
    while (passed := time.monotonic() - start) < SECONDS:
        assert node.process.poll() is None, 'the node died'
        if passed >= len(samples):
            samples.append((memory(node.process.pid), users.kept))
        if passed > SECONDS / 2 and not reloaded:
            reloaded = True
            users.reload()
        users.step()
    users.finish()
    return samples


def grown(samples: list[tuple[float, float]]) -> dict[str, float]:
    """Return figures of the memory in megabytes.

    Its growth is that between medians of the second and the last fifth, without the images kept:
    how many these are changes all the time.
    """
    resident = [all_of_it for all_of_it, _ in samples]
    own = [all_of_it - kept for all_of_it, kept in samples]
    fifth = len(own) // 5
    early, late = (statistics.median(part) for part in (own[fifth : 2 * fifth], own[-fifth:]))
    slope, _ = statistics.linear_regression(range(len(own) - fifth), own[fifth:])
    figures = {
        'start': resident[0],
        'max': max(resident),
        'end': resident[-1],
        'second fifth, without images': early,
        'last fifth, without images': late,
        'growth': late - early,
        'slope per minute': 60 * slope,
    }
    return {name: round(value, 2) for name, value in figures.items()}


def test_lives_through_everything(
    start_node: Callable[..., NodeProcess], make_peer: Callable[[], Peer]
) -> None:
    """Nothing here is about speed, but every call must be answered and memory stay the same."""
    node = start_node(max_targets=4, **BUFFER)
    peer = make_peer()
    peer.wait_for_node()
    seed = int(os.environ.get('SIAMFFN_SOAK_SEED', '1'))
    users = Users(peer, the_scene().boxes, seed)
    with told(node), camera_process(seed) as filmed:
        samples = soak(users, node)
        assert peer.set(
            **{name.replace('.', '__'): value for name, value in QUIET.items()}
        ).successful
        assert peer.call('stop_target', StopTarget.Request()).success
        peer.until(lambda: users.follow('last'), 'a target that is followed at last')
    report = {
        'seconds': SECONDS,
        'memory (MB)': grown(samples),
        'slowest answer (s)': round(users.slowest, 2),
        'camera': filmed,
        'done': users.done,
        'answered': users.answered,
        'memory and images by second': samples,
    }
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=2) + '\n')
    del report['memory and images by second']
    print(json.dumps(report, indent=2))
    assert node.process.poll() is None
    assert 'Traceback' not in node.text() and 'internal error' not in node.text(), node.text()
    assert report['memory (MB)']['growth'] < GROWTH


if __name__ == '__main__':
    camera(int(sys.argv[1]))
