"""A bag played over DDS into a tracker node, each in its own process, and what the node said.

The processes are in sessions of their own, so that Ctrl-C reaches only the first, which ends them.
"""

from __future__ import annotations

import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np
import rclpy
from rclpy.client import Client
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from siamffn.msg import TrackStatus
from siamffn.srv import InitTarget
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from siamffn_model.atomic_io import write_text
from siamffn_model.errors import DataError
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import read_groundtruth
from siamffn_model.tracking import State
from siamffn_model.tracking.track_video import make_folder
from siamffn_ros.bags.evaluation import ARRAY, SINGLE, Evaluation, evaluate
from siamffn_ros.bags.io import TRUTH_TOPIC, BagWriter, create_bag, open_bag
from siamffn_ros.bags.tracking import (
    DETECTIONS_TOPIC,
    STATUS_TOPIC,
    TARGET,
    true_box,
)
from siamffn_ros.dds import use_profile
from siamffn_ros.messages.conversions import IMAGE_TYPES, to_bbox, to_box, to_nanoseconds

OUTPUTS = ('detections.mcap', 'node.log', 'summary.json')
READY = 60.0  # seconds the node has to start
PATIENCE = 20.0  # seconds without progress after which a run is given up
LAST = 5.0  # seconds to wait for the last frames once all are played

AnyNode = TypeVar('AnyNode', bound=Node)


def node_arguments(params_file: Path | None, **values: object) -> list[str]:
    """Return the ROS arguments that give a parameter file and, over it, what is not None."""
    words = ['--params-file', str(params_file)] if params_file else []
    for name, value in values.items():
        if value is not None:
            text = json.dumps(value if isinstance(value, bool) else str(value))
            words += ['-p', f'tracker:{name}:={text}']
    return words


def read_box(file: Path) -> Box:
    """Return the box in a text file's first row, x,y,w,h; raises `DataError`."""
    boxes = read_groundtruth(file)
    if not boxes or not boxes[0]:
        raise DataError(f'{file}: no box in its first row; it must be x,y,w,h in pixels')
    return boxes[0]


def has_truth(source: Path) -> bool:
    """Whether a bag has ground truth on /ground_truth."""
    with open_bag(source) as bag:
        return bag.topics.get(TRUTH_TOPIC) in (ARRAY, SINGLE)


class Images(NamedTuple):
    """The images of a bag.

    Attributes:
        topic: where they are.
        transport: 'raw' or 'compressed'.
        first: header of the first.
        stamps: of their headers in nanoseconds, in the order in which they are played.
        pause: the longest time between two, in seconds.
    """

    topic: str
    transport: str
    first: Header
    stamps: list[int]
    pause: float


def read_images(source: Path, topic: str | None = None) -> Images:
    """Return what the headers of a bag's images tell; `topic` None for the only one.

    Raises `DataError` for a bag that is damaged or without images, or a topic to choose.
    """
    first, stamps, times = None, [], []
    with open_bag(source) as bag:
        topic = bag.choose_topic(IMAGE_TYPES, topic, '--topic')
        for recorded, message in bag.read(topic):
            first = first or message.header
            stamps.append(to_nanoseconds(message.header.stamp))
            times.append(recorded)
        compressed = bag.topics[topic].endswith('CompressedImage')
    if first is None:
        raise DataError(f'{source} holds no image on {topic}: record it again')
    pause = max((later - earlier for earlier, later in pairwise(times)), default=0) / 1e9
    return Images(topic, 'compressed' if compressed else 'raw', first, stamps, pause)


class Observation(NamedTuple):
    """What the node said of one frame; no box where the target is lost."""

    box: Box | None
    score: float
    state: State
    arrival: int  # nanoseconds since the epoch


class ReplayResult(NamedTuple):
    """What came of a run: by stamp, and the last status."""

    published: dict[int, int]  # stamp -> time of publishing, nanoseconds since the epoch
    seen: dict[int, Observation]
    last: TrackStatus


def summarise(result: ReplayResult) -> dict[str, Any]:
    """Return the figures of a run, as numbers by name."""
    published, seen, last = result.published, result.seen, result.last
    latency = [(s.arrival - published[stamp]) / 1e6 for stamp, s in seen.items()]
    arrivals = [s.arrival for s in seen.values()]
    seconds = (max(arrivals) - min(arrivals)) / 1e9
    return {
        'frames_published': len(published),
        'frames_received': last.frames_processed + last.frames_dropped,
        'frames_tracked': last.frames_processed,
        'frames_dropped': last.frames_dropped,
        'latency_ms': {
            'median': _round(statistics.median(latency)),
            'p95': _round(float(np.percentile(latency, 95))),
        },
        'fps': _round((len(arrivals) - 1) / seconds) if seconds else 0.0,
        'mean_score': _round(statistics.fmean(s.score for s in seen.values()), 3),
        'states': dict(Counter(s.state.name for s in seen.values())),
    }


def _round(value: float, digits: int = 2) -> float:
    return round(float(value), digits)


def table(summary: Mapping[str, Any]) -> str:
    """Return the figures of `summarise` for people."""
    latency = summary['latency_ms']
    rows = {
        'frames published': summary['frames_published'],
        'frames received by the node': summary['frames_received'],
        'frames tracked': summary['frames_tracked'],
        'frames dropped': summary['frames_dropped'],
        'latency (median, p95)': f'{latency["median"]} ms, {latency["p95"]} ms',
        'rate': f'{summary["fps"]} frames/s',
        'mean score': summary['mean_score'],
        'states': ', '.join(f'{name} {count}' for name, count in summary['states'].items()),
    }
    return '\n'.join(f'{name:<28}{value}' for name, value in rows.items())


class Recorder(Node):
    """Ask for one target and record what the tracker publishes, to a bag and in memory.

    `first` is the header of the image that the box was drawn on.
    """

    def __init__(self, bag: BagWriter, box: Box, first: Header) -> None:
        super().__init__('siamffn_recorder')
        self._bag = bag
        self._request = InitTarget.Request(header=first, bbox=to_bbox(box), target_id=TARGET)
        self._arrays: dict[int, tuple[Detection2DArray, int]] = {}  # with time of arrival
        self._statuses: dict[int, TrackStatus] = {}
        self._asked = False
        self.received = 0  # messages
        self.refusal = ''
        self.client: Client[Any, Any] = self.create_client(InitTarget, 'tracker/init_target')
        self.create_subscription(Detection2DArray, DETECTIONS_TOPIC, self._on_detections, 100)
        self.create_subscription(TrackStatus, STATUS_TOPIC, self._on_status, 100)

    def told_of(self, stamp: int) -> bool:
        """Whether the node has told all of this frame."""
        return stamp in self._arrays and stamp in self._statuses

    def result(self, published: dict[int, int]) -> ReplayResult:
        """Return all that was recorded of the target; raises `DataError` if nothing was."""
        told = {stamp: status for stamp, status in self._statuses.items() if status.target_id}
        seen = {}
        for stamp in sorted(told.keys() & self._arrays.keys() & published.keys()):
            array, arrival = self._arrays[stamp]
            box = to_box(array.detections[0].bbox) if array.detections else None
            seen[stamp] = Observation(box, told[stamp].score, State(told[stamp].state), arrival)
        if not seen:
            raise DataError('the node followed no frame: see node.log beside the other outputs')
        last = max(told.values(), key=lambda status: status.frames_processed)
        return ReplayResult(published, seen, last)

    def _on_status(self, status: TrackStatus) -> None:
        self._bag.write(STATUS_TOPIC, status, time.time_ns())
        self._statuses[to_nanoseconds(status.header.stamp)] = status
        self.received += 1
        if not self._asked:  # now that the node gets frames
            self._asked = True
            self.client.call_async(self._request).add_done_callback(self._on_answer)

    def _on_answer(self, future: Any) -> None:
        response = future.result()
        if not response.success:
            self.refusal = response.message

    def _on_detections(self, message: Detection2DArray) -> None:
        arrival = time.time_ns()
        self._bag.write(DETECTIONS_TOPIC, message, arrival)
        self._arrays[to_nanoseconds(message.header.stamp)] = (message, arrival)
        self.received += 1


class TrackerProcess:
    """The tracker node in its own process."""

    def __init__(self, log: Path, arguments: list[str]) -> None:
        self.log = log
        self._output: IO[bytes] = log.open('wb')
        command = [sys.executable, '-m', 'siamffn_ros.node.main', '--ros-args', *arguments]
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
    """`siamffn bag play` in its own process, of one topic.

    Attributes:
        last: stamp of the last image.
        pause: the longest time between two images, in seconds.
    """

    def __init__(self, bag: Path, images: Images, rate: float, log: Path) -> None:
        self.last = images.stamps[-1]
        self.pause = images.pause / rate
        self._stamps = images.stamps
        self._log = log
        code = 'from siamffn_model.cli.main import main; main()'
        options = ['--wait', str(PATIENCE), '--log', str(log), '--rate', str(rate)]
        command = [sys.executable, '-c', code, 'bag', 'play', str(bag), '--topic', images.topic]
        self._process = subprocess.Popen([*command, *options], start_new_session=True)

    def poll(self) -> dict[int, int] | None:
        """Return time of publishing by stamp once all images are played, None before."""
        code = self._process.poll()
        if code is None:
            return None
        if code:
            raise DataError(f'the bag player ended with exit code {code}: see its message above')
        with self._log.open() as file:
            return {stamp: int(time) for stamp, (_, _, time) in zip(self._stamps, csv.reader(file))}

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()


@contextmanager
def graph(
    make_node: Callable[[], AnyNode], make_executor: Callable[[], Executor]
) -> Iterator[tuple[AnyNode, Executor]]:
    """Provide a node and its executor, and end both."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node, executor = make_node(), make_executor()
    executor.add_node(node)
    try:
        yield node, executor
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown()


def prepare(out: Path, names: Iterable[str]) -> None:
    """Make an output folder, and remove the files of these names that an earlier run left there."""
    make_folder(out)
    for name in names:
        (out / name).unlink(missing_ok=True)


def replay(
    source: Path,
    box: Box | None,
    out: Path,
    arguments: list[str],
    topic: str | None,
    rate: float,
) -> tuple[dict[str, Any], Evaluation | None]:
    """Do what `run` does, and score what comes of it where the bag has ground truth.

    Leaves summary.json as well, with all figures; makes the folder `out`, and removes what an
    earlier run left there. Returns the figures of `summarise`, and the scores.
    """
    if source.resolve() in [(out / name).resolve() for name in OUTPUTS]:
        raise DataError(f'{source} would be overwritten: choose another folder for the results')
    prepare(out, OUTPUTS)
    summary = summarise(run(source, box, out, arguments, topic, rate))
    evaluation = None
    if has_truth(source):
        evaluation = evaluate(out / 'detections.mcap', source, DETECTIONS_TOPIC, TRUTH_TOPIC)
    scores = evaluation.summary() if evaluation else None
    write_text(out / 'summary.json', json.dumps({**summary, 'scores': scores}, indent=2) + '\n')
    return summary, evaluation


def run(
    source: Path,
    box: Box | None,
    out: Path,
    arguments: list[str],
    topic: str | None = None,
    rate: float = 1.0,
) -> ReplayResult:
    """Play a bag's images into a tracker node, and record what it says of one target.

    Leaves detections.mcap and node.log in the folder `out`.

    Args:
        source: the bag.
        box: the target in the first image, in pixels; None for the only one that /ground_truth has
            at this image's stamp. Where this stamp is zero, the node takes the latest image.
        out: a folder without these two files.
        arguments: ROS arguments of the node.
        topic: topic of the images; None for the only one.
        rate: speed, 1 as recorded.

    Raises `DataError` for a bag that cannot be used, a topic or box that has to be given, and with
    the end of its log if the node dies, is not ready in time, refuses the box, or gets no image.
    """
    images = read_images(source, topic)
    box = box or true_box(source, images.first)
    needed = node_arguments(
        None, autostart=True, image_transport=images.transport, output_qos='reliable'
    )
    use_profile()
    tracker = TrackerProcess(
        out / 'node.log', [*arguments, *needed, '-r', f'image:={images.topic}']
    )
    player = None
    try:
        with (
            tempfile.TemporaryDirectory() as scratch,
            create_bag(out / 'detections.mcap') as bag,
            graph(partial(Recorder, bag, box, images.first), SingleThreadedExecutor) as (
                recorder,
                executor,
            ),
        ):
            deadline = time.monotonic() + READY
            while not recorder.client.service_is_ready():
                executor.spin_once(timeout_sec=0.1)
                tracker.check()
                if time.monotonic() > deadline:
                    tracker.fail(f'the node was not ready within {READY:.0f} s')
            player = Player(source, images, rate, Path(scratch) / 'published.csv')
            return recorder.result(_play(recorder, executor, tracker, player))
    finally:
        if player:
            player.stop()
        tracker.stop()


def _play(
    recorder: Recorder, executor: Executor, tracker: TrackerProcess, player: Player
) -> dict[int, int]:
    """Spin until the node has told of the last frame played, or nothing comes any more.

    Returns time of publishing by stamp.
    """
    published: dict[int, int] | None = None
    received, progress = 0, time.monotonic()
    while published is None or not recorder.told_of(player.last):
        executor.spin_once(timeout_sec=0.1)
        tracker.check()
        if recorder.refusal:
            raise DataError(f'the node refused the box: {recorder.refusal}')
        published = published or player.poll()
        if recorder.received != received:
            received, progress = recorder.received, time.monotonic()
        patience = LAST if published else PATIENCE + player.pause
        if time.monotonic() - progress > patience:
            if published and received:
                break  # the last frame was lost; the figures will tell
            tracker.fail(f'nothing came from the node for {patience:.0f} s')
    return published
