"""Detections in a bag, of whatever tracker, against the ground truth in the same or another one."""

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
LONGEST = 3_600_000.0  # milliseconds: beyond, stamp and record time are of different clocks

Boxes = dict[int, Box | None]  # by stamp in nanoseconds; None: a message without the target


@dataclass(frozen=True)
class Evaluation:
    """How well the detections of one target agree with its ground truth.

    Attributes:
        success: area under the success curve, in [0, 1].
        precision: share of frames whose centre is at most 20 pixels off.
        norm_precision: the same at 0.2 of the target's size.
        frames: frames of the ground truth that count.
        missing: those of them of which the detections have no message.
        lost: those of them whose message is without the target.
        before: frames of the ground truth that do not count, being before the start.
        latency: of the detections from the start on; None where the stamps are of another clock
            than the recorder's.
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
        """Return all figures by name, as numbers rounded to 4 decimals."""
        numbers = asdict(self)
        del numbers['latency']
        latency = self.latency and _rounded(self.latency._asdict())
        return {**_rounded(numbers), 'latency_ms': latency}

    def table(self) -> str:
        """Return the figures for people."""
        latency = 'unknown: the stamps are of another clock than the record times'
        if self.latency:
            latency = 'median {:.1f} ms, p95 {:.1f} ms, max {:.1f} ms'.format(*self.latency)
        rows = {
            'success': f'{self.success:.3f}',
            'precision': f'{self.precision:.3f}',
            'norm. precision': f'{self.norm_precision:.3f}',
            'frames': f'{self.frames}, and {self.before} before the start, which do not count',
            'without message': self.missing,
            'without target': self.lost,
            'stamp to record': latency,
        }
        return '\n'.join(f'{name:<17}{value}' for name, value in rows.items())


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) for name, value in values.items()}


def evaluate(
    detections: Path,
    truth: Path,
    topic: str | None = None,
    truth_topic: str | None = None,
    target: str | None = None,
) -> Evaluation:
    """Compare detections with ground truth, frame by frame, paired by the stamps of their headers.

    It starts at the first frame in which the target is there and of which, or of an earlier one,
    there is a detection: a tracker may be given its target late. From there on every frame of the
    ground truth counts. One without detection has overlap 0 and an infinite distance. One without
    the target counts as in the UAV benchmarks, as a failure in success and as a hit in precision.

    Args:
        detections: bag with Detection2DArray, or Detection2D, in which a frame without target has
            no message; `topic` names the topic, None the only one.
        truth: the same of the ground truth, with `truth_topic`; may be the same bag.
        target: id (else the class) in both; None for the only one. The id of the ground truth does
            not matter where it has one only.

    Raises `DataError` that names the bag for one that is damaged, a topic or target that is not
    there or has to be chosen, two boxes of a target in one frame, and no stamp in common.
    """
    found = _read(detections, topic, '--topic')
    known = _read(truth, truth_topic, '--truth-topic')
    if found.topic == known.topic and detections.resolve() == truth.resolve():
        raise ConfigError(
            f'{truth}: {known.topic} would be compared with itself: name the topic of the '
            'detections with --topic and that of the ground truth with --truth-topic'
        )
    target = found.choose_target(target)
    boxes = found.boxes(target)
    true_boxes = known.boxes(known.choose_target(target if len(known.targets) > 1 else None))
    if not boxes.keys() & true_boxes.keys():
        raise DataError(
            f'no stamp on {found.topic} of {detections} (from {min(boxes) / 1e9:.3f} s) is one on '
            f'{known.topic} of {truth} (from {min(true_boxes) / 1e9:.3f} s): '
            'give bags of the same images'
        )
    start = _start(boxes, true_boxes)
    if start is None:
        raise DataError(
            f'{truth}: no ground truth of the time after the first detection in {detections}: '
            'give the bag that was played to the tracker'
        )
    delays = [recorded - stamp for stamp, recorded in found.recorded if stamp >= start]
    return _compare(boxes, true_boxes, start, _latency(delays))


def _start(boxes: Boxes, truth: Boxes) -> int | None:
    """Return the first stamp with a target at which there has been a detection."""
    first = min(stamp for stamp, box in boxes.items() if box)
    return min((stamp for stamp, box in truth.items() if box and stamp >= first), default=None)


def _compare(boxes: Boxes, truth: Boxes, start: int, latency: Latency | None) -> Evaluation:
    stamps = sorted(stamp for stamp in truth if stamp >= start)
    rows = [[source.get(stamp) or NO_BOX for stamp in stamps] for source in (truth, boxes)]
    known, found = np.array(rows, float)
    annotated = np.asarray((known[:, 2:] > 0).all(axis=1), bool)
    scores = compare_boxes(known, found, annotated).curves().scores
    return Evaluation(
        *scores,
        frames=len(stamps),
        missing=sum(stamp not in boxes for stamp in stamps),
        lost=sum(stamp in boxes and boxes[stamp] is None for stamp in stamps),
        before=len(truth) - len(stamps),
        latency=latency,
    )


def _latency(nanoseconds: list[int]) -> Latency | None:
    delays = [delay / 1e6 for delay in nanoseconds]
    if not delays or min(delays) < 0 or max(delays) > LONGEST:
        return None
    return Latency.from_milliseconds(delays)


class _Topic(NamedTuple):
    """What one topic of a bag tells.

    Attributes:
        frames: what each message tells: its stamp, and id and box of each detection.
        recorded: stamp and record time of each message; all times in nanoseconds.
    """

    path: Path
    topic: str
    frames: list[tuple[int, list[tuple[str, Box]]]]
    recorded: list[tuple[int, int]]

    @property
    def targets(self) -> list[str]:
        """The ids of all detections."""
        return sorted({name for _, found in self.frames for name, _ in found})

    def choose_target(self, wanted: str | None) -> str:
        """Return the id that is wanted, or the only one."""
        targets = self.targets
        if not targets:
            raise DataError(
                f'{self.path}: no detection on {self.topic}: was the tracker given a target?'
            )
        if wanted in targets:
            return wanted
        if wanted is None and len(targets) == 1:
            return targets[0]
        found = 'several targets' if wanted is None else f'no target {wanted!r}'
        raise ConfigError(
            f'{self.path}: {found} on {self.topic}: give --target with one of '
            + ', '.join(map(repr, targets))
        )

    def boxes(self, target: str) -> Boxes:
        """Return the target's boxes; Detection2D of one frame belong together."""
        boxes: Boxes = {}
        for stamp, found in self.frames:
            boxes.setdefault(stamp, None)
            for name, box in found:
                if name != target:
                    continue
                if boxes[stamp]:
                    raise DataError(
                        f'{self.path}: two boxes of {target!r} on {self.topic} at the stamp '
                        f'{stamp / 1e9:.3f} s: give each target an id, each image a stamp of its '
                        'own, and record one pass only'
                    )
                boxes[stamp] = box
        return boxes


def _read(path: Path, topic: str | None, option: str) -> _Topic:
    with open_bag(path) as bag:
        topic = bag.choose_topic((ARRAY, SINGLE), topic, option)
        told = _Topic(path, topic, [], [])
        for recorded, message in bag.read(topic):
            stamp = to_nanoseconds(message.header.stamp)
            detections = [message] if bag.topics[topic] == SINGLE else message.detections
            try:
                told.frames.append((stamp, list(_named_boxes(detections))))
            except BoxError as error:
                raise DataError(
                    f'{path}: {topic} at the stamp {stamp / 1e9:.3f} s: {error}'
                ) from error
            told.recorded.append((stamp, recorded))
    return told


def _named_boxes(detections: Iterable[Detection2D]) -> Iterable[tuple[str, Box]]:
    for detection in detections:
        name = detection.id
        if not name and detection.results:
            name = detection.results[0].hypothesis.class_id
        yield name, to_box(detection.bbox)
