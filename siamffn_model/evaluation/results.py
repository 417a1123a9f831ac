"""Results of a tracker on a benchmark: scores over all sequences, by attribute and by sequence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from siamffn_model.datasets.sequences import Sequence
from siamffn_model.errors import DataError
from siamffn_model.evaluation.metrics import Curves, Floats, compare, mean_curves


@dataclass(frozen=True)
class OPEResult:
    """The result of a tracker in one-pass evaluation (OPE).

    Attributes:
        curves: mean over the sequences.
        per_attribute: mean over the sequences with the attribute, by attribute.
        per_sequence: curves by name of the sequence.
        fps: frames per second without reading the images, mean over the sequences; None if it was
            not measured.
    """

    curves: Curves
    per_attribute: dict[str, Curves]
    per_sequence: dict[str, Curves]
    fps: float | None = None

    @property
    def score(self) -> float:
        """The score by which trackers are ranked: success."""
        return self.curves.scores.success

    def summary(self) -> dict[str, Any]:
        """Return the scores by name, as numbers rounded to 4 decimals."""
        return {
            **_scores(self.curves),
            **({} if self.fps is None else {'fps': round(self.fps, 1)}),
            'per_attribute': {name: _scores(c) for name, c in self.per_attribute.items()},
            'per_sequence': {name: _scores(c) for name, c in self.per_sequence.items()},
        }


@dataclass(frozen=True)
class ResetResult:
    """The result of a tracker in VOT's reset-based protocol (`vot`).

    Attributes:
        accuracy: A, mean overlap in [0, 1].
        robustness: R, failures per 100 frames.
        eao: expected average overlap, in [0, 1].
        expected_overlap: (n,) expected overlap for sequences of 1 to n frames; EAO is a mean of it.
        per_sequence: accuracy and number of failures by name of the sequence; the accuracy is NaN
            if no frame counts.
        fps: as in `OPEResult`.
    """

    accuracy: float
    robustness: float
    eao: float
    expected_overlap: Floats
    per_sequence: dict[str, tuple[float, int]]
    fps: float | None = None

    @property
    def score(self) -> float:
        """The score by which trackers are ranked: EAO."""
        return self.eao

    @property
    def failures(self) -> int:
        """Number of failures in all sequences."""
        return sum(failures for _, failures in self.per_sequence.values())

    def summary(self) -> dict[str, Any]:
        """Return the scores by name, as numbers rounded to 4 decimals."""
        return {
            'A': round(self.accuracy, 4),
            'R': round(self.robustness, 4),
            'EAO': round(self.eao, 4),
            'failures': self.failures,
            **({} if self.fps is None else {'fps': round(self.fps, 1)}),
            'per_sequence': {
                name: {'A': None if np.isnan(accuracy) else round(accuracy, 4), 'failures': count}
                for name, (accuracy, count) in self.per_sequence.items()
            },
        }


Results = OPEResult | ResetResult


def score_one_pass(
    sequences: Iterable[Sequence],
    boxes: Mapping[str, Floats],
    fps: float | None = None,
    absent_counts: bool = True,
) -> OPEResult:
    """Score a tracker in one-pass evaluation.

    Args:
        sequences: the sequences with their ground truth.
        boxes: (N, 4) boxes of the tracker by name of the sequence.
        fps: measured frames per second.
        absent_counts: see `Comparison.curves`.

    Raises:
        DataError: as `compare`, with the name of the sequence.
    """
    per_sequence: dict[str, Curves] = {}
    per_attribute: dict[str, list[Curves]] = {}
    for sequence in sequences:
        try:
            comparison = compare(sequence.truth, boxes[sequence.name])
        except DataError as error:
            raise DataError(f'{sequence.name}: {error}') from None
        curves = comparison.curves(absent_counts)
        per_sequence[sequence.name] = curves
        for attribute in sequence.attributes:
            per_attribute.setdefault(attribute, []).append(curves)
    means = {attribute: mean_curves(curves) for attribute, curves in per_attribute.items()}
    return OPEResult(mean_curves(per_sequence.values()), means, per_sequence, fps)


def _scores(curves: Curves) -> dict[str, float]:
    return {name: round(value, 4) for name, value in curves.scores._asdict().items()}
