"""A picture that does not change does not move the box, and real changes are followed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from siamffn_model.imaging.geometry import Box, iou
from siamffn_model.imaging.image import Image
from siamffn_model.imaging.sources import open_frames
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.tracking import State, Tracker
from siamffn_model.tracking.steadiness import damped, mean_candidate, overlaps, size_factor

WARM_UP, FRAMES = 40, 40


def test_the_mean_of_candidates_is_of_those_that_rank_high_and_overlap() -> None:
    candidates = np.array([[0, 0, 40, 20], [2, 0, 40, 20], [90, 0, 40, 20], [4, 4, 40, 20]], float)
    one = mean_candidate(candidates.T, np.array([1.0, 0.0, 1.0, 0.5]), 0)
    assert one == pytest.approx(candidates[0])
    two = mean_candidate(candidates.T, np.array([1.0, 1.0, 1.0, 0.5]), 0)
    assert two == pytest.approx((1, 0, 40, 20))
    empty = mean_candidate(np.zeros((4, 3)), np.zeros(3), 1)
    assert empty == pytest.approx(np.zeros(4))


def test_overlaps_are_those_of_boxes() -> None:
    rng = np.random.default_rng(0)
    candidates = rng.uniform(1, 50, (4, 30))
    boxes = np.array([Box.from_center(*column) for column in candidates.T])
    assert overlaps(candidates, candidates[:, 3]) == pytest.approx(iou(boxes, boxes[3]))


def test_small_changes_are_damped_and_large_ones_are_not() -> None:
    assert damped(0, 0.01) == 0
    assert damped(0.01, 0.01) == pytest.approx(0.5)
    assert damped(1, 0.01) > 0.999
    assert size_factor(40, 20, Box(0, 0, 40, 20)) == 0
    assert size_factor(80, 20, Box(0, 0, 40, 20)) > 0.99
    assert size_factor(-1, 0, Box(0, 0, 40, 20)) > 0.99, 'sizes that are not positive are finite'


@pytest.fixture(scope='module')
def stills() -> list[tuple[Image, Box]]:
    demo = pytest.importorskip('siamffn_ros.demo', reason='ROS is not installed')
    frames = list(open_frames(demo.find_video()))
    return [
        (cv2.resize(frame, None, fx=scale, fy=scale), Box(*(scale * np.array(demo.FACE))))
        for frame, scale in zip(frames[:40:4], np.linspace(2, 4, 10), strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize('number', range(10))
def test_a_still_picture_does_not_move_the_box(
    stills: list[tuple[Image, Box]], number: int, model: Runtime
) -> None:
    image, box = stills[number]
    rng = np.random.default_rng(number)
    tracker = Tracker(model)
    tracker.init(image, box)
    found = []
    for _ in range(WARM_UP + FRAMES):
        noise = rng.normal(0, 2, image.shape)
        track = tracker.update(np.clip(image + noise, 0, 255).round().astype(np.uint8))
        assert track.state == State.TRACKING
        found.append((track.box.cx, track.box.cy, track.box.w, track.box.h))
    late = np.array(found[WARM_UP:])
    side = np.sqrt(late[:, 2:].mean(axis=0).prod())
    assert late[:, :2].std(axis=0).max() < 0.005 * side
    assert (late[:, 2:].std(axis=0) / late[:, 2:].mean(axis=0)).max() < 0.01
    assert iou(track.box, box) > 0.6
