"""Run one tracker on one sequence and save its result."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from siamffn_model.atomic_io import write_text
from siamffn_model.datasets.sequences import Sequence
from siamffn_model.errors import SiamFFNError
from siamffn_model.evaluation import vot
from siamffn_model.evaluation.metrics import Floats
from siamffn_model.evaluation.raw_results import format_boxes
from siamffn_model.evaluation.tracker_specs import TrackerSpec
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image
from siamffn_model.tracking import TrackerProtocol

OnFrame = Callable[[], object]  # called with each image that is read


class TrackerOutput(NamedTuple):
    """The output of a tracker on one sequence.

    Attributes:
        boxes: (N, 4) x, y, w, h in pixels; the first is the initial box.
        seconds: time spent in the tracker, without reading the images.
    """

    boxes: Floats
    seconds: float


class Job(NamedTuple):
    """One tracker on one sequence, and the files it writes.

    Attributes:
        tracker: the tracker to run.
        sequence: its images must be available.
        resets: whether to run VOT's reset-based protocol.
        result: result file in the text format of the benchmark.
        record: JSON file with the identity of the result, the number of frames and the seconds;
            it is written last.
    """

    tracker: TrackerSpec
    sequence: Sequence
    resets: bool
    result: Path
    record: Path

    def identity(self) -> dict[str, str]:
        """Return everything that the result depends on."""
        truth = hashlib.sha256(self.sequence.truth.tobytes()).hexdigest()
        return {**self.tracker.identity, 'truth': truth, 'resets': str(self.resets)}

    def done(self) -> bool:
        """Return whether a complete result of this tracker on this sequence exists."""
        return self.recorded() is not None

    def recorded(self) -> dict[str, Any] | None:
        """Return the record of a complete result, or None."""
        try:
            record: dict[str, Any] = json.loads(self.record.read_text())
        except (OSError, ValueError):
            return None
        done = self.result.is_file() and record.get('identity') == self.identity()
        return record if done else None


def run_job(job: Job, trackers: dict[str, TrackerProtocol], on_frame: OnFrame) -> None:
    """Run one job and write its files.

    Args:
        job: the tracker and the sequence.
        trackers: trackers created so far by name; a missing one is created and added.
        on_frame: called with each image that is read.

    Raises:
        SiamFFNError: an error of the tracker or the images, with the tracker and the sequence.
    """
    name, sequence = job.tracker.name, job.sequence
    if name not in trackers:
        trackers[name] = job.tracker.make()
    try:
        text, frames, seconds = _run(job, trackers[name], on_frame)
    except SiamFFNError as error:
        raise type(error)(f'{name}, {sequence.name}: {error}') from error
    write_text(job.result, text)
    record = {'identity': job.identity(), 'frames': frames, 'seconds': seconds}
    write_text(job.record, json.dumps(record) + '\n')


def _run(job: Job, tracker: TrackerProtocol, on_frame: OnFrame) -> tuple[str, int, float]:
    """Return the text of the result, the number of frames tracked, and the seconds they took."""
    if job.resets:
        output = run_sequence_with_resets(tracker, job.sequence, on_frame)
        return vot.format_run(output.run), output.frames, output.seconds
    boxes, seconds = run_sequence(tracker, job.sequence, on_frame)
    return format_boxes(boxes), len(boxes), seconds


def run_sequence(tracker: TrackerProtocol, sequence: Sequence, on_frame: OnFrame) -> TrackerOutput:
    """Run a tracker once over a sequence; the boxes are in the sequence's coordinates."""
    boxes, seconds = run_one_pass(tracker, _images(sequence, on_frame), sequence.first)
    boxes[1:, :2] += sequence.origin
    boxes[0] = sequence.truth[0]
    return TrackerOutput(boxes, seconds)


def run_sequence_with_resets(
    tracker: TrackerProtocol, sequence: Sequence, on_frame: OnFrame
) -> vot.LiveRun:
    """Run a tracker over a sequence with VOT's reset-based protocol."""
    assert sequence.size is not None
    images = _images(sequence, on_frame)
    return vot.run_with_resets(tracker, images, sequence.truth, sequence.size)


def run_one_pass(tracker: TrackerProtocol, images: Iterable[Image], first: Box) -> TrackerOutput:
    """Track one target through `images` (at least one) from its box in the first image."""
    boxes = [first]
    seconds = 0.0
    for number, image in enumerate(images):
        start = time.perf_counter()
        if number == 0:
            tracker.init(image, first)
        else:
            boxes.append(tracker.update(image).box)
        seconds += time.perf_counter() - start
    return TrackerOutput(np.array(boxes, float), seconds)


def _images(sequence: Sequence, on_frame: OnFrame) -> Iterator[Image]:
    assert sequence.frames is not None
    for image in sequence.frames:
        on_frame()
        yield image
