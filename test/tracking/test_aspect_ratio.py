"""The aspect ratio of boxes is corrected by that of the first image."""

from __future__ import annotations

import numpy as np
import pytest

from siamffn_model.imaging.geometry import Box
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.runtimes.runtime import Floats
from siamffn_model.runtimes.torch_runtime import eager_runtime
from siamffn_model.tracking import Tracker, TrackerSettings
from siamffn_model.tracking.aspect_ratio import SHARE, size_correction

from .test_tracker import Pointer

IMAGE = np.zeros((480, 640, 3), np.uint8)
CENTRE = 12 * 25 + 12  # the candidate in the centre of the score map


def candidates(x: float, y: float, w: float, h: float) -> Floats:
    """Return five candidates (5, 5) of which the middle one scores high."""
    boxes = np.tile(np.array([[x], [y], [w], [h]]), (1, 5))
    return np.vstack([[0.1, 0.2, 0.9, 0.2, 0.1], boxes])


def test_a_correct_ratio_is_left() -> None:
    assert size_correction(candidates(0, 0, 30, 20), Box(7, 7, 30, 20)) == pytest.approx([1, 1])
    larger = size_correction(candidates(1, 2, 36, 24), Box(7, 7, 30, 20))
    assert larger == pytest.approx([1, 1]), 'the scale is not corrected'


def test_a_part_of_the_error_is_corrected_and_the_area_kept() -> None:
    factors = size_correction(candidates(0, 0, 40, 20), Box(0, 0, 20, 20))
    assert factors[0] / factors[1] == pytest.approx(2**-SHARE)
    assert factors.prod() == pytest.approx(1)
    opposite = size_correction(candidates(0, 0, 20, 40), Box(0, 0, 20, 20))
    assert opposite == pytest.approx(factors[::-1])


@pytest.mark.parametrize('found', [(60, 0, 40, 20), (0, 0, 400, 200), (0, 0, float('nan'), 20)])
def test_nothing_is_corrected_if_the_target_is_not_found(found: tuple[float, ...]) -> None:
    assert size_correction(candidates(*found), Box(0, 0, 20, 20)) == pytest.approx([1, 1])


@pytest.mark.parametrize('sized', [True, False])
def test_the_tracker_corrects_later_boxes(sized: bool) -> None:
    """The network predicts 80x40 for a target of 60x60, in the first image and later."""
    network = Pointer(ScoreMap(25, sized=sized), CENTRE, (42.3, 21.2, 42.3, 21.2))
    tracker = Tracker(eager_runtime(network, 'cpu'), TrackerSettings(penalty_k=0, lr=1))
    tracker.init(IMAGE, Box.from_center(320, 240, 60, 60))
    for _ in range(20):
        box = tracker.update(IMAGE).box
    ratio = 2 ** (1 - SHARE) if sized else 1
    assert box.w / box.h == pytest.approx(ratio, rel=0.02)
    tracker.init(IMAGE, box)
    for _ in range(20):
        box = tracker.update(IMAGE).box
    assert box.w / box.h == pytest.approx(2 ** (1 - SHARE**2) if sized else 1, rel=0.02)
