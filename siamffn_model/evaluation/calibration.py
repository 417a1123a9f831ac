"""Scores that mean something: how often the box is right that comes with a score."""

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

RIGHT = 0.5  # overlap from which a box is right
ELSEWHERE = 30  # images of each sequence that are searched for another sequence's target
BINS = 10
SPARED = 0.02  # share of the right boxes that may be taken for lost
STEPS = 50  # of Newton's method; a handful are enough


class Observed(NamedTuple):
    """What a tracker answered, one entry a frame.

    Attributes:
        score: (N,) in [0, 1].
        right: (N,) whether the box overlaps the target's by half or more.
        absent: (N,) whether the target was not there at all.
    """

    score: Floats
    right: NDArray[np.bool_]
    absent: NDArray[np.bool_]


class Thresholds(NamedTuple):
    """Scores below which a target is UNCERTAIN or LOST."""

    uncertain: float
    lost: float


def observe(tracker: TrackerProtocol, sequences: list[Sequence]) -> Observed:
    """Follow the target of each sequence, and look for it in the next sequence, where it is not.

    Raises `DataError` for fewer than two sequences, and for polygons.
    """
    if len(sequences) < 2 or any(sequence.truth.shape[1] != 4 for sequence in sequences):
        raise DataError('calibration needs two sequences or more, annotated with upright boxes')
    parts = [_follow(tracker, sequence) for sequence in sequences]
    others = [*sequences[1:], sequences[0]]
    parts += [_look_elsewhere(tracker, *pair) for pair in zip(sequences, others)]
    return Observed(*(np.concatenate(column) for column in zip(*parts)))


def _follow(tracker: TrackerProtocol, sequence: Sequence) -> Observed:
    assert sequence.frames is not None
    images = iter(sequence.frames)
    tracker.init(next(images), sequence.first)
    tracks = [tracker.update(image) for image in images]
    boxes = np.array([track.box for track in tracks])
    boxes[:, :2] += sequence.origin
    truth = sequence.truth[1:]
    present = np.asarray((truth > 0).all(axis=1), bool)
    right = np.asarray(compare_boxes(truth, boxes, present).overlap >= RIGHT, bool)
    return Observed(np.array([track.score for track in tracks]), right, ~present)


def _look_elsewhere(tracker: TrackerProtocol, sequence: Sequence, other: Sequence) -> Observed:
    assert sequence.frames is not None
    assert other.frames is not None
    tracker.init(next(iter(sequence.frames)), sequence.first)
    score = np.array([tracker.update(image).score for image in islice(other.frames, ELSEWHERE)])
    return Observed(score, np.zeros(len(score), bool), np.ones(len(score), bool))


def fit(observed: Observed) -> tuple[float, float]:
    """Return (scale, shift) of the score's log odds that make it the share of right boxes.

    Logistic regression of `right` on the log odds (Platt, 1999), its targets drawn in by one count
    of each kind, so that it ends also where scores separate them. Raises `DataError` where all
    boxes are right, or none.
    """
    hits, misses = int(observed.right.sum()), int((~observed.right).sum())
    if not hits or not misses:
        raise DataError(
            f'{hits} right boxes and {misses} wrong ones: calibration needs some of both, so give '
            'more and harder sequences'
        )
    wanted = np.where(observed.right, (hits + 1) / (hits + 2), 1 / (misses + 2))
    inputs = np.column_stack([_log_odds(observed.score), np.ones(len(wanted))])
    weights = np.array([0.0, float(_log_odds(wanted.mean()))])
    for _ in range(STEPS):
        chance = _chance(inputs @ weights)
        curvature = inputs.T @ (inputs * (chance * (1 - chance))[:, None])
        weights += np.linalg.solve(curvature + 1e-6 * np.eye(2), inputs.T @ (wanted - chance))
    return float(weights[0]), float(weights[1])


def thresholds(observed: Observed) -> Thresholds:
    """Return the thresholds that tell best.

    UNCERTAIN: right boxes from all others, by the mean of the two shares told correctly. LOST: the
    highest score below which at most 2 % of the right boxes lie, UNCERTAIN at most.
    """
    candidates = np.linspace(0.01, 0.99, 99)
    right, wrong = observed.score[observed.right], observed.score[~observed.right]
    told = [(right >= c).mean() + (wrong < c).mean() for c in candidates]
    uncertain = float(candidates[int(np.argmax(told))])
    return Thresholds(uncertain, min(float(np.quantile(right, SPARED)), uncertain))


def report(observed: Observed) -> str:
    """Return Markdown: scores in ten bins, how often their boxes were right, and thresholds."""
    rows = []
    numbers = _bins(observed)
    for number in range(BINS):
        inside = numbers == number
        if inside.any():
            means = (float(column[inside].mean()) for column in observed)
            score = f'{number / BINS:.1f}-{(number + 1) / BINS:.1f}'
            rows.append([score, inside.sum(), *(f'{mean:.2f}' for mean in means)])
    header = ['score', 'frames', 'mean score', 'right', 'target absent']
    alignment = ['left', *['right'] * (len(header) - 1)]
    table = tabulate(rows, header, 'pipe', disable_numparse=True, colalign=alignment)
    uncertain, lost = thresholds(observed)
    return '\n'.join(
        [
            table,
            '',
            f'expected calibration error {calibration_error(observed):.3f}',
            f'UNCERTAIN below {uncertain:.2f}: {_told(observed, uncertain)}',
            f'LOST below {lost:.2f}: {_told(observed, lost)}',
        ]
    )


def _told(observed: Observed, threshold: float) -> str:
    wrong = ~observed.right & ~observed.absent
    of = {'right': observed.right, 'wrong': wrong, 'absent': observed.absent}
    shares = [
        f'{(observed.score[which] < threshold).mean():.2f} of the {name}'
        for name, which in of.items()
        if which.any()
    ]
    return ', '.join(shares)


def _bins(observed: Observed) -> NDArray[np.int_]:
    return np.minimum((observed.score * BINS).astype(int), BINS - 1)


def calibration_error(observed: Observed) -> float:
    """Return the expected calibration error: mean distance of score and share right over bins."""
    numbers = _bins(observed)
    gaps = observed.score - observed.right
    return float(sum(abs(gaps[numbers == number].sum()) for number in range(BINS)) / len(gaps))


def _log_odds(score: Floats | np.floating[Any]) -> Floats:
    clipped = score.clip(1e-7, 1 - 1e-7)
    odds: Floats = np.log(clipped / (1 - clipped))
    return odds


def _chance(log_odds: Floats) -> Floats:
    chance: Floats = 1 / (1 + np.exp(-log_odds))
    return chance
