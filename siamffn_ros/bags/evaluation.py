"""Evaluate the detections of a tracker in a bag against ground truth in the same or another bag."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from vision_msgs.msg import Detection2D

from siamffn_model.errors import BoxError, ConfigError, DataError
from siamffn_model.evaluation.metrics import compare_boxes
from siamffn_model.imaging.geometry import Box
from siamffn_ros.bags.io import open_bag
from siamffn_ros.latency import Latency
from siamffn_ros.messages.conversions import to_box, to_nanoseconds

ARRAY, SINGLE = 'vision_msgs/msg/Detection2DArray', 'vision_msgs/msg/Detection2D'
NO_BOX = Box(np.nan, np.nan, np.nan, np.nan)
MAX_LATENCY = 3_600_000.0  # milliseconds: if longer, stamps and record times use different clocks

Boxes = dict[int, Box | None]  # by stamp in nanoseconds; None for a message without the target


@dataclass(frozen=True)
class Evaluation:
    """Scores of the detections of one target.

    Attributes:
        success: area under the success curve, in [0, 1].
        precision: fraction of frames with a centre error of at most 20 pixels.
        norm_precision: fraction of frames with a centre error of at most 0.2 of the target's size.
        frames: number of frames evaluated.
        missing: number of these without a message of detections.
        lost: number of these whose message does not contain the target.
        before: number of frames of the ground truth before the first detection, which are ignored.
        latency: from header stamp to record time; None if the two use different clocks.
    """

    success: float
    precision: float
    norm_precision: float
    frames: int
    missing: int
    lost: int
    before: int
    latency: Latency | None

    def summary(self) -> dict[str, Any]:
        """Return all scores by name, rounded to 4 decimals."""
        scores = asdict(self)
        del scores['latency']
        latency = self.latency and _round_values(self.latency._asdict())
        return {**_round_values(scores), 'latency_ms': latency}

    def table(self) -> str:
        """Return the scores as text, one in each line."""
        latency = 'unknown: stamps and record times are from different clocks'
        if self.latency:
            latency = 'median {:.1f} ms, p95 {:.1f} ms, max {:.1f} ms'.format(*self.latency)
        rows = {
            'success': f'{self.success:.3f}',
            'precision': f'{self.precision:.3f}',
            'norm. precision': f'{self.norm_precision:.3f}',
            'frames': f'{self.frames} ({self.before} more before the first detection are ignored)',
            'without message': self.missing,
            'without target': self.lost,
            'stamp to record': latency,
        }
        return '\n'.join(f'{name:<17}{value}' for name, value in rows.items())


def _round_values(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) for name, value in values.items()}


def evaluate(
    detections: Path,
    truth: Path,
    topic: str | None = None,
    truth_topic: str | None = None,
    target: str | None = None,
) -> Evaluation:
    """Compare detections with ground truth, frame by frame, matched by header stamp.

    Evaluation starts at the first frame with ground truth at or after the first detection, since a
    tracker may be initialised late. From there on every frame of the ground truth is evaluated. A
    frame without a detection has overlap 0 and an infinite centre error. As in the UAV123
    benchmark, a frame in which the target is absent is a failure in success and a hit in precision.

    Args:
        detections: bag with Detection2DArray, or with Detection2D, where a frame in which the
            target is lost has no message.
        truth: bag with the ground truth, in the same types; may be the same bag.
        topic: topic of the detections; None for the only one.
        truth_topic: topic of the ground truth; None for the only one.
        target: id, or class if there is no id, of the target in both; None for the only one. The id
            in the ground truth is ignored if it has only one.

    Raises `DataError` for a bag that is damaged or without detections, a target with two boxes in
    one frame, and bags without common stamps; `ConfigError` for a topic or target that is not in
    the bag or has to be given.
    """
    results = _read(detections, topic, '--topic')
    reference = _read(truth, truth_topic, '--truth-topic')
    if results.topic == reference.topic and detections.resolve() == truth.resolve():
        raise ConfigError(
            f'{truth}: {reference.topic} would be compared with itself: give the topic of the '
            'detections with --topic and that of the ground truth with --truth-topic'
        )
    target = results.choose_target(target)
    boxes = results.boxes(target)
    true_target = reference.choose_target(target if len(reference.targets) > 1 else None)
    true_boxes = reference.boxes(true_target)
    if not boxes.keys() & true_boxes.keys():
        raise DataError(
            f'{results.topic} of {detections} (from {min(boxes) / 1e9:.3f} s) and '
            f'{reference.topic} of {truth} (from {min(true_boxes) / 1e9:.3f} s) have no stamp in '
            'common: give bags of the same images'
        )
    start = _first_evaluated_stamp(boxes, true_boxes)
    if start is None:
        raise DataError(
            f'{truth}: no ground truth after the first detection in {detections}: '
            'give the bag that was played to the tracker'
        )
    latencies = [recorded - stamp for stamp, recorded in results.recorded if stamp >= start]
    return _compare(boxes, true_boxes, start, _latency(latencies))


def _first_evaluated_stamp(boxes: Boxes, truth: Boxes) -> int | None:
    """Return the first stamp with ground truth at or after the first detection, None without."""
    first = min(stamp for stamp, box in boxes.items() if box)
    return min((stamp for stamp, box in truth.items() if box and stamp >= first), default=None)


def _compare(boxes: Boxes, truth: Boxes, start: int, latency: Latency | None) -> Evaluation:
    stamps = sorted(stamp for stamp in truth if stamp >= start)
    rows = [[source.get(stamp) or NO_BOX for stamp in stamps] for source in (truth, boxes)]
    true_boxes, predicted_boxes = np.array(rows, float)
    annotated = np.asarray((true_boxes[:, 2:] > 0).all(axis=1), bool)
    scores = compare_boxes(true_boxes, predicted_boxes, annotated).curves().scores
    return Evaluation(
        *scores,
        frames=len(stamps),
        missing=sum(stamp not in boxes for stamp in stamps),
        lost=sum(stamp in boxes and boxes[stamp] is None for stamp in stamps),
        before=len(truth) - len(stamps),
        latency=latency,
    )


def _latency(nanoseconds: list[int]) -> Latency | None:
    latencies = [value / 1e6 for value in nanoseconds]
    if not latencies or min(latencies) < 0 or max(latencies) > MAX_LATENCY:
        return None
    return Latency.from_milliseconds(latencies)


class _DetectionTopic(NamedTuple):
    """The messages on one topic of a bag; all times in nanoseconds.

    Attributes:
        path: the bag.
        topic: name of the topic.
        frames: for each message, its stamp and the (id, box) of each detection.
        recorded: stamp and record time of each message.
    """

    path: Path
    topic: str
    frames: list[tuple[int, list[tuple[str, Box]]]]
    recorded: list[tuple[int, int]]

    @property
    def targets(self) -> list[str]:
        """The sorted ids of all detections."""
        return sorted({name for _, detections in self.frames for name, _ in detections})

    def choose_target(self, target: str | None) -> str:
        """Return `target` if it is on the topic; if it is None, the only target."""
        targets = self.targets
        if not targets:
            raise DataError(
                f'{self.path}: no detection on {self.topic}: was a target given to the tracker?'
            )
        if target in targets:
            return target
        if target is None and len(targets) == 1:
            return targets[0]
        problem = 'several targets' if target is None else f'no target {target!r}'
        raise ConfigError(
            f'{self.path}: {problem} on {self.topic}: give --target with one of '
            + ', '.join(map(repr, targets))
        )

    def boxes(self, target: str) -> Boxes:
        """Return the boxes of a target; Detection2D messages with one stamp are one frame."""
        boxes: Boxes = {}
        for stamp, detections in self.frames:
            boxes.setdefault(stamp, None)
            for name, box in detections:
                if name != target:
                    continue
                if boxes[stamp]:
                    raise DataError(
                        f'{self.path}: two boxes of {target!r} on {self.topic} at the stamp '
                        f'{stamp / 1e9:.3f} s: give each target its own id and each image its own '
                        'stamp, and record only one pass'
                    )
                boxes[stamp] = box
        return boxes


def _read(path: Path, topic: str | None, option: str) -> _DetectionTopic:
    with open_bag(path) as bag:
        topic = bag.choose_topic((ARRAY, SINGLE), topic, option)
        result = _DetectionTopic(path, topic, [], [])
        for recorded, message in bag.read(topic):
            stamp = to_nanoseconds(message.header.stamp)
            detections = [message] if bag.topics[topic] == SINGLE else message.detections
            try:
                result.frames.append((stamp, list(_named_boxes(detections))))
            except BoxError as error:
                raise DataError(
                    f'{path}: {topic} at the stamp {stamp / 1e9:.3f} s: {error}'
                ) from error
            result.recorded.append((stamp, recorded))
    return result


def _named_boxes(detections: Iterable[Detection2D]) -> Iterable[tuple[str, Box]]:
    for detection in detections:
        name = detection.id
        if not name and detection.results:
            name = detection.results[0].hypothesis.class_id
        yield name, to_box(detection.bbox)
