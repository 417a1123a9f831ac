"""A bag played over DDS into a tracker node, each in its own process, and what the node said.

The processes are in sessions of their own, so that Ctrl-C reaches only the first, which ends them.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
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

from siamffn_model.errors import DataError
from siamffn_model.geometry import Box
from siamffn_model.tracking import State
from siamffn_ros.bag import IMAGE_TOPIC, START, BagWriter, create_bag
from siamffn_ros.conversions import to_bbox, to_box, to_nanoseconds, to_stamp

READY = 60.0  # seconds the node has to start
PATIENCE = 20.0  # seconds without progress after which a run is given up
LAST = 5.0  # seconds to wait for the last frames once all are played


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


class Recorder(Node):
    """Ask for one target and record what the tracker publishes, to a bag and in memory."""

    def __init__(self, bag: BagWriter, box: Box) -> None:
        super().__init__('siamffn_recorder')
        self._bag = bag
        self._box = box
        self._arrays: dict[int, tuple[Detection2DArray, int]] = {}  # with time of arrival
        self._statuses: dict[int, TrackStatus] = {}
        self._newest = {'detections': 0, 'status': 0}
        self._asked = False
        self.refusal = ''
        self.client: Client[Any, Any] = self.create_client(InitTarget, 'tracker/init_target')
        self.create_subscription(Detection2DArray, 'tracker/detections', self._on_detections, 100)
        self.create_subscription(TrackStatus, 'tracker/status', self._on_status, 100)

    @property
    def newest(self) -> int:
        """Stamp of the newest frame that the node has told all of; 0: none."""
        return min(self._newest.values())

    def result(self, published: dict[int, int]) -> Run:
        """Return all that was recorded of the target; raises `DataError` if nothing was."""
        told = {stamp: status for stamp, status in self._statuses.items() if status.target_id}
        seen = {}
        for stamp in sorted(told.keys() & self._arrays.keys()):
            array, arrival = self._arrays[stamp]
            box = to_box(array.detections[0].bbox) if array.detections else None
            seen[stamp] = Seen(box, told[stamp].score, State(told[stamp].state), arrival)
        if not seen:
            raise DataError('the node followed no frame: see node.log beside the other outputs')
        return Run(published, seen, told[max(seen)])

    def _on_status(self, status: TrackStatus) -> None:
        self._bag.write('/tracker/status', status, time.time_ns())
        stamp = to_nanoseconds(status.header.stamp)
        self._statuses[stamp] = status
        self._newest['status'] = stamp
        if not self._asked:
            self._ask(status.header)

    def _ask(self, header: Header) -> None:
        """Give the box on the bag's first frame, now that the node gets frames."""
        self._asked = True
        first = Header(stamp=to_stamp(START), frame_id=header.frame_id)
        request = InitTarget.Request(header=first, bbox=to_bbox(self._box), target_id='1')
        self.client.call_async(request).add_done_callback(self._on_answer)

    def _on_answer(self, future: Any) -> None:
        response = future.result()
        if not response.success:
            self.refusal = response.message

    def _on_detections(self, message: Detection2DArray) -> None:
        arrival = time.time_ns()
        self._bag.write('/tracker/detections', message, arrival)
        stamp = to_nanoseconds(message.header.stamp)
        self._arrays[stamp] = (message, arrival)
        self._newest['detections'] = stamp


class TrackerProcess:
    """The tracker node in its own process."""

    def __init__(self, log: Path, arguments: list[str]) -> None:
        self.log = log
        self._output: IO[bytes] = log.open('wb')
        command = [sys.executable, '-m', 'siamffn_ros.tracker_node', '--ros-args', *arguments]
        self._process = subprocess.Popen(
            command, stdout=self._output, stderr=self._output, start_new_session=True
        )

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
    """`siamffn bag play` in its own process."""

    def __init__(self, bag: Path, log: Path) -> None:
        self._log = log
        code = 'from siamffn_model.cli import main; main()'
        options = ['--wait', str(PATIENCE), '--log', str(log)]
        command = [sys.executable, '-c', code, 'bag', 'play', str(bag), *options]
        self._process = subprocess.Popen(command, start_new_session=True)

    def poll(self) -> dict[int, int] | None:
        """Return time of publishing by stamp once all images are played, None before."""
        code = self._process.poll()
        if code is None:
            return None
        if code:
            raise DataError(f'the bag player ended with exit code {code}: see its message above')
        with self._log.open() as file:
            rows = [row for row in csv.reader(file) if row[0] == IMAGE_TOPIC]
        return {int(stamp): int(time) for _, stamp, time in rows}

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()


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
    """Play the bag `source` into a tracker node, and record what it says of the target in `box`.

    Leaves detections.mcap and node.log in the folder `out`. `arguments` are ROS arguments of the
    node. Raises `DataError` with the end of its log if the node dies, is not ready in time, refuses
    the box, or gets no image.
    """
    tracker = TrackerProcess(out / 'node.log', arguments)
    player = None
    try:
        with (
            tempfile.TemporaryDirectory() as scratch,
            create_bag(out / 'detections.mcap') as bag,
            ros_node(bag, box) as (recorder, executor),
        ):
            deadline = time.monotonic() + READY
            while not recorder.client.service_is_ready():
                executor.spin_once(timeout_sec=0.1)
                tracker.check()
                if time.monotonic() > deadline:
                    tracker.fail(f'the node was not ready within {READY:.0f} s')
            player = Player(source, Path(scratch) / 'published.csv')
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
        if recorder.refusal:
            raise DataError(f'the node refused the box: {recorder.refusal}')
        published = published or player.poll()
        if recorder.newest != newest:
            newest, progress = recorder.newest, time.monotonic()
        if time.monotonic() - progress > (LAST if published else PATIENCE):
            if published and newest:
                break  # the last frame was lost; the figures will tell
            tracker.fail(f'nothing came from the node for {PATIENCE:.0f} s')
    return recorder.result(published)
