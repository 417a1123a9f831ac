"""Tests of the score calibration, on scores with known probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from siamffn_model.datasets.sequences import Sequence
from siamffn_model.errors import DataError
from siamffn_model.evaluation.calibration import (
    ABSENT_FRAMES,
    ScoreSamples,
    calibration_error,
    fit,
    observe,
    report,
    thresholds,
)
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image
from siamffn_model.networks.siamese import SiamFFN
from siamffn_model.networks.zoo import create_model
from siamffn_model.tracking.tracker import State, Track
from siamffn_model.training.validation import RenderedFrames


def sampled(scale: float, shift: float, count: int = 20_000) -> ScoreSamples:
    """Scores whose boxes are correct with log odds of `scale` * log odds of the score + `shift`."""
    rng = np.random.default_rng(0)
    odds = rng.normal(2, 3, count)
    correct = rng.random(count) < 1 / (1 + np.exp(-(scale * odds + shift)))
    return ScoreSamples(1 / (1 + np.exp(-odds)), correct, np.zeros(count, bool))


def rescaled(samples: ScoreSamples, scale: float, shift: float) -> ScoreSamples:
    odds = np.log(samples.score / (1 - samples.score))
    return samples._replace(score=1 / (1 + np.exp(-(scale * odds + shift))))


@pytest.mark.parametrize(('scale', 'shift'), [(1, 0), (0.3, -1.5), (2, 1)])
def test_fit_recovers_the_known_relation(scale: float, shift: float) -> None:
    samples = sampled(scale, shift)
    assert fit(samples) == pytest.approx((scale, shift), abs=0.1)
    assert calibration_error(rescaled(samples, *fit(samples))) < 0.015
    if scale != 1:
        assert calibration_error(samples) > 0.05


def test_fit_is_finite_for_separable_scores() -> None:
    score = np.repeat([0.1, 0.9], 50)
    scale, shift = fit(ScoreSamples(score, score > 0.5, score < 0.5))
    assert 0 < scale < 5
    assert shift == pytest.approx(0, abs=0.01)


def test_thresholds_separate_correct_and_wrong_boxes() -> None:
    score = np.array([0.05] * 40 + [0.3] * 40 + [0.7] * 98 + [0.2] * 2)
    correct = np.array([False] * 80 + [True] * 100)
    uncertain, lost = thresholds(ScoreSamples(score, correct, score < 0.1))
    assert 0.3 < uncertain <= 0.7
    assert 0.2 < lost <= uncertain
    assert thresholds(ScoreSamples(score, correct, ~correct)) == (uncertain, lost)


def test_fit_needs_correct_and_wrong_boxes() -> None:
    score = np.full(9, 0.5)
    for correct in (np.ones(9, bool), np.zeros(9, bool)):
        with pytest.raises(DataError, match='needs some of both'):
            fit(ScoreSamples(score, correct, ~correct))


def test_report_counts_every_frame() -> None:
    samples = ScoreSamples(
        np.array([0.0, 0.55, 0.95, 1.0]),
        np.array([False, False, True, True]),
        np.array([True, False, False, False]),
    )
    lines = report(samples).splitlines()
    assert [line.replace('|', ' ').split() for line in lines[2:5]] == [
        ['0.0-0.1', '1', '0.00', '0.00', '1.00'],
        ['0.5-0.6', '1', '0.55', '0.00', '0.00'],
        ['0.9-1.0', '2', '0.97', '1.00', '0.00'],
    ]
    assert 'expected calibration error 0.150' in lines


class ConstantTracker:
    """A tracker with a constant box whose score is the brightness of the image."""

    def init(self, image: Image, box: Box) -> None:
        self._box = box

    def update(self, image: Image) -> Track:
        return Track(self._box, float(image.mean()) / 255, State.TRACKING)


def sequence(name: str, lights: list[int], boxes: list[Box | None], origin: int = 0) -> Sequence:
    truth = np.array([(np.nan,) * 4 if box is None else box for box in boxes])
    truth[:, :2] += origin
    images = [np.full((40, 50, 3), light, np.uint8) for light in lights]
    return Sequence(name, truth, RenderedFrames(name, images), origin=origin)


def test_frames_are_correct_wrong_or_absent() -> None:
    box, beside = Box(5, 5, 10, 10), Box(11, 5, 10, 10)
    one = sequence('one', [0, 51, 102, 153], [box, box, None, beside], origin=1)
    other = sequence('other', [255] * 40, [box] * 40)
    score, correct, absent = observe(ConstantTracker(), [one, other])
    assert score[:3] == pytest.approx([0.2, 0.4, 0.6])
    assert correct[:3].tolist() == [True, False, False]
    assert absent[:3].tolist() == [False, True, False]
    assert correct[3:42].all()
    assert len(score) == 3 + 39 + ABSENT_FRAMES + 4, 'each target is searched for in both'
    assert absent[42:].all()
    assert not correct[42:].any()


def test_one_sequence_is_not_enough() -> None:
    with pytest.raises(DataError, match='two sequences or more'):
        observe(ConstantTracker(), [sequence('one', [0], [Box(5, 5, 10, 10)])])


def test_rescaled_scores_of_a_network() -> None:
    torch.manual_seed(0)
    model = create_model('siamffn_lite0').eval()
    assert isinstance(model, SiamFFN)
    with torch.no_grad():
        template = model.template(255 * torch.rand(1, 3, 127, 127))
        crop = 255 * torch.rand(1, 3, 255, 255)
        before, boxes = model.search(crop, template)
        model.rescale_scores(0.5, -1.0)
        after, same = model.search(crop, template)
    odds = 0.5 * (before[:, 1] - before[:, 0]) - 1.0
    assert torch.allclose(after[:, 1] - after[:, 0], odds, atol=1e-5)
    assert torch.equal(boxes, same)
