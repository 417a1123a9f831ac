"""A bag played over DDS into a tracker node, each in its own process, and what the node said."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from rclpy.executors import Executor, SingleThreadedExecutor
from std_msgs.msg import Header

from siamffn_model.atomic_io import write_text
from siamffn_model.errors import BoxError, ConfigError, DataError
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import read_groundtruth
from siamffn_model.tracking.track_video import make_folder
from siamffn_ros.bags.evaluation import ARRAY, SINGLE, Evaluation, evaluate
from siamffn_ros.bags.io import TRUTH_TOPIC, create_bag, open_bag
from siamffn_ros.bags.processes import (
    PATIENCE,
    Player,
    TrackerProcess,
    graph,
    node_arguments,
)
from siamffn_ros.bags.recorder import Recorder, ReplayResult
from siamffn_ros.bags.tracking import DETECTIONS_TOPIC, true_box
from siamffn_ros.dds import use_profile
from siamffn_ros.latency import Latency
from siamffn_ros.messages.conversions import to_nanoseconds
from siamffn_ros.messages.images import IMAGE_TYPES

OUTPUTS = ('detections.mcap', 'node.log', 'summary.json')
READY = 60.0  # seconds the node has to start
LAST = 5.0  # seconds to wait for the last frames once all are played


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


def summarise(result: ReplayResult) -> dict[str, Any]:
    """Return the figures of a run, as numbers by name."""
    published, seen, last = result.published, result.seen, result.last
    latency = Latency.from_milliseconds(
        (s.arrival - published[stamp]) / 1e6 for stamp, s in seen.items()
    )
    arrivals = [s.arrival for s in seen.values()]
    seconds = (max(arrivals) - min(arrivals)) / 1e9
    return {
        'frames_published': len(published),
        'frames_received': last.frames_processed + last.frames_dropped,
        'frames_tracked': last.frames_processed,
        'frames_dropped': last.frames_dropped,
        'latency_ms': {'median': _round(latency.median), 'p95': _round(latency.p95)},
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
        raise ConfigError(f'{source} would be overwritten: choose another folder for the results')
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

    Raises `DataError` for a bag that cannot be used or without the box, `ConfigError` for a topic
    that has to be given, `BoxError` if the node refuses the box, and `ProcessError` with the end of
    its log if the node dies, is not ready in time or publishes nothing.
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
            player = Player(
                source, images.topic, images.stamps, rate, Path(scratch) / 'published.csv'
            )
            return recorder.result(
                _play(recorder, executor, tracker, player, images.stamps[-1], images.pause / rate)
            )
    finally:
        if player:
            player.stop()
        tracker.stop()


def _play(
    recorder: Recorder,
    executor: Executor,
    tracker: TrackerProcess,
    player: Player,
    last: int,
    pause: float,
) -> dict[int, int]:
    """Spin until the node has told of the last frame played, or nothing comes any more.

    Returns time of publishing by stamp.
    """
    published: dict[int, int] | None = None
    received, progress = 0, time.monotonic()
    while published is None or not recorder.told_of(last):
        executor.spin_once(timeout_sec=0.1)
        tracker.check()
        if recorder.refusal:
            raise BoxError(f'the node refused the box: {recorder.refusal}')
        published = published or player.poll()
        if recorder.received != received:
            received, progress = recorder.received, time.monotonic()
        patience = LAST if published else PATIENCE + pause
        if time.monotonic() - progress > patience:
            if published and received:
                break  # the last frame was lost; the figures will tell
            tracker.fail(f'nothing came from the node for {patience:.0f} s')
    return published
