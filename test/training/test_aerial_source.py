"""Pairs of the aerial pack: each crop shows the target at its box."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siamffn_model.datasets.aerial import AerialPack
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image
from siamffn_model.training.aerial_source import AerialSource, turn
from siamffn_model.training.pair_sources import open_sources
from siamffn_model.training.recipe import Recipe
from siamffn_model.training.sampling import CropSpec, PairDataset

from ..datasets.aerial import COLOURS, write_aerial

SPEC = CropSpec(127, 100.0, (66.0, 60.0))


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an aerial pack."""
    return write_aerial(tmp_path_factory.mktemp('data') / 'aerial')


def shown(crop: Image, box: Box) -> str:
    """Return the target in the middle of a box."""
    part = crop[round(box.cy) - 2 : round(box.cy) + 2, round(box.cx) - 2 : round(box.cx) + 2]
    colour = part.astype(float).mean((0, 1))
    return min(COLOURS, key=lambda name: float(np.abs(colour - COLOURS[name]).sum()))


@pytest.mark.parametrize('mirrored', [False, True])
@pytest.mark.parametrize('turns', range(4))
def test_boxes_are_turned_with_their_images(mirrored: bool, turns: int) -> None:
    image = np.zeros((30, 50, 3), np.uint8)
    image[5:12, 10:30] = 255
    turned, box = turn(image, Box(10, 5, 20, 7), mirrored, turns)
    assert turned.shape == ((30, 50, 3) if turns % 2 == 0 else (50, 30, 3))
    x, y, w, h = map(int, box)
    assert (turned[y : y + h, x : x + w] == 255).all()
    assert (turned == 255).sum() == 3 * w * h


def test_crops_show_the_target_and_a_neighbour_of_its_class(folder: Path) -> None:
    source, rng = AerialSource(AerialPack.read(folder), 4), np.random.default_rng(0)
    found, rotations = set(), set()
    for _ in range(80):
        pair = source.draw(rng)
        crops = pair.template(SPEC), pair.search(SPEC)
        target, same = (shown(*crop) for crop in crops)
        assert target == same
        neighbour = shown(*pair.neighbour(SPEC)) if pair.neighbour else None
        frames = [crop.args[-1].frame for crop in (pair.template, pair.search)]  # type: ignore[attr-defined]
        found.add((target, *frames, neighbour))
        if target in 'ab':
            rotations.add(crops[0][1].w > crops[0][1].h)
        else:
            assert crops[0][1].w > crops[0][1].h, 'an oblique view is not rotated'
    assert rotations == {True, False}
    assert found == {
        ('a', 1, 1, 'b'),
        ('a', 1, 3, None),
        ('a', 3, 1, 'b'),
        ('a', 3, 3, None),
        ('a', 9, 9, None),
        ('b', 1, 1, 'a'),
        ('still', 0, 0, None),
        ('boat', 0, 0, None),
    }


def test_a_neighbour_makes_a_negative_pair(folder: Path) -> None:
    recipe = Recipe.model_validate(
        {
            'model': 'siamffn_lite0_s16',
            'loss': 'csrl',
            'data': {'aerial': {'pairs': 60}},
            'epochs': 1,
            'batch': 1,
            'negative': 0.9,
            'augmentation': {'light': 0.0, 'blur': 0.0, 'shift': 0.0},
            'optimizer': 'sgd',
            'rate': {'warmup': 0},
        }
    )
    dataset = PairDataset(recipe, open_sources(recipe, {'aerial': folder}), 225)
    pairs = [dataset[index] for index in range(60)]
    center = Box(53, 53, 20, 20)
    for pair in pairs:
        same = shown(pair.template, center) == shown(pair.search, Box(*pair.box.tolist()))
        assert same != pair.negative
    assert sum(pair.negative for pair in pairs) > 20
