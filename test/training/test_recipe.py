"""The schema of recipes: shipped recipes, limits and descriptions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from siamffn_model.training.recipe import Augmentation, Recipe, Schedule, SourceConfig
from siamffn_model.training.recipe_reader import read_recipe

SHIPPED = Path(__file__).parents[2] / 'config/train'
REQUIRED = {
    'model': 'siamffn_lite0',
    'loss': 'csrl',
    'data': {'pack': {'pairs': 10_000}},
    'epochs': 5,
    'batch': 16,
    'optimizer': 'sgd',
    'rate': {},
}
VALUES: dict[type[BaseModel], dict[str, Any]] = {
    Recipe: REQUIRED,
    SourceConfig: {'pairs': 1},
    Augmentation: {},
    Schedule: {},
}


@pytest.mark.parametrize('path', [*SHIPPED.glob('*.yaml')], ids=lambda path: path.stem)
def test_a_shipped_recipe_trains_the_model_in_its_name(path: Path) -> None:
    recipe = read_recipe(path)
    if path.stem not in ('smoke', 'ablation'):
        name = path.stem.removesuffix('_gpu')
        assert name in (recipe.model, f'{recipe.model}_{recipe.loss}')


def test_the_recipe_of_the_paper_has_its_values() -> None:
    assert read_recipe(SHIPPED / 'siamffn_r50.yaml').model_dump() == {
        'model': 'siamffn_r50',
        'loss': 'separate',
        'data': {
            'got10k': {'pairs': 200_000, 'range': 100},
            'coco': {'pairs': 100_000, 'range': 1},
            'vid': {'pairs': 100_000, 'range': 100},
            'det': {'pairs': 200_000, 'range': 1},
        },
        'data_device': False,
        'epochs': 20,
        'batch': 80,
        'micro_batch': None,
        'repeat': False,
        'negative': 0.2,
        'hard': 0,
        'augmentation': {
            'shift': 64,
            'scale': 0.18,
            'light': 0.2,
            'blur': 0.2,
            **dict.fromkeys(('stretch', 'colour', 'grey', 'faint'), 0),
            **dict.fromkeys(('pixels', 'noise', 'compression'), 0),
        },
        'teacher': {'features': 0, 'scores': 0, 'boxes': 0},
        'optimizer': 'sgd',
        'rate': {
            'warmup': 5,
            'start': 0.001,
            'peak': 0.005,
            'end': 0.00005,
            'backbone': 0.1,
        },
        'unfreeze': 10,
        'ema': 0,
        'bf16': True,
        'seed': 0,
    }


@pytest.mark.parametrize('name', ['siamffn_r50', 'siamban_r50', 'siamrpnpp_r50'])
def test_recipe_pairs_differ_only_in_the_loss(name: str) -> None:
    one, other = (read_recipe(SHIPPED / f'{name}{end}.yaml') for end in ('', '_csrl'))
    assert (one.loss, other.loss) == ('separate', 'csrl')
    assert other == one.model_copy(update={'loss': 'csrl'})
    paper = read_recipe(SHIPPED / 'siamffn_r50.yaml')
    assert one == paper.model_copy(update={'model': name})


def test_the_smoke_recipe_needs_no_data() -> None:
    assert list(read_recipe(SHIPPED / 'smoke.yaml').data) == ['rendered']


@pytest.mark.parametrize(
    ('kind', 'key', 'lowest', 'below', 'highest', 'above'),
    [
        (Recipe, 'epochs', 5, 4, 1000, 1001),  # at least the warm-up
        (Recipe, 'batch', 1, 0, 4096, 4097),
        (Recipe, 'micro_batch', 1, 0, 10**9, math.inf),
        (Recipe, 'negative', 0, -1e-9, 0.9, 0.9000001),
        (Recipe, 'hard', 0, -1e-9, 1, 1.0000001),
        (Recipe, 'unfreeze', 0, -1, 10**9, math.inf),
        (Recipe, 'ema', 0, -1e-9, 0.9999999, 1),
        (Recipe, 'seed', 0, -1, 2**32 - 1, 2**32),
        (SourceConfig, 'pairs', 1, 0, 10**9, math.inf),
        (SourceConfig, 'range', 1, 0, 10**9, math.inf),
        (Augmentation, 'shift', 0, -1e-9, 64, 64.0001),
        (Augmentation, 'scale', 0, -1e-9, 0.5, 0.5000001),
        *(
            (Augmentation, key, 0, -1e-9, 1, 1.0000001)
            for key in ('colour', 'light', 'grey', 'blur', 'pixels', 'noise', 'compression')
        ),
        (Schedule, 'warmup', 0, -1, 10**9, math.inf),
        *((Schedule, key, 1e-9, 0, 1, 1.0000001) for key in ('start', 'peak', 'end')),
        (Schedule, 'backbone', 0, -1e-9, 1, 1.0000001),
    ],
)
def test_limits_of_values(
    kind: type[BaseModel], key: str, lowest: float, below: float, highest: float, above: float
) -> None:
    for value in (lowest, highest):
        instance = kind.model_validate({**VALUES[kind], key: value})
        assert getattr(instance, key) == value
    for value in (below, above, math.nan):
        with pytest.raises(ValidationError):
            kind.model_validate({**VALUES[kind], key: value})


def test_every_key_has_a_description() -> None:
    for kind in VALUES:
        for key, field in kind.model_fields.items():
            assert field.description, key
