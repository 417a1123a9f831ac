"""What trackers reached on a benchmark, from the boxes they answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from siamffn_model.datasets.sequences import Sequence
from siamffn_model.errors import DataError
from siamffn_model.evaluation.metrics import Curves, Floats, compare, mean_curves


@dataclass(frozen=True)
class OnePass:
    """One tracker's results in one pass over each sequence.

    Attributes:
        curves: the mean over the sequences.
        per_attribute: the mean over the sequences that have the attribute.
        per_sequence: by name.
        fps: images a second without the reading of images, the mean over the sequences; None
            where it was not measured.
    """

    curves: Curves
    per_attribute: dict[str, Curves]
    per_sequence: dict[str, Curves]
    fps: float | None = None

    @property
    def score(self) -> float:
        """What trackers are ranked by: success."""
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
class WithResets:
    """One tracker's results in VOT's protocol, in which it is started again after a failure.

    Attributes:
        accuracy: A, mean overlap in [0, 1].
        robustness: R, failures per 100 frames.
        eao: expected average overlap, in [0, 1].
        expected_overlap: (n) by length of the sequence, 1 frame and up; what EAO is a mean of.
        per_sequence: accuracy and failures by name; accuracy is NaN where no frame counts.
        fps: as in `OnePass`.
    """

    accuracy: float
    robustness: float
    eao: float
    expected_overlap: Floats
    per_sequence: dict[str, tuple[float, int]]
    fps: float | None = None

    @property
    def score(self) -> float:
        """What trackers are ranked by: EAO."""
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


Results = OnePass | WithResets


def one_pass(
    sequences: Iterable[Sequence],
    boxes: Mapping[str, Floats],
    fps: float | None = None,
    absent_counts: bool = True,
) -> OnePass:
    """Score a tracker's boxes (N, 4) by name of the sequence.

    `absent_counts` is that of `Comparison.curves`. Errors are those of `compare`, with the name.
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
    return OnePass(mean_curves(per_sequence.values()), means, per_sequence, fps)


def _scores(curves: Curves) -> dict[str, float]:
    return {name: round(value, 4) for name, value in curves.scores._asdict().items()}
