"""A bag played over DDS into a tracker node, each in its own process, and what the node said."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, NamedTuple

import rclpy
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from siamffn.msg import TrackStatus
from siamffn.srv import InitTarget
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from siamffn_model.errors import DataError, SiamFFNError
from siamffn_model.geometry import Box
from siamffn_model.tracking import State
from siamffn_ros.bag import IMAGE_TOPIC, START, BagWriter, create_bag, play
from siamffn_ros.conversions import to_bbox, to_box, to_nanoseconds, to_stamp

READY = 60.0  # seconds the node has to start
PATIENCE = 20.0  # seconds without progress after which a run is given up
LAST = 2.0  # seconds to wait for the last frames once all are played


class Seen(NamedTuple):
    """What the node said of one frame; no box where the target is lost."""

    box: Box | None
    score: float
    state: State
    arrival: int  # nanoseconds since the epoch


class Run(NamedTuple):
    """What came of a run: by stamp, and the last status."""

    published: dict[int, int]  # stamp -> time of publishing, nanoseconds since the epoch
    seen: dict[int, Seen]
    last: TrackStatus
    init_ms: float


class Recorder(Node):
    """Ask for one target and record what the tracker publishes, to a bag and in memory."""

    def __init__(self, bag: BagWriter, box: Box) -> None:
        super().__init__('siamffn_recorder')
        self._bag = bag
        self._box = box
        self._boxes: dict[int, tuple[Box, int]] = {}
        self._statuses: dict[int, TrackStatus] = {}
        self._asked = 0.0
        self.init_ms = 0.0
        self.following = False
        self.client: Client[Any, Any] = self.create_client(InitTarget, 'tracker/init_target')
        self.create_subscription(Detection2DArray, 'tracker/detections', self._on_detections, 100)
        self.create_subscription(TrackStatus, 'tracker/status', self._on_status, 100)

    @property
    def newest(self) -> int:
        """Stamp of the newest frame that the node has told of; 0: none."""
        return max(self._statuses, default=0)

    def result(self, published: dict[int, int]) -> Run:
        """Return all that was recorded of the target; raises `DataError` if nothing was."""
        told = {s: status for s, status in self._statuses.items() if status.target_id}
        if not told:
            raise DataError('the node followed no frame: see node.log beside the other outputs')
        seen = {}
        for stamp, status in sorted(told.items()):
            box, arrival = self._boxes.get(stamp, (None, 0))
            seen[stamp] = Seen(box, status.score, State(status.state), arrival)
        return Run(published, seen, told[max(told)], self.init_ms)

    def _on_status(self, status: TrackStatus) -> None:
        self._bag.write('/tracker/status', status, time.time_ns())
        stamp = to_nanoseconds(status.header.stamp)
        self._statuses[stamp] = status
        if not self._asked:
            self._ask(status.header)

    def _ask(self, header: Header) -> None:
        """Give the box on the first frame that the node has told of."""
        self._asked = time.monotonic()
        first = Header(stamp=to_stamp(START), frame_id=header.frame_id)
        request = InitTarget.Request(header=first, bbox=to_bbox(self._box), target_id='1')
        self.client.call_async(request).add_done_callback(self._on_answer)

    def _on_answer(self, future: Any) -> None:
        response = future.result()
        if not response.success:
            raise DataError(f'the node refused the box: {response.message}')
        self.following = True
        self.init_ms = 1000 * (time.monotonic() - self._asked)

    def _on_detections(self, message: Detection2DArray) -> None:
        arrival = time.time_ns()
        self._bag.write('/tracker/detections', message, arrival)
        for detection in message.detections:
            stamp = to_nanoseconds(message.header.stamp)
            self._boxes[stamp] = (to_box(detection.bbox), arrival)


class TrackerProcess:
    """The tracker node in its own process."""

    def __init__(self, log: Path, arguments: list[str]) -> None:
        self.log = log
        self._output: IO[bytes] = log.open('wb')
        command = [sys.executable, '-m', 'siamffn_ros.tracker_node', '--ros-args', *arguments]
        self._process = subprocess.Popen(command, stdout=self._output, stderr=self._output)

    def check(self) -> None:
        """Raise `DataError` with the end of its log if the node has died."""
        if self._process.poll() is not None:
            self.fail(f'the node died (exit code {self._process.returncode})')

    def fail(self, what: str) -> None:
        """Raise `DataError` with the end of the log."""
        lines = self.log.read_text(errors='replace').splitlines()[-15:]
        raise DataError('\n'.join([f'{what}; the end of {self.log}:', *lines]))

    def stop(self) -> None:
        """End the process, kindly first."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()


class Player:
    """A bag player in its own process, which tells what it published when."""

    def __init__(self, bag: Path) -> None:
        context = multiprocessing.get_context('spawn')
        self._pipe, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_play, args=(bag, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def poll(self) -> dict[int, int] | None:
        """Return time of publishing by stamp once the bag is played, None before."""
        if not self._pipe.poll():
            return None
        try:
            result: dict[int, int] | str = self._pipe.recv()
        except EOFError:
            result = 'the player died'
        if isinstance(result, str):
            raise DataError(result)
        return result

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()


def _play(bag: Path, pipe: Connection) -> None:
    """Play the images of a bag (in the player's process)."""
    times: dict[int, int] = {}

    def published(topic: str, stamp: int) -> None:
        if topic == IMAGE_TOPIC:
            times[stamp] = time.time_ns()

    try:
        play(bag, wait=PATIENCE, published=published)
        pipe.send(times)
    except SiamFFNError as error:
        pipe.send(str(error))


@contextmanager
def ros_node(bag: BagWriter, box: Box) -> Iterator[tuple[Recorder, SingleThreadedExecutor]]:
    """Provide the recorder and its executor, and end both."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    recorder = Recorder(bag, box)
    executor = SingleThreadedExecutor()
    executor.add_node(recorder)
    try:
        yield recorder, executor
    finally:
        executor.shutdown()
        recorder.destroy_node()
        rclpy.shutdown()


def run(source: Path, box: Box, out: Path, arguments: list[str]) -> Run:
    """Play the bag `source` into a tracker node and record what it says."""
    tracker = TrackerProcess(out / 'node.log', arguments)
    player = None
    try:
        with create_bag(out / 'detections.mcap') as bag, ros_node(bag, box) as (recorder, executor):
            deadline = time.monotonic() + READY
            while not recorder.client.service_is_ready():
                executor.spin_once(timeout_sec=0.1)
                tracker.check()
                if time.monotonic() > deadline:
                    tracker.fail(f'the node was not ready within {READY:.0f} s')
            player = Player(source)
            return _record(recorder, executor, tracker, player)
    finally:
        if player:
            player.stop()
        tracker.stop()


def _record(
    recorder: Recorder, executor: SingleThreadedExecutor, tracker: TrackerProcess, player: Player
) -> Run:
    """Spin until the node has told of the last frame played, or nothing comes any more."""
    published: dict[int, int] | None = None
    newest, progress = 0, time.monotonic()
    while published is None or recorder.newest < max(published):
        executor.spin_once(timeout_sec=0.1)
        tracker.check()
        published = published or player.poll()
        if recorder.newest != newest:
            newest, progress = recorder.newest, time.monotonic()
        if time.monotonic() - progress > (LAST if published else PATIENCE):
            if published and newest:
                break  # the last frame was lost; the figures will tell
            tracker.fail('no image came through')
    return recorder.result(published)
