from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from siamffn_model.datasets.sequences import open_sequences
from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.errors import DataError
from siamffn_model.evaluation import results, runner
from siamffn_model.evaluation.metrics import score
from siamffn_model.evaluation.runner import AnyTracker, Result, evaluate, run
from siamffn_model.geometry import Box
from siamffn_model.tracking import State, Track


class Still:
    """A tracker that answers the first box for ever."""

    def init(self, image: np.ndarray, box: Box) -> None:
        self.box = box

    def update(self, image: np.ndarray) -> Track:
        return Track(self.box, 0.5, State.TRACKING)


def test_run_of_any_tracker(template_matcher: AnyTracker) -> None:
    images, boxes = render_scene(50, seed=3)
    answer = run(template_matcher, images, boxes[0])
    assert answer.boxes.shape == (50, 4)
    assert answer.boxes[0].tolist() == list(boxes[0])
    assert answer.seconds > 0
    still = run(Still(), images, boxes[0])
    assert score(boxes, answer.boxes).success > 0.75
    assert score(boxes, still.boxes).success < 0.5


def test_evaluate_agrees_with_scoring_by_hand(
    sequence_folder: Path, template_matcher: AnyTracker
) -> None:
    found = dict(evaluate(template_matcher, open_sequences(sequence_folder)))
    assert list(found) == ['clip1', 'clip2']
    for name, frames in open_sequences(sequence_folder).items():
        images = list(frames)
        truth = [box or (np.nan,) * 4 for box in frames.groundtruth]
        scores = score(truth, run(template_matcher, images, frames.groundtruth[0]).boxes)
        assert (found[name].success, found[name].precision) == scores
        assert found[name].fps > 0
    assert found['clip1'].success > 0.7
    assert found['clip2'].success < found['clip1'].success, 'clip2 has frames without target'


def test_reading_the_images_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of our own: reading an image takes 100 seconds, init 3, update 1."""
    now = 0.0
    monkeypatch.setattr(runner.time, 'perf_counter', lambda: now)

    class Slow(Still):
        def init(self, image: np.ndarray, box: Box) -> None:
            nonlocal now
            now += 3
            super().init(image, box)

        def update(self, image: np.ndarray) -> Track:
            nonlocal now
            now += 1
            return super().update(image)

    def read() -> Iterator[np.ndarray]:
        nonlocal now
        for image in images:
            now += 100
            yield image

    images, boxes = render_scene(5)
    assert run(Slow(), read(), boxes[0]).seconds == 3 + 4


def test_summary_and_mean() -> None:
    found = {'a': Result(0.5, 0.25, 10.0), 'b': Result(0.25, 0.75, 30.00004)}
    assert results.mean(found) == Result(0.375, 0.5, pytest.approx(20, abs=0.001))
    assert results.summary('x', found) == {
        'x': {
            'success': 0.375,
            'precision': 0.5,
            'fps': 20.0,
            'per_sequence': {
                'a': {'success': 0.5, 'precision': 0.25, 'fps': 10.0},
                'b': {'success': 0.25, 'precision': 0.75, 'fps': 30.0},
            },
        }
    }


def test_without_ground_truth(tmp_path: Path, sequence_folder: Path) -> None:
    sequences = open_sequences(sequence_folder)
    sequences['clip2'].groundtruth = None
    ran = evaluate(Still(), sequences)
    assert next(ran)[0] == 'clip1'
    with pytest.raises(DataError, match='clip2: no ground truth to start from'):
        next(ran)
