"""Pairs from a pack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siamffn_model.datasets.pack import Pack
from siamffn_model.datasets.synthetic import Scene
from siamffn_model.geometry import Box
from siamffn_model.tracking.crop import context_side
from siamffn_model.training.sampling import PackPairs, View


@pytest.fixture(scope='module')
def pairs(tiny_pack: Path) -> PackPairs:
    return PackPairs(Pack.read(tiny_pack), 60, seed=5)


def test_pairs_are_as_the_network_wants_them(pairs: PackPairs) -> None:
    for i in range(len(pairs)):
        template, search, box = pairs[i]
        assert (template.shape, search.shape) == ((127, 127, 3), (255, 255, 3))
        assert template.dtype == search.dtype == np.uint8
        x, y, w, h = box
        assert abs(x + w / 2 - 127) <= 64.5
        assert abs(y + h / 2 - 127) <= 64.5
        assert abs(np.log(context_side(w, h) / 127)) <= 0.18 + 1e-3


def test_the_same_index_gives_the_same_pair(pairs: PackPairs, tiny_pack: Path) -> None:
    again = PackPairs(Pack.read(tiny_pack), 60, seed=5)
    for i in (7, 3, 59):
        for one, other in zip(pairs[i], again[i], strict=True):
            assert np.array_equal(one, other)


def test_another_seed_gives_another_pair(pairs: PackPairs, tiny_pack: Path) -> None:
    other = PackPairs(Pack.read(tiny_pack), 60, seed=6)
    assert not np.array_equal(pairs[0].search, other[0].search)


def test_a_view_shows_the_target_where_it_says(scene: Scene) -> None:
    view = View(255, 127.0, (150.0, 100.0))
    box = scene.boxes[0]
    crop, shown = view.cut(scene.images[0], box)
    assert (shown.cx, shown.cy) == pytest.approx((150, 100))
    assert context_side(shown.w, shown.h) == pytest.approx(127)
    straight, _ = View(255, 127.0, (127.0, 127.0)).cut(scene.images[0], box)
    difference = crop[:220, 60:].astype(float) - straight[27:247, 37:232]
    assert np.abs(difference).mean() < 1  # but for the fractions of a pixel that warping rounds


def test_a_view_of_a_target_at_the_edge_is_filled() -> None:
    image = np.full((50, 50, 3), 90, np.uint8)
    crop, _ = View(127, 127.0, (63.0, 63.0)).cut(image, Box(0, 0, 20, 20))
    assert (crop == 90).all()
