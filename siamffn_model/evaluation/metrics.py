"""Success and precision of one-pass evaluation, counted as the OTB and UAV tool kits count them.

Three rules matter where other tool kits differ, and only with them are published figures met:
frame 1's result is replaced by the ground truth; an unusable result row is replaced by the row
before it; frames without annotation (target absent) stay in the denominator, as failures in success
and as hits in precision.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamffn_model.errors import DataError
from siamffn_model.imaging.geometry import iou

Floats = NDArray[np.float64]

OVERLAPS: Floats = np.linspace(0, 1, 21)  # thresholds of the success curve
DISTANCES: Floats = np.linspace(0, 50, 51)  # pixels: thresholds of the precision curve
NORM_DISTANCES: Floats = DISTANCES / 100  # of the target's width and height
DISTANCE = 20  # pixels: threshold of precision
NORM_DISTANCE = 20  # hundredths of the target's size: threshold of normalised precision
NOT_ANNOTATED = -1.0  # overlap and distance of a frame without annotation


class Scores(NamedTuple):
    """Each in [0, 1].

    Attributes:
        success: area under the success curve.
        precision: share of frames whose centre is at most 20 pixels off.
        norm_precision: the same at 0.2 of the target's size (LaSOT).
    """

    success: float
    precision: float
    norm_precision: float


class Curves(NamedTuple):
    """Shares of frames, in [0, 1].

    Attributes:
        success: (21) whose overlap is strictly above `OVERLAPS`.
        precision: (51) whose centre is off by at most `DISTANCES`.
        norm_precision: (51) the same in units of the target's size, by at most `NORM_DISTANCES`.
    """

    success: Floats
    precision: Floats
    norm_precision: Floats

    @property
    def scores(self) -> Scores:
        """The figures that stand for the curves."""
        return Scores(
            float(self.success.mean()),
            float(self.precision[DISTANCE]),
            float(self.norm_precision[NORM_DISTANCE]),
        )


class Comparison(NamedTuple):
    """Frame by frame (N), -1 without annotation.

    Attributes:
        overlap: intersection over union, in [0, 1].
        distance: of the centres, in pixels.
        norm_distance: the same in units of the target's width and height.
    """

    overlap: Floats
    distance: Floats
    norm_distance: Floats

    def curves(self, absent_counts: bool = True) -> Curves:
        """Return the shares of frames at each threshold.

        Frames without annotation count as failures in success and as hits in precision; with
        `absent_counts` off they do not count, which published figures do not follow.
        """
        kept = self
        if not absent_counts:
            annotated = self.overlap != NOT_ANNOTATED
            kept = Comparison(*(values[annotated] for values in self))
        return Curves(
            _shares(-kept.overlap, -OVERLAPS, strictly=True),
            _shares(kept.distance, DISTANCES),
            _shares(kept.norm_distance, NORM_DISTANCES),
        )


def mean_curves(curves: Iterable[Curves]) -> Curves:
    """Return the plain mean over sequences (not over frames)."""
    return Curves(*(np.mean(values, axis=0) for values in zip(*curves)))


def score(truth: ArrayLike, result: ArrayLike) -> Scores:
    """Score one sequence; arguments and errors are those of `compare`."""
    return compare(truth, result).curves().scores


def compare(truth: ArrayLike, result: ArrayLike) -> Comparison:
    """Compare one sequence, frame by frame.

    Args:
        truth: boxes (N, 4) as x, y, w, h in pixels; NaN where the target is absent. A frame counts
            as annotated if all four are above 0, which is the tool kits' rule.
        result: the tracker's boxes (N, 4); one less, as some published results have, compares
            without the last frame.

    Raises:
        DataError: another number of rows, none, or not four values a row.
    """
    truth, result = np.asarray(truth, float), np.array(result, float)
    if truth.ndim != 2 or result.ndim != 2 or truth.shape[1] != 4 or result.shape[1] != 4:
        raise DataError(
            f'boxes must be rows of x, y, w, h: the ground truth has the shape {truth.shape}, '
            f'the result {result.shape}'
        )
    if not len(truth) - 1 <= len(result) <= len(truth) or not len(result):
        raise DataError(
            f'{len(result)} rows of results for {len(truth)} frames: there must be one a frame '
            '(only the last may be missing); is the run unfinished, or of another sequence?'
        )
    truth = truth[: len(result)]
    result[0] = truth[0]
    annotated = np.asarray((truth > 0).all(axis=1), bool)
    return compare_boxes(truth, _repeat_last_usable(result), annotated)


def compare_boxes(truth: Floats, boxes: Floats, annotated: NDArray[np.bool_]) -> Comparison:
    """Compare boxes (N, 4) as they are; a box with NaN has overlap 0 and an infinite distance.

    `annotated` (N) says where the target is there, with a box of some area in `truth`.
    """
    found = np.asarray(np.isfinite(boxes).all(axis=1), bool)
    offset = np.where(found[:, None], _centre(boxes) - _centre(truth), np.inf)
    size = np.where(annotated[:, None], truth[:, 2:], 1)
    overlap = np.where(found, iou(truth, boxes), 0)
    values = overlap, np.linalg.norm(offset, axis=1), np.linalg.norm(offset / size, axis=1)
    return Comparison(*(np.where(annotated, value, NOT_ANNOTATED) for value in values))


def _shares(values: Floats, thresholds: Floats, strictly: bool = False) -> Floats:
    """Return the share of values at most (`strictly`: below) each threshold; 0 of no values."""
    side: Literal['left', 'right'] = 'left' if strictly else 'right'
    return np.searchsorted(np.sort(values), thresholds, side) / max(len(values), 1)


def _repeat_last_usable(boxes: Floats) -> Floats:
    """Replace rows with NaN, infinity or without area by the last usable row before them."""
    usable = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    source = np.maximum.accumulate(np.where(usable, np.arange(len(boxes)), 0))
    return boxes[source]


def _centre(boxes: Floats) -> Floats:
    """The middle pixel: with the tool kits' (size - 1) / 2, whatever the coordinates count from."""
    return boxes[:, :2] + (boxes[:, 2:] - 1) / 2
