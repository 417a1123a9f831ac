"""One tracker on one sequence: the run, the files it leaves, and whether it is done."""

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
from siamffn_model.imaging.sources import Image
from siamffn_model.tracking import TrackerProtocol


class TrackerOutput(NamedTuple):
    """What a tracker answered: boxes (N, 4) as x, y, w, h, the first as given; its own seconds."""

    boxes: Floats
    seconds: float


class Job(NamedTuple):
    """One tracker on one sequence, and the files of the answer."""

    contestant: TrackerSpec
    sequence: Sequence
    resets: bool
    result: Path  # in the benchmark's text format
    record: Path  # what it depends on, number of frames and seconds; written last

    def identity(self) -> dict[str, str]:
        """Return what the answer depends on."""
        truth = hashlib.sha256(self.sequence.truth.tobytes()).hexdigest()
        return {**self.contestant.identity, 'truth': truth, 'resets': str(self.resets)}

    def done(self) -> bool:
        """Whether the answer is there, whole, and of this very tracker and sequence."""
        return self.recorded() is not None

    def recorded(self) -> dict[str, Any] | None:
        """Return the record of an answer that is done, else None."""
        try:
            record: dict[str, Any] = json.loads(self.record.read_text())
        except (OSError, ValueError):
            return None
        done = self.result.is_file() and record.get('identity') == self.identity()
        return record if done else None


def run(tracker: TrackerProtocol, images: Iterable[Image], first: Box) -> TrackerOutput:
    """Follow one target through `images` (at least one), starting from its box in the first."""
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


def run_job(job: Job, trackers: dict[str, TrackerProtocol], tick: Callable[[], object]) -> None:
    """Run one job; `trackers` keeps those made, by name; `tick` is called with each image."""
    name, sequence = job.contestant.name, job.sequence
    if name not in trackers:
        trackers[name] = job.contestant.make()
    try:
        text, frames, seconds = _answer(job, trackers[name], tick)
    except SiamFFNError as error:
        raise type(error)(f'{name}, {sequence.name}: {error}') from error
    write_text(job.result, text)
    record = {'identity': job.identity(), 'frames': frames, 'seconds': seconds}
    write_text(job.record, json.dumps(record) + '\n')


def _answer(
    job: Job, tracker: TrackerProtocol, tick: Callable[[], object]
) -> tuple[str, int, float]:
    """Return the answer as text, and how many frames the tracker got in how many seconds."""
    if job.resets:
        answer = run_sequence_with_resets(tracker, job.sequence, tick)
        return vot.format_run(answer.run), answer.frames, answer.seconds
    boxes, seconds = run_sequence(tracker, job.sequence, tick)
    return format_boxes(boxes), len(boxes), seconds


def run_sequence(
    tracker: TrackerProtocol, sequence: Sequence, tick: Callable[[], object]
) -> TrackerOutput:
    """Run it in one pass; the boxes count pixels as the sequence does."""
    boxes, seconds = run(tracker, _images(sequence, tick), sequence.first)
    boxes[1:, :2] += sequence.origin
    boxes[0] = sequence.truth[0]
    return TrackerOutput(boxes, seconds)


def run_sequence_with_resets(
    tracker: TrackerProtocol, sequence: Sequence, tick: Callable[[], object]
) -> vot.Followed:
    assert sequence.size is not None
    return vot.follow(tracker, _images(sequence, tick), sequence.truth, sequence.size)


def _images(sequence: Sequence, tick: Callable[[], object]) -> Iterator[Image]:
    assert sequence.frames is not None
    for image in sequence.frames:
        tick()
        yield image
