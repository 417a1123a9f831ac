"""Labels, against the ellipses written out point by point."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from siamffn_model.training.labels import edge_distances, point_labels, points

coordinates = st.floats(0, 255, width=32)
sides = st.floats(8, 200, width=32)


@given(coordinates, coordinates, sides, sides)
def test_labels_are_the_ellipses(cx: float, cy: float, w: float, h: float) -> None:
    box = torch.tensor([[cx - w / 2, cy - h / 2, w, h]], dtype=torch.float64)
    labels = point_labels(box, torch.tensor([False]))[0].numpy()
    for row, column in np.ndindex(25, 25):
        x, y = 31 + 8 * column, 31 + 8 * row
        reach = ((x - cx) / w) ** 2 + ((y - cy) / h) ** 2
        if min(abs(reach - 1 / 16), abs(reach - 1 / 4)) > 1e-6:
            assert labels[row, column] == (1 if reach < 1 / 16 else 0 if reach > 1 / 4 else -1)


def test_a_negative_pair_has_no_target() -> None:
    boxes = torch.tensor([[90.0, 90, 80, 80]] * 2)
    labels = point_labels(boxes, torch.tensor([False, True]))
    assert (labels[0] == 1).any()
    assert (labels[1] == 0).all()


def test_distances_give_the_box_back() -> None:
    box = torch.tensor([[50.0, 60, 70, 80]])
    left, top, right, bottom = edge_distances(box)[0]
    x, y = points()
    assert torch.allclose(torch.stack([x - left, y - top]).flatten(1), torch.tensor([[50.0], [60]]))
    assert (left + right).unique().tolist() == [70]
    assert (top + bottom).unique().tolist() == [80]


def test_points_are_centred_on_the_crop() -> None:
    x, y = points()
    assert (x[0, 0], x[0, 24], x[12, 12]) == (31, 223, 127)
    assert y.T.numpy() == pytest.approx(x.numpy())
