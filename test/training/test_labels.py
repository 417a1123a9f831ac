"""Labels, against ellipses and overlaps written out candidate by candidate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from siamffn_model.imaging.geometry import Box, iou
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.networks.siamese import ANCHORS
from siamffn_model.training.labels import edge_distances, labels, points

coordinates = st.floats(0, 255, width=32)
sides = st.floats(8, 200, width=32)
POINTS, WITH_ANCHORS = ScoreMap(25), ScoreMap(25, ANCHORS)
NO = torch.tensor([False])


def keys(score_map: ScoreMap, count: int = 1) -> torch.Tensor:
    candidates = score_map.points().shape[1]
    return torch.rand(count, candidates, generator=torch.Generator().manual_seed(0))


@given(coordinates, coordinates, sides, sides)
def test_labels_of_points_are_the_ellipses(cx: float, cy: float, w: float, h: float) -> None:
    box = torch.tensor([[cx - w / 2, cy - h / 2, w, h]], dtype=torch.float64)
    found = labels(POINTS, box, NO, keys(POINTS))[0].numpy().reshape(25, 25)
    for row, column in np.ndindex(25, 25):
        x, y = 31 + 8 * column, 31 + 8 * row
        reach = ((x - cx) / w) ** 2 + ((y - cy) / h) ** 2
        if min(abs(reach - 1 / 16), abs(reach - 1 / 4)) > 1e-6:
            assert found[row, column] == (1 if reach < 1 / 16 else 0 if reach > 1 / 4 else -1)


@pytest.mark.parametrize('target', [Box(90, 95, 64, 64), Box(120, 60, 30, 100), Box(0, 0, 250, 9)])
def test_labels_of_anchors_are_their_overlaps(target: Box) -> None:
    box = torch.tensor([target])
    found = labels(WITH_ANCHORS, box, NO, keys(WITH_ANCHORS))[0].numpy().reshape(5, 25, 25)
    for kind, row, column in np.ndindex(5, 25, 25):
        w, h = ANCHORS[kind]
        overlap = iou(Box.from_center(31 + 8 * column, 31 + 8 * row, w, h), target)
        if min(abs(overlap - 0.6), abs(overlap - 0.3)) > 1e-6:
            expected = 1 if overlap > 0.6 else 0 if overlap < 0.3 else -1
            assert found[kind, row, column] == expected


@pytest.mark.parametrize(
    ('score_map', 'size'),
    [(POINTS, (64, 128)), (WITH_ANCHORS, (64, 64))],
    ids=['points', 'anchors'],
)
def test_of_a_negative_pair_sixteen_in_the_middle_count(
    score_map: ScoreMap, size: tuple[float, float]
) -> None:
    boxes = torch.tensor([Box.from_center(127, 119, *size)] * 2)
    ranks = keys(score_map, 2)
    found = labels(score_map, boxes, torch.tensor([False, True]), ranks)
    assert (found[0] == 1).any()
    distractors = found[1] == 0
    assert (found[1] == -1).sum() == len(distractors) - 16
    assert distractors.sum() == 16
    x, y = points(score_map) - torch.tensor([[127.0], [119.0]])
    if score_map.anchors:
        inside = (x.abs() <= 24) & (y.abs() <= 24)
    else:
        inside = (x / 16) ** 2 + (y / 32) ** 2 < 1
    assert inside[distractors].all()
    assert ranks[1][distractors].min() > ranks[1][inside & ~distractors].max()


def test_a_negative_pair_of_a_small_target_has_fewer() -> None:
    box = torch.tensor([[117.0, 117, 20, 20]])
    found = labels(POINTS, box, torch.tensor([True]), keys(POINTS))[0]
    assert (found == 0).sum() == 1
    assert (found == 1).sum() == 0


@pytest.mark.parametrize('score_map', [POINTS, WITH_ANCHORS], ids=['points', 'anchors'])
def test_distances_give_the_box_back(score_map: ScoreMap) -> None:
    left, top, right, bottom = edge_distances(score_map, torch.tensor([[50.0, 60, 70, 80]]))[0]
    x, y = points(score_map)
    assert (x - left).unique().tolist() == [50]
    assert (y - top).unique().tolist() == [60]
    assert (left + right).unique().tolist() == [70]
    assert (top + bottom).unique().tolist() == [80]
