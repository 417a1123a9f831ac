"""Play a bag over DDS into a tracker node, record the output of the node, and evaluate it.

Player, tracker node and recorder are three processes.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from rclpy.executors import Executor, SingleThreadedExecutor
from std_msgs.msg import Header

from siamffn_model.atomic_io import write_text
from siamffn_model.errors import BoxError, ConfigError, DataError
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.groundtruth import read_groundtruth
from siamffn_model.signals import catch_signals
from siamffn_model.tracking.track_video import make_folder
from siamffn_ros.bags.evaluation import ARRAY, SINGLE, Evaluation, evaluate
from siamffn_ros.bags.io import TRUTH_TOPIC, create_bag, open_bag
from siamffn_ros.bags.processes import (
    STALL_TIMEOUT,
    Player,
    TrackerProcess,
    node_arguments,
    node_with_executor,
)
from siamffn_ros.bags.recorder import Recorder, ReplayResult
from siamffn_ros.bags.tracking import DETECTIONS_TOPIC, true_box
from siamffn_ros.latency import Latency
from siamffn_ros.messages.conversions import to_nanoseconds
from siamffn_ros.messages.images import IMAGE_TYPES

OUTPUTS = ('detections.mcap', 'node.log', 'summary.json')
START_TIMEOUT = 60.0  # seconds for the node to start
LAST_FRAME_TIMEOUT = 5.0  # seconds without a message after playback until the replay ends


class ImageTopic(NamedTuple):
    """The images on one topic of a bag.

    Attributes:
        name: the topic.
        transport: 'raw' or 'compressed'.
        first: header of the first image.
        stamps: header stamps in nanoseconds, in the order of record time.
        longest_gap: longest time between two images, in seconds.
    """

    name: str
    transport: str
    first: Header
    stamps: list[int]
    longest_gap: float


def read_image_topic(source: Path, topic: str | None = None) -> ImageTopic:
    """Read the headers of the images on a topic of a bag; `topic` None selects the only one.

    Raises `DataError` for a bag that is damaged or without images, and `ConfigError` if `topic` has
    to be given or is not in the bag.
    """
    first, stamps, times = None, [], []
    with open_bag(source) as bag:
        name = bag.choose_topic(IMAGE_TYPES, topic, '--topic')
        for recorded, message in bag.read(name):
            first = first or message.header
            stamps.append(to_nanoseconds(message.header.stamp))
            times.append(recorded)
        transport = 'compressed' if bag.topics[name].endswith('CompressedImage') else 'raw'
    if first is None:
        raise DataError(f'{source} has no image on {name}: record it again')
    longest_gap = max((later - earlier for earlier, later in pairwise(times)), default=0) / 1e9
    return ImageTopic(name, transport, first, stamps, longest_gap)


def read_box(file: Path) -> Box:
    """Return the box x,y,w,h in the first row of a text file; raises `DataError`."""
    boxes = read_groundtruth(file)
    if not boxes or not boxes[0]:
        raise DataError(f'{file}: no box in its first row; it must be x,y,w,h in pixels')
    return boxes[0]


def has_truth(source: Path) -> bool:
    """Return whether a bag has ground truth on /ground_truth."""
    with open_bag(source) as bag:
        return bag.topics.get(TRUTH_TOPIC) in (ARRAY, SINGLE)


def prepare_folder(out: Path, names: Iterable[str]) -> None:
    """Create an output folder, and remove files with these names that an earlier run has left."""
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
    """Call `play_and_record`, and evaluate the detections if the bag has ground truth.

    Creates the folder `out`, removes the outputs of an earlier run from it, and also writes
    summary.json with all results. Returns the result of `summarise`, and the evaluation.

    Raises `ConfigError` if the bag would be overwritten, and the errors of `play_and_record`.
    """
    if source.resolve() in [(out / name).resolve() for name in OUTPUTS]:
        raise ConfigError(f'{source} would be overwritten: choose another folder for the results')
    prepare_folder(out, OUTPUTS)
    summary = summarise(play_and_record(source, box, out, arguments, topic, rate))
    evaluation = None
    if has_truth(source):
        evaluation = evaluate(out / 'detections.mcap', source, DETECTIONS_TOPIC, TRUTH_TOPIC)
    scores = evaluation.summary() if evaluation else None
    write_text(out / 'summary.json', json.dumps({**summary, 'scores': scores}, indent=2) + '\n')
    return summary, evaluation


def play_and_record(
    source: Path,
    box: Box | None,
    out: Path,
    arguments: list[str],
    topic: str | None = None,
    rate: float = 1.0,
) -> ReplayResult:
    """Play the images of a bag into a tracker node, and record its output for one target.

    Writes detections.mcap and node.log into the folder `out`.

    Args:
        source: the bag.
        box: the target in the first image, in pixels; None for the only box on /ground_truth with
            the stamp of this image. If this stamp is zero, the node takes the latest image.
        out: an existing folder without these two files.
        arguments: ROS arguments of the node.
        topic: topic of the images; None for the only one.
        rate: playback speed relative to the recording.

    Raises `DataError` for a bag that cannot be used or has no box for the first image,
    `ConfigError` if the topic has to be given, `BoxError` if the node refuses the box,
    `ProcessError` with the end of its log if the node ends, does not start in time or publishes
    nothing, and `KeyboardInterrupt` after SIGINT, SIGTERM or SIGHUP, when both processes have
    ended.
    """
    images = read_image_topic(source, topic)
    box = box or true_box(source, images.first)
    required = node_arguments(
        None, autostart=True, image_transport=images.transport, output_qos='reliable'
    )
    with ExitStack() as processes:  # stopped last, also if a second signal comes meanwhile
        tracker = TrackerProcess(
            out / 'node.log', [*arguments, *required, '-r', f'image:={images.name}']
        )
        processes.callback(tracker.stop)
        with (
            catch_signals() as stop_requested,
            tempfile.TemporaryDirectory() as scratch,
            create_bag(out / 'detections.mcap') as bag,
            node_with_executor(
                partial(Recorder, bag, box, images.first), SingleThreadedExecutor
            ) as (recorder, executor),
        ):

            def check() -> None:
                if stop_requested():
                    raise KeyboardInterrupt
                tracker.check()

            _wait_for_node(recorder, executor, tracker, check)
            log = Path(scratch) / 'published.csv'
            player = Player(source, images.name, images.stamps, rate, log)
            processes.callback(player.stop)
            stall_timeout = STALL_TIMEOUT + images.longest_gap / rate
            published = _record(
                recorder, executor, tracker, check, player, images.stamps[-1], stall_timeout
            )
            result = recorder.result(published)
        if stop_requested():  # a signal after the last check
            raise KeyboardInterrupt
    return result


def _wait_for_node(
    recorder: Recorder, executor: Executor, tracker: TrackerProcess, check: Callable[[], None]
) -> None:
    """Spin until the services of the node are available."""
    deadline = time.monotonic() + START_TIMEOUT
    while not recorder.client.service_is_ready():
        executor.spin_once(timeout_sec=0.1)
        check()
        if time.monotonic() > deadline:
            tracker.fail(f'the node was not ready within {START_TIMEOUT:.0f} s')


def _record(
    recorder: Recorder,
    executor: Executor,
    tracker: TrackerProcess,
    check: Callable[[], None],
    player: Player,
    last_stamp: int,
    stall_timeout: float,
) -> dict[int, int]:
    """Spin until the output for the last frame has arrived, or no more messages arrive.

    `check` raises an exception if the replay must end. `stall_timeout` is the maximum time in
    seconds without a message during playback. Returns the times of publishing by header stamp.
    """
    published: dict[int, int] | None = None
    received, last_progress = 0, time.monotonic()
    while published is None or not recorder.has_frame(last_stamp):
        executor.spin_once(timeout_sec=0.1)
        check()
        if recorder.refusal:
            raise BoxError(f'the node refused the box: {recorder.refusal}')
        published = published or player.poll()
        if recorder.received != received:
            received, last_progress = recorder.received, time.monotonic()
        timeout = LAST_FRAME_TIMEOUT if published else stall_timeout
        if time.monotonic() - last_progress > timeout:
            if published and received:
                break  # the last frame was lost, which the statistics show
            tracker.fail(f'no message from the node for {timeout:.0f} s')
    return published


def summarise(result: ReplayResult) -> dict[str, Any]:
    """Return the statistics of a replay by name, for summary.json."""
    published, observations, last = result.published, result.observations, result.last
    latency = Latency.from_milliseconds(
        (each.arrival - published[stamp]) / 1e6 for stamp, each in observations.items()
    )
    arrivals = [each.arrival for each in observations.values()]
    seconds = (max(arrivals) - min(arrivals)) / 1e9
    return {
        'frames_published': len(published),
        'frames_received': last.frames_processed + last.frames_dropped,
        'frames_tracked': last.frames_processed,
        'frames_dropped': last.frames_dropped,
        'latency_ms': {'median': round(latency.median, 2), 'p95': round(latency.p95, 2)},
        'fps': round((len(arrivals) - 1) / seconds, 2) if seconds else 0.0,
        'mean_score': round(statistics.fmean(each.score for each in observations.values()), 3),
        'states': dict(Counter(each.state.name for each in observations.values())),
    }


def summary_table(summary: Mapping[str, Any]) -> str:
    """Return the statistics of `summarise` as text, one in each line.

    The first frames may be tracked without being published: a target is published once it has
    caught up with the newest image.
    """
    shown = sum(summary['states'].values())
    latency = summary['latency_ms']
    rows = {
        'frames published': summary['frames_published'],
        'frames received by the node': summary['frames_received'],
        'frames tracked': f'{summary["frames_tracked"]}, {shown} of them published',
        'frames dropped': summary['frames_dropped'],
        'latency (median, p95)': f'{latency["median"]} ms, {latency["p95"]} ms',
        'rate': f'{summary["fps"]} frames/s',
        'mean score': summary['mean_score'],
        'states': ', '.join(f'{name} {count}' for name, count in summary['states'].items()),
    }
    return '\n'.join(f'{name:<28}{value}' for name, value in rows.items())
