"""Results of a tracker on a benchmark: scores over all sequences, by attribute and by sequence."""

from __future__ import annotations

import math
from collections import Counter
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
        per_start: curves by name of the sequence and index of the frame that the run started from.
        fps: frames per second without reading the images, mean over the runs; None if it was not
            measured.
    """

    curves: Curves
    per_attribute: dict[str, Curves]
    per_start: dict[str, dict[int, Curves]]
    fps: float | None = None

    @property
    def per_sequence(self) -> dict[str, Curves]:
        """Mean over the starts, by name of the sequence."""
        return {name: mean_curves(starts.values()) for name, starts in self.per_start.items()}

    @property
    def several_starts(self) -> bool:
        """Whether a sequence was run from more than one frame."""
        return any(len(starts) > 1 for starts in self.per_start.values())

    @property
    def standard_error(self) -> float:
        """Standard error of the success; see `_standard_error`."""
        return _standard_error(self._successes())

    @property
    def score(self) -> float:
        """The score by which trackers are ranked: success."""
        return self.curves.scores.success

    def difference(self, other: OPEResult) -> tuple[float, float]:
        """Return by how much the success is above that of `other`, and its standard error.

        The runs are paired: the error is that of the differences from the same start of the same
        sequence. Both are NaN if the runs are not the same.
        """
        own, others = self._successes(), other._successes()
        if own.keys() != others.keys():
            return math.nan, math.nan
        differences = {run: success - others[run] for run, success in own.items()}
        return self.score - other.score, _standard_error(differences)

    def _successes(self) -> dict[tuple[str, int], float]:
        """Return the success of each run by sequence and start."""
        return {
            (name, start): curves.scores.success
            for name, starts in self.per_start.items()
            for start, curves in starts.items()
        }

    def summary(self) -> dict[str, Any]:
        """Return the scores by name, as numbers rounded to 4 decimals."""
        return {
            **_scores(self.curves),
            **({} if self.fps is None else {'fps': round(self.fps, 1)}),
            'per_attribute': {name: _scores(c) for name, c in self.per_attribute.items()},
            'per_sequence': {name: _scores(c) for name, c in self.per_sequence.items()},
            **(self._start_summary() if self.several_starts else {}),
        }

    def _start_summary(self) -> dict[str, Any]:
        """Return the scores of each start, which is numbered by its frame from 1, and the error."""
        per_start = {
            name: {str(start + 1): _scores(curves) for start, curves in starts.items()}
            for name, starts in self.per_start.items()
        }
        return {'standard_error': round(self.standard_error, 4), 'per_start': per_start}


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

    Scores are means over the starts of a sequence, then over the sequences.

    Args:
        sequences: the sequences with their ground truth, or parts of them (`with_starts`).
        boxes: (N, 4) boxes of the tracker by name of the sequence.
        fps: measured frames per second.
        absent_counts: see `Comparison.curves`.

    Raises:
        DataError: as `compare`, with the name of the sequence.
    """
    per_start: dict[str, dict[int, Curves]] = {}
    attributes: dict[str, dict[str, None]] = {}  # ordered sets of sequences by attribute
    for sequence in sequences:
        try:
            comparison = compare(sequence.truth, boxes[sequence.name])
        except DataError as error:
            raise DataError(f'{sequence.name}: {error}') from None
        name = sequence.complete_name
        per_start.setdefault(name, {})[sequence.start] = comparison.curves(absent_counts)
        for attribute in sequence.attributes:
            attributes.setdefault(attribute, {})[name] = None
    means = {name: mean_curves(starts.values()) for name, starts in per_start.items()}
    per_attribute = {
        attribute: mean_curves(means[name] for name in names)
        for attribute, names in attributes.items()
    }
    return OPEResult(mean_curves(means.values()), per_attribute, per_start, fps)


def _standard_error(values: Mapping[tuple[str, int], float]) -> float:
    """Return the standard error of the mean over sequences of the mean over starts.

    `values` has one value for each run, by sequence and start. Each run is one observation; all its
    frames are a cluster. NaN for a single run.
    """
    if len(values) < 2:
        return math.nan
    starts = Counter(name for name, _ in values)
    shares = np.array([1 / len(starts) / starts[name] for name, _ in values])
    runs = np.array(list(values.values()))
    deviations = shares * (runs - shares @ runs)
    return math.sqrt(len(runs) / (len(runs) - 1) * np.sum(deviations**2))


def _scores(curves: Curves) -> dict[str, float]:
    return {name: round(value, 4) for name, value in curves.scores._asdict().items()}
