"""Success and precision of one-pass evaluation, counted as the OTB and UAV tool kits count them.

Three rules matter where other tool kits differ, and only with them are published figures met:
frame 1's result is replaced by the ground truth; an unusable result row is replaced by the row
before it; frames without annotation (target absent) stay in the denominator, as failures in success
and as hits in precision.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamffn_model.errors import DataError
from siamffn_model.geometry import iou

Floats = NDArray[np.float64]

OVERLAPS: Floats = np.linspace(0, 1, 21)  # thresholds of the success curve
DISTANCE = 20.0  # pixels: threshold of precision
NOT_ANNOTATED = -1.0  # overlap and distance of a frame without annotation


class Scores(NamedTuple):
    """Of one sequence, each in [0, 1]: area under the success curve; precision at 20 pixels."""

    success: float
    precision: float


def score(truth: ArrayLike, result: ArrayLike) -> Scores:
    """Score one sequence.

    Args:
        truth: boxes (N, 4) as x, y, w, h in pixels; NaN where the target is absent.
        result: the tracker's boxes (M, 4); M below N scores the first M frames only.

    Raises:
        DataError: no rows, more rows than `truth` has, or not four values a row.
    """
    overlap, distance = compare(truth, result)
    return Scores(float(success_curve(overlap).mean()), precision(distance))


def compare(truth: ArrayLike, result: ArrayLike) -> tuple[Floats, Floats]:
    """Return overlap (M) in [0, 1] and distance of the centres (M) in pixels, frame by frame.

    Both are -1 where the frame has no annotation: a box all of whose four values are above 0.
    Arguments and errors are those of `score`.
    """
    truth, result = np.asarray(truth, float), np.array(result, float)
    if truth.ndim != 2 or result.ndim != 2 or truth.shape[1] != 4 or result.shape[1] != 4:
        raise DataError(
            f'boxes must be rows of x, y, w, h: the ground truth has the shape {truth.shape}, '
            f'the result {result.shape}'
        )
    if not 0 < len(result) <= len(truth):
        raise DataError(
            f'{len(result)} rows of results for {len(truth)} frames: there must be at least one '
            'row and at most one a frame; is the result of another sequence?'
        )
    truth = truth[: len(result)]
    result[0] = truth[0]
    result = _repeat_last_usable(result)
    annotated = (truth > 0).all(axis=1)
    overlap = np.where(annotated, iou(truth, result), NOT_ANNOTATED)
    distance = np.linalg.norm(_centre(truth) - _centre(result), axis=1)
    return overlap, np.where(annotated, distance, NOT_ANNOTATED)


def success_curve(overlap: Floats) -> Floats:
    """Return the share of frames (21) whose overlap is strictly above 0, 0.05, ..., 1."""
    return np.asarray((overlap[:, None] > OVERLAPS).mean(axis=0), float)


def precision(distance: Floats) -> float:
    """Return the share of frames whose centre is at most 20 pixels off."""
    return float((distance <= DISTANCE).mean())


def _repeat_last_usable(boxes: Floats) -> Floats:
    """Replace rows with NaN, infinity or without area by the last usable row before them."""
    usable = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    source = np.maximum.accumulate(np.where(usable, np.arange(len(boxes)), 0))
    return boxes[source]


def _centre(boxes: Floats) -> Floats:
    """The middle pixel: with the tool kits' (size - 1) / 2, whatever the coordinates count from."""
    return boxes[:, :2] + (boxes[:, 2:] - 1) / 2
