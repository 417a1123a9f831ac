"""The throughput of training: what is measured, with which batches."""

from __future__ import annotations

from pathlib import Path

import pytest

from siamffn_model.benchmarking.training_speed import measure_training
from siamffn_model.training import features
from siamffn_model.training.recipe_reader import read_recipe
from siamffn_model.training.trainer import Trainer

RECIPE = Path(__file__).resolve().parents[2] / 'config' / 'train' / 'smoke.yaml'


@pytest.mark.slow
def test_complete_steps_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[tuple[int, bool]] = []
    train_step = Trainer.train_step

    def record(trainer: Trainer, *arguments: object) -> bool:
        stop = train_step(trainer, *arguments)  # type: ignore[arg-type]
        trained.append((len(arguments[0].box), bool(trainer.backbone_trained)))  # type: ignore[attr-defined]
        return stop

    monkeypatch.setattr(Trainer, 'train_step', record)
    monkeypatch.setattr(features, 'find_spec', lambda _: None)  # converting to OpenVINO takes long
    first, last = measure_training(read_recipe(RECIPE, ['batch=2']), {}, 'cpu', 0, 0.0)
    assert first.keys() == {'batch', 'fixed_batch'}, 'a result if there is no time for the other'
    assert last['batch'] == 2
    assert last['fixed_batch'] > 0 and last['with_data'] > 0
    assert trained == 4 * [(2, True)], 'a warm-up and a measured step of each kind'
