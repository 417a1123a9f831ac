"""Success and precision of one-pass evaluation (OPE), by the rules of the OTB and UAV tool kits.

Other tool kits differ in three rules that are needed to reproduce published scores: the result of
frame 1 is replaced by the ground truth; an invalid result row is replaced by the row before it;
frames without annotation (target absent) stay in the denominator, as failures in success and as
hits in precision.
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
NORM_DISTANCES: Floats = DISTANCES / 100  # in units of the target's width and height
DISTANCE = 20  # pixels: threshold of the precision score
NORM_DISTANCE = 20  # 1/100 of the target's size: threshold of the normalised precision score
NOT_ANNOTATED = -1.0  # overlap and distance of a frame without annotation


class Scores(NamedTuple):
    """The scores of a tracker, each in [0, 1].

    Attributes:
        success: area under the success curve (AUC).
        precision: fraction of frames with a centre error of at most 20 pixels.
        norm_precision: fraction of frames with a centre error of at most 0.2 in units of the
            target's size (LaSOT).
    """

    success: float
    precision: float
    norm_precision: float


class Curves(NamedTuple):
    """Fractions of frames by threshold, in [0, 1].

    Attributes:
        success: (21,) frames with an overlap strictly above `OVERLAPS`.
        precision: (51,) frames with a centre error of at most `DISTANCES`.
        norm_precision: (51,) frames with a normalised centre error of at most `NORM_DISTANCES`.
    """

    success: Floats
    precision: Floats
    norm_precision: Floats

    @property
    def scores(self) -> Scores:
        """The scores that summarise the curves."""
        return Scores(
            float(self.success.mean()),
            float(self.precision[DISTANCE]),
            float(self.norm_precision[NORM_DISTANCE]),
        )


class Comparison(NamedTuple):
    """Overlap and centre error of N frames; -1 in frames without annotation.

    Attributes:
        overlap: (N,) intersection over union, in [0, 1].
        distance: (N,) centre error in pixels.
        norm_distance: (N,) centre error in units of the target's width and height.
    """

    overlap: Floats
    distance: Floats
    norm_distance: Floats

    def curves(self, absent_counts: bool = True) -> Curves:
        """Return the fraction of frames at each threshold.

        Frames without annotation count as failures in success and as hits in precision, as in
        published scores. If `absent_counts` is False, they are left out.
        """
        counted = self
        if not absent_counts:
            annotated = self.overlap != NOT_ANNOTATED
            counted = Comparison(*(values[annotated] for values in self))
        return Curves(
            _fractions(-counted.overlap, -OVERLAPS, strictly=True),
            _fractions(counted.distance, DISTANCES),
            _fractions(counted.norm_distance, NORM_DISTANCES),
        )


def mean_curves(curves: Iterable[Curves]) -> Curves:
    """Return the unweighted mean over sequences (not over frames)."""
    return Curves(*(np.mean(values, axis=0) for values in zip(*curves)))


def score(truth: ArrayLike, result: ArrayLike) -> Scores:
    """Return the scores on one sequence; see `compare` for the arguments and errors."""
    return compare(truth, result).curves().scores


def compare(truth: ArrayLike, result: ArrayLike) -> Comparison:
    """Compare the result of a tracker on one sequence with the ground truth, frame by frame.

    Args:
        truth: boxes (N, 4) as x, y, w, h in pixels; NaN where the target is absent. A frame is
            annotated if all four values are above 0, as in the tool kits.
        result: the boxes of the tracker, (N, 4). If the last row is missing, as in some published
            results, the last frame is left out.

    Raises:
        DataError: the number of rows is different or 0, or a row does not have four values.
    """
    truth, result = np.asarray(truth, float), np.array(result, float)
    if truth.ndim != 2 or result.ndim != 2 or truth.shape[1] != 4 or result.shape[1] != 4:
        raise DataError(
            f'boxes must be rows of x, y, w, h: the ground truth has the shape {truth.shape}, '
            f'the result {result.shape}'
        )
    if not len(truth) - 1 <= len(result) <= len(truth) or not len(result):
        raise DataError(
            f'{len(result)} rows of results for {len(truth)} frames: there must be one row per '
            'frame (only the last may be missing); check that the run was complete and that the '
            'result belongs to this sequence'
        )
    truth = truth[: len(result)]
    result[0] = truth[0]
    annotated = np.asarray((truth > 0).all(axis=1), bool)
    return compare_boxes(truth, _repeat_last_valid(result), annotated)


def compare_boxes(truth: Floats, boxes: Floats, annotated: NDArray[np.bool_]) -> Comparison:
    """Compare boxes (N, 4) without replacing any of them.

    Args:
        truth: (N, 4) x, y, w, h in pixels.
        boxes: (N, 4); a box with NaN or infinity has overlap 0 and an infinite distance.
        annotated: (N,) whether the target is present; its box in `truth` must then have an area.
    """
    finite = np.asarray(np.isfinite(boxes).all(axis=1), bool)
    offset = np.where(finite[:, None], _centers(boxes) - _centers(truth), np.inf)
    size = np.where(annotated[:, None], truth[:, 2:], 1)
    overlap = np.where(finite, iou(truth, boxes), 0)
    values = overlap, np.linalg.norm(offset, axis=1), np.linalg.norm(offset / size, axis=1)
    return Comparison(*(np.where(annotated, value, NOT_ANNOTATED) for value in values))


def _fractions(values: Floats, thresholds: Floats, strictly: bool = False) -> Floats:
    """Return the fraction of values at most (`strictly`: below) each threshold; 0 if empty."""
    side: Literal['left', 'right'] = 'left' if strictly else 'right'
    return np.searchsorted(np.sort(values), thresholds, side) / max(len(values), 1)


def _repeat_last_valid(boxes: Floats) -> Floats:
    """Replace each row with NaN, infinity or without area by the last valid row before it."""
    valid = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    source = np.maximum.accumulate(np.where(valid, np.arange(len(boxes)), 0))
    return boxes[source]


def _centers(boxes: Floats) -> Floats:
    """Return the centres (N, 2), with the offset (size - 1) / 2 of the tool kits."""
    return boxes[:, :2] + (boxes[:, 2:] - 1) / 2
