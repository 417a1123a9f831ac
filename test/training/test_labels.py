"""Labels, against ellipses and overlaps written out candidate by candidate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from siamffn_model.geometry import Box, iou
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.networks.siamese import ANCHORS
from siamffn_model.training.labels import edge_distances, labels, points

coordinates = st.floats(0, 255, width=32)
sides = st.floats(8, 200, width=32)
POINTS, WITH_ANCHORS = ScoreMap(25), ScoreMap(25, ANCHORS)
NO = torch.tensor([False])


@given(coordinates, coordinates, sides, sides)
def test_labels_of_points_are_the_ellipses(cx: float, cy: float, w: float, h: float) -> None:
    box = torch.tensor([[cx - w / 2, cy - h / 2, w, h]], dtype=torch.float64)
    found = labels(POINTS, box, NO)[0].numpy().reshape(25, 25)
    for row, column in np.ndindex(25, 25):
        x, y = 31 + 8 * column, 31 + 8 * row
        reach = ((x - cx) / w) ** 2 + ((y - cy) / h) ** 2
        if min(abs(reach - 1 / 16), abs(reach - 1 / 4)) > 1e-6:
            assert found[row, column] == (1 if reach < 1 / 16 else 0 if reach > 1 / 4 else -1)


@pytest.mark.parametrize('target', [Box(90, 95, 64, 64), Box(120, 60, 30, 100), Box(0, 0, 250, 9)])
def test_labels_of_anchors_are_their_overlaps(target: Box) -> None:
    found = labels(WITH_ANCHORS, torch.tensor([target]), NO)[0].numpy().reshape(5, 25, 25)
    for kind, row, column in np.ndindex(5, 25, 25):
        w, h = ANCHORS[kind]
        overlap = iou(Box.from_center(31 + 8 * column, 31 + 8 * row, w, h), target)
        if min(abs(overlap - 0.6), abs(overlap - 0.3)) > 1e-6:
            expected = 1 if overlap > 0.6 else 0 if overlap < 0.3 else -1
            assert found[kind, row, column] == expected


@pytest.mark.parametrize('score_map', [POINTS, WITH_ANCHORS], ids=['points', 'anchors'])
def test_a_negative_pair_has_no_target(score_map: ScoreMap) -> None:
    boxes = torch.tensor([[95.0, 95, 64, 64]] * 2)
    found = labels(score_map, boxes, torch.tensor([False, True]))
    assert (found[0] == 1).any()
    assert (found[1] == 0).all()


@pytest.mark.parametrize('score_map', [POINTS, WITH_ANCHORS], ids=['points', 'anchors'])
def test_distances_give_the_box_back(score_map: ScoreMap) -> None:
    left, top, right, bottom = edge_distances(score_map, torch.tensor([[50.0, 60, 70, 80]]))[0]
    x, y = points(score_map)
    assert (x - left).unique().tolist() == [50]
    assert (y - top).unique().tolist() == [60]
    assert (left + right).unique().tolist() == [70]
    assert (top + bottom).unique().tolist() == [80]
