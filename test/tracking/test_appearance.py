"""Targets that are taken for another object, or for each other, are reported as UNCERTAIN."""

from __future__ import annotations

import numpy as np
import pytest

from siamffn_model.imaging.geometry import iou
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.tracking import State, Tracker
from siamffn_model.tracking.appearance import CHECK_INTERVAL, Appearance

from .look_alikes import render_look_alikes


def test_similarity_ignores_brightness_and_contrast() -> None:
    features = np.random.default_rng(0).normal(size=(4, 7, 7))
    appearance = Appearance(features)
    assert appearance.similarity(features) == pytest.approx(1)
    assert appearance.similarity(3 * features + 5) == pytest.approx(1)
    assert appearance.similarity(-features) == pytest.approx(-1)
    assert appearance.similarity(np.ones((4, 7, 7))) == 0


def test_a_target_that_is_found_again_must_look_as_before() -> None:
    rng = np.random.default_rng(0)
    target, other = rng.normal(size=(2, 4, 7, 7))
    appearance = Appearance(target)
    due = [appearance.due(found_again=False) for _ in range(2 * CHECK_INTERVAL)]
    assert np.flatnonzero(due).tolist() == [CHECK_INTERVAL - 1, 2 * CHECK_INTERVAL - 1]
    changed = target + 2 * other
    appearance.measure(changed, found_again=False)
    appearance.measure(other, found_again=False)
    assert not appearance.doubtful, 'a target that was not lost may change'
    appearance.measure(changed, found_again=False)
    assert appearance.due(found_again=True)
    appearance.measure(other, found_again=True)
    assert appearance.doubtful
    appearance.measure(other, found_again=False)
    assert appearance.doubtful
    appearance.measure(changed, found_again=False)
    assert not appearance.doubtful


def test_a_target_that_keeps_its_appearance_must_not_change() -> None:
    target, other = np.random.default_rng(0).normal(size=(2, 4, 7, 7))
    appearance = Appearance(target)
    appearance.measure(target, found_again=False)
    appearance.measure(other, found_again=False)
    assert appearance.doubtful
    appearance.measure(target, found_again=False)
    assert not appearance.doubtful


@pytest.mark.slow
def test_another_object_is_rarely_taken_for_the_target(model: Runtime) -> None:
    absent = wrong = visible = right = 0
    for seed in range(0, 12, 2):
        scene = render_look_alikes(seed, same=False)
        tracker = Tracker(model)
        tracker.init(scene.images[0], scene.boxes[0])
        for image, box, part in zip(scene.images[1:], scene.boxes[1:], scene.visible[1:]):
            track = tracker.update(image)
            tracking = track.state == State.TRACKING
            if part < 0.2:
                absent += 1
                wrong += tracking
            elif part > 0.5:
                visible += 1
                right += tracking and iou(track.box, box) > 0.3
    assert wrong < 0.3 * absent  # 0.7 without the comparison with the template
    assert right > 0.7 * visible
