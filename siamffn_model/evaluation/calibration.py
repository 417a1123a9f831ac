"""Calibrate scores: make the score of a box the probability that the box is correct."""

from __future__ import annotations

from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from siamffn_model.datasets.sequences import Sequence
from siamffn_model.errors import DataError
from siamffn_model.evaluation.metrics import Floats, compare_boxes
from siamffn_model.tracking.tracker import TrackerProtocol

CORRECT_OVERLAP = 0.5  # minimum overlap of a correct box
ABSENT_FRAMES = 30  # frames of each sequence that are searched for the target of another one
BINS = 10
MAX_FALSE_LOST = 0.02  # fraction of the correct boxes that may be below the LOST threshold
NEWTON_STEPS = 50  # upper limit; about five suffice


class ScoreSamples(NamedTuple):
    """The output of a tracker on N frames.

    Attributes:
        score: (N,) in [0, 1].
        correct: (N,) whether the overlap of the box with the target is at least 0.5.
        absent: (N,) whether the target is absent.
    """

    score: Floats
    correct: NDArray[np.bool_]
    absent: NDArray[np.bool_]


class Thresholds(NamedTuple):
    """Scores below which a target is UNCERTAIN or LOST."""

    uncertain: float
    lost: float


def observe(tracker: TrackerProtocol, sequences: list[Sequence]) -> ScoreSamples:
    """Track the target of each sequence, and search the next sequence, where it is absent, for it.

    Raises:
        DataError: there are fewer than two sequences, or one is annotated with polygons.
    """
    if len(sequences) < 2 or any(sequence.truth.shape[1] != 4 for sequence in sequences):
        raise DataError(
            'calibration needs two sequences or more, annotated with axis-aligned boxes'
        )
    parts = [_track(tracker, sequence) for sequence in sequences]
    others = [*sequences[1:], sequences[0]]
    parts += [_track_absent_target(tracker, *pair) for pair in zip(sequences, others)]
    return ScoreSamples(*(np.concatenate(column) for column in zip(*parts)))


def _track(tracker: TrackerProtocol, sequence: Sequence) -> ScoreSamples:
    assert sequence.frames is not None
    images = iter(sequence.frames)
    tracker.init(next(images), sequence.first)
    tracks = [tracker.update(image) for image in images]
    boxes = np.array([track.box for track in tracks])
    boxes[:, :2] += sequence.origin
    truth = sequence.truth[1:]
    present = np.asarray((truth > 0).all(axis=1), bool)
    overlap = compare_boxes(truth, boxes, present).overlap
    correct = np.asarray(overlap >= CORRECT_OVERLAP, bool)
    return ScoreSamples(np.array([track.score for track in tracks]), correct, ~present)


def _track_absent_target(
    tracker: TrackerProtocol, sequence: Sequence, other: Sequence
) -> ScoreSamples:
    """Search the frames of `other` for the target of `sequence`."""
    assert sequence.frames is not None
    assert other.frames is not None
    tracker.init(next(iter(sequence.frames)), sequence.first)
    images = islice(other.frames, ABSENT_FRAMES)
    score = np.array([tracker.update(image).score for image in images])
    return ScoreSamples(score, np.zeros(len(score), bool), np.ones(len(score), bool))


def fit(samples: ScoreSamples) -> tuple[float, float]:
    """Return the scale and shift of the log odds that calibrate the scores.

    This is Platt scaling: logistic regression of `correct` on the log odds of the score, with
    targets of (n + 1) / (n + 2) and 1 / (m + 2) for n correct and m wrong boxes, which keeps the
    result finite if the scores separate the two (J. Platt, "Probabilistic Outputs for Support
    Vector Machines", 1999).

    Raises:
        DataError: all boxes are correct, or none.
    """
    correct, wrong = int(samples.correct.sum()), int((~samples.correct).sum())
    if not correct or not wrong:
        raise DataError(
            f'{correct} correct boxes and {wrong} wrong ones: calibration needs some of both; '
            'give more and harder sequences'
        )
    target = np.where(samples.correct, (correct + 1) / (correct + 2), 1 / (wrong + 2))
    inputs = np.column_stack([_log_odds(samples.score), np.ones(len(target))])
    weights = np.array([0.0, float(_log_odds(target.mean()))])
    for _ in range(NEWTON_STEPS):
        probability = _sigmoid(inputs @ weights)
        hessian = inputs.T @ (inputs * (probability * (1 - probability))[:, None])
        gradient = inputs.T @ (target - probability)
        weights += np.linalg.solve(hessian + 1e-6 * np.eye(2), gradient)
    return float(weights[0]), float(weights[1])


def thresholds(samples: ScoreSamples) -> Thresholds:
    """Return the thresholds that separate correct boxes from the others.

    The UNCERTAIN threshold maximises the mean of the fraction of correct boxes at or above it and
    the fraction of other boxes below it. The LOST threshold is the highest score below which there
    are at most 2 % of the correct boxes, but no higher than the UNCERTAIN threshold.
    """
    candidates = np.linspace(0.01, 0.99, 99)
    correct, wrong = samples.score[samples.correct], samples.score[~samples.correct]
    balance = [(correct >= c).mean() + (wrong < c).mean() for c in candidates]
    uncertain = float(candidates[int(np.argmax(balance))])
    return Thresholds(uncertain, min(float(np.quantile(correct, MAX_FALSE_LOST)), uncertain))


def report(samples: ScoreSamples) -> str:
    """Return Markdown: the fraction of correct boxes in ten bins of scores, and the thresholds."""
    rows = []
    indices = _bin_indices(samples)
    for index in range(BINS):
        inside = indices == index
        if inside.any():
            means = (float(column[inside].mean()) for column in samples)
            interval = f'{index / BINS:.1f}-{(index + 1) / BINS:.1f}'
            rows.append([interval, inside.sum(), *(f'{mean:.2f}' for mean in means)])
    header = ['score', 'frames', 'mean score', 'correct', 'target absent']
    alignment = ['left', *['right'] * (len(header) - 1)]
    table = tabulate(rows, header, 'pipe', disable_numparse=True, colalign=alignment)
    uncertain, lost = thresholds(samples)
    return '\n'.join(
        [
            table,
            '',
            f'expected calibration error {calibration_error(samples):.3f}',
            f'UNCERTAIN below {uncertain:.2f}: {_fractions_below(samples, uncertain)}',
            f'LOST below {lost:.2f}: {_fractions_below(samples, lost)}',
        ]
    )


def _fractions_below(samples: ScoreSamples, threshold: float) -> str:
    wrong = ~samples.correct & ~samples.absent
    groups = {'correct': samples.correct, 'wrong': wrong, 'absent': samples.absent}
    fractions = [
        f'{(samples.score[mask] < threshold).mean():.2f} of the {name}'
        for name, mask in groups.items()
        if mask.any()
    ]
    return ', '.join(fractions)


def _bin_indices(samples: ScoreSamples) -> NDArray[np.int_]:
    return np.minimum((samples.score * BINS).astype(int), BINS - 1)


def calibration_error(samples: ScoreSamples) -> float:
    """Return the expected calibration error.

    This is the mean over the bins, weighted by their number of frames, of the difference between
    the mean score and the fraction of correct boxes (Guo et al., "On Calibration of Modern Neural
    Networks", 2017, equation 3).
    """
    indices = _bin_indices(samples)
    gaps = samples.score - samples.correct
    return float(sum(abs(gaps[indices == index].sum()) for index in range(BINS)) / len(gaps))


def _log_odds(score: Floats | np.floating[Any]) -> Floats:
    clipped = score.clip(1e-7, 1 - 1e-7)
    odds: Floats = np.log(clipped / (1 - clipped))
    return odds


def _sigmoid(log_odds: Floats) -> Floats:
    probability: Floats = 1 / (1 + np.exp(-log_odds))
    return probability
