"""One-pass evaluation: a tracker gets the first box of a sequence and is on its own from there."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from siamffn_model.errors import DataError
from siamffn_model.evaluation.metrics import Floats, score
from siamffn_model.frames import Frames, Image
from siamffn_model.geometry import Box
from siamffn_model.tracking import AnyTracker


class Run(NamedTuple):
    """What a tracker answered: boxes (N, 4) as x, y, w, h, the first as given; its own seconds."""

    boxes: Floats
    seconds: float


class Result(NamedTuple):
    """Scores of one sequence, and images a second without the reading of the images."""

    success: float
    precision: float
    fps: float


def run(tracker: AnyTracker, images: Iterable[Image], first: Box) -> Run:
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
    return Run(np.array(boxes, float), seconds)


def evaluate(tracker: AnyTracker, sequences: Mapping[str, Frames]) -> Iterator[tuple[str, Result]]:
    """Run the tracker over each sequence, with a progress bar, and yield its name and result.

    Raises `DataError` for a sequence without ground truth, or without a box in the first frame.
    """
    for name, frames in sequences.items():
        if frames.groundtruth is None or frames.groundtruth[0] is None:
            raise DataError(f'{frames.path}: no ground truth to start from; see groundtruth.txt')
        with tqdm(frames, total=frames.count, desc=name, leave=False) as images:
            answer = run(tracker, images, frames.groundtruth[0])
        truth = [box or (np.nan,) * 4 for box in frames.groundtruth]
        scores = score(truth, answer.boxes)
        yield name, Result(*scores, fps=len(answer.boxes) / answer.seconds)
