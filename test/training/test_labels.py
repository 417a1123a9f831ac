"""Labels, compared with ellipses and overlaps computed for each candidate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from siamffn_model.imaging.geometry import Box, iou
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.networks.siamese import ANCHORS
from siamffn_model.training.labels import edge_distances, labels, points

coordinates = st.floats(0, 255, width=32)
sides = st.floats(8, 200, width=32)
POINTS, WITH_ANCHORS = ScoreMap(25), ScoreMap(25, ANCHORS)
POSITIVE_PAIR = torch.tensor([False])


def priorities(score_map: ScoreMap, count: int = 1) -> torch.Tensor:
    candidates = score_map.points().shape[1]
    return torch.rand(count, candidates, generator=torch.Generator().manual_seed(0))


@given(coordinates, coordinates, sides, sides)
def test_points_are_labelled_by_ellipses_and_the_nearest_is_positive(
    cx: float, cy: float, w: float, h: float
) -> None:
    box = torch.tensor([[cx - w / 2, cy - h / 2, w, h]], dtype=torch.float64)
    result = labels(POINTS, box, POSITIVE_PAIR, priorities(POINTS))[0].numpy().reshape(25, 25)
    x, y = points(POINTS).double().numpy().reshape(2, 25, 25)
    offset = np.hypot(x - cx, y - cy)
    nearest = offset <= offset.min() + 1e-4
    assert (result[nearest] == 1).any()
    ellipses = ((x - cx) / w) ** 2 + ((y - cy) / h) ** 2
    for row, column in np.argwhere(~nearest | (ellipses < 1 / 16)):
        distance = ellipses[row, column]
        if min(abs(distance - 1 / 16), abs(distance - 1 / 4)) > 1e-6:
            assert result[row, column] == (
                1 if distance < 1 / 16 else 0 if distance > 1 / 4 else -1
            )


@given(st.floats(63, 191), st.floats(63, 191), st.floats(17, 200), st.floats(17, 200))
def test_at_stride_8_the_nearest_point_is_in_the_ellipse_of_all_but_small_targets(
    cx: float, cy: float, w: float, h: float
) -> None:
    """So the rule that it is positive changes nothing for them."""
    assume(1 / w**2 + 1 / h**2 < 1 / 16**2)
    x, y = points(POINTS).double()
    nearest = ((x - cx) ** 2 + (y - cy) ** 2).argmin()
    assert ((x - cx)[nearest] / w) ** 2 + ((y - cy)[nearest] / h) ** 2 < 1 / 16


def test_at_stride_16_a_thin_target_has_a_positive_point() -> None:
    boxes = torch.tensor([Box.from_center(127 + 7, 127, 12, 120)] * 2)
    score_map = ScoreMap(15, stride=16)
    result = labels(score_map, boxes, torch.tensor([False, True]), priorities(score_map, 2))
    assert [(row == 1).nonzero().flatten().tolist() for row in result] == [[112], []]
    assert [(row == 0).sum() > 200 for row in result] == [True, False]
    assert (result[1] == 0).nonzero().flatten().tolist() == [112]


@pytest.mark.parametrize('target', [Box(90, 95, 64, 64), Box(120, 60, 30, 100), Box(0, 0, 250, 9)])
def test_anchors_are_labelled_by_their_iou(target: Box) -> None:
    box = torch.tensor([target])
    result = (
        labels(WITH_ANCHORS, box, POSITIVE_PAIR, priorities(WITH_ANCHORS))[0]
        .numpy()
        .reshape(5, 25, 25)
    )
    for kind, row, column in np.ndindex(5, 25, 25):
        w, h = ANCHORS[kind]
        overlap = iou(Box.from_center(31 + 8 * column, 31 + 8 * row, w, h), target)
        if min(abs(overlap - 0.6), abs(overlap - 0.3)) > 1e-6:
            expected = 1 if overlap > 0.6 else 0 if overlap < 0.3 else -1
            assert result[kind, row, column] == expected


@pytest.mark.parametrize(
    ('score_map', 'size'),
    [(POINTS, (64, 128)), (WITH_ANCHORS, (64, 64))],
    ids=['points', 'anchors'],
)
def test_a_negative_pair_has_sixteen_negative_candidates_near_the_centre(
    score_map: ScoreMap, size: tuple[float, float]
) -> None:
    boxes = torch.tensor([Box.from_center(127, 119, *size)] * 2)
    priority = priorities(score_map, 2)
    result = labels(score_map, boxes, torch.tensor([False, True]), priority)
    assert (result[0] == 1).any()
    distractors = result[1] == 0
    assert (result[1] == -1).sum() == len(distractors) - 16
    assert distractors.sum() == 16
    x, y = points(score_map) - torch.tensor([[127.0], [119.0]])
    if score_map.anchors:
        inside = (x.abs() <= 24) & (y.abs() <= 24)
    else:
        inside = (x / 16) ** 2 + (y / 32) ** 2 < 1
    assert inside[distractors].all()
    assert priority[1][distractors].min() > priority[1][inside & ~distractors].max()


def test_a_negative_pair_with_a_small_target_has_fewer_negative_candidates() -> None:
    box = torch.tensor([[117.0, 117, 20, 20]])
    result = labels(POINTS, box, torch.tensor([True]), priorities(POINTS))[0]
    assert (result == 0).sum() == 1
    assert (result == 1).sum() == 0


@pytest.mark.parametrize('score_map', [POINTS, WITH_ANCHORS], ids=['points', 'anchors'])
def test_edge_distances_match_the_box(score_map: ScoreMap) -> None:
    left, top, right, bottom = edge_distances(score_map, torch.tensor([[50.0, 60, 70, 80]]))[0]
    x, y = points(score_map)
    assert (x - left).unique().tolist() == [50]
    assert (y - top).unique().tolist() == [60]
    assert (left + right).unique().tolist() == [70]
    assert (top + bottom).unique().tolist() == [80]
