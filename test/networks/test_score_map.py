"""Positions and window of the candidates."""

from __future__ import annotations

import numpy as np
import pytest

from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.training.labels import points


def test_points_are_ordered_by_row_and_centred() -> None:
    centred = ScoreMap(25).points()
    assert centred.shape == (2, 625)
    assert centred[:, 0].tolist() == [-96, -96]
    assert centred[:, 1].tolist() == [-88, -96]
    assert centred[:, 312].tolist() == [0, 0]
    x, y = points(ScoreMap(25)).reshape(2, 25, 25)
    assert (x[0, 0], x[0, 24], y[24, 0], x[12, 12]) == (31, 223, 223, 127)


def test_points_at_another_stride() -> None:
    x, y = ScoreMap(15, stride=16).points().reshape(2, 15, 15)
    assert x[3].tolist() == y[:, 3].tolist() == list(range(-112, 113, 16))
    # Every second point of the map of 25 points is one of them.
    assert ScoreMap(25).points().reshape(2, 25, 25)[:, ::2, ::2] == pytest.approx(
        ScoreMap(15, stride=16).points().reshape(2, 15, 15)[:, 1:-1, 1:-1]
    )


def test_points_and_window_are_repeated_for_each_anchor() -> None:
    plain, anchored = ScoreMap(17), ScoreMap(17, ((10, 20), (20, 10)))
    assert anchored.points() == pytest.approx(np.hstack([plain.points()] * 2))
    assert anchored.window() == pytest.approx(np.hstack([plain.window()] * 2))


def test_the_window_is_one_at_the_centre_and_zero_at_the_border() -> None:
    window = ScoreMap(25).window().reshape(25, 25)
    assert window[12, 12] == window.max() == 1
    assert window[0].max() == window[:, -1].max() == pytest.approx(0)
