"""Learning rates, compared with those of the paper, and trainable parameters of each epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from siamffn_model.networks.zoo import create_model
from siamffn_model.training.recipe import Recipe, Schedule
from siamffn_model.training.recipe_reader import read_recipe
from siamffn_model.training.schedule import learning_rates, make_optimizer, set_epoch

CONFIGS = Path(__file__).resolve().parents[2] / 'config/train'


def recipe(**changes: object) -> Recipe:
    return read_recipe(CONFIGS / 'siamffn_r50.yaml').model_copy(update=changes)


def test_the_learning_rates_of_the_paper() -> None:
    result = learning_rates(recipe().rate, 20)
    assert len(result) == 20
    assert result[0] == pytest.approx(0.001)
    assert result[5] == pytest.approx(0.005)
    assert result[19] == pytest.approx(0.00005)
    growth = np.divide(result[1:], result[:-1])
    assert growth[:5] == pytest.approx([5 ** (1 / 5)] * 5)
    assert growth[5:] == pytest.approx([0.01 ** (1 / 14)] * 14)


@pytest.mark.parametrize(('warmup', 'epochs'), [(0, 1), (0, 3), (1, 1), (2, 3)])
def test_short_trainings_have_a_learning_rate_for_every_epoch(warmup: int, epochs: int) -> None:
    result = learning_rates(Schedule(warmup=warmup, start=1e-3, peak=1e-2, end=1e-4), epochs)
    assert len(result) == epochs
    assert all(1e-4 <= rate <= 1e-2 + 1e-12 for rate in result)


@pytest.mark.parametrize('name', ['siamffn_r50', 'siamffn_lite0'])
def test_the_backbone_is_trained_from_its_epoch_at_a_tenth_of_the_learning_rate(name: str) -> None:
    model = create_model(name)
    plan = recipe(model=name)
    optimizer = make_optimizer(model, plan)
    trainable = {p for part in model.backbone.trainable() for p in part.parameters()}
    assert 0 < len(trainable) < len(list(model.backbone.parameters()))
    for epoch, trained in ((0, False), (9, False), (10, True), (19, True)):
        assert set_epoch(model, optimizer, plan, epoch) == trained
        for parameter in model.backbone.parameters():
            assert parameter.requires_grad == (trained and parameter in trainable)
        backbone_rate, rate = (group['lr'] for group in optimizer.param_groups)
        assert rate == learning_rates(plan.rate, 20)[epoch]
        assert backbone_rate == pytest.approx(rate / 10)
    backbone_parameters = set(model.backbone.parameters())
    grouped = [set(group['params']) for group in optimizer.param_groups]
    assert grouped == [trainable, set(model.parameters()) - backbone_parameters]


def test_the_recipe_sets_the_factor_of_the_backbones_rate() -> None:
    model = create_model('siamffn_lite0')
    plan = recipe(unfreeze=0, rate=Schedule(warmup=0, backbone=0.5))
    optimizer = make_optimizer(model, plan)
    set_epoch(model, optimizer, plan, 0)
    assert [group['lr'] for group in optimizer.param_groups] == pytest.approx([2.5e-3, 5e-3])


def test_the_backbones_batch_norm_keeps_its_statistics() -> None:
    model = create_model('siamffn_lite0')
    plan = recipe(model='siamffn_lite0', unfreeze=1)
    optimizer = make_optimizer(model, plan)
    norms = {n: m for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    for epoch in range(2):
        set_epoch(model, optimizer, plan, epoch)
        before = {name: norm.running_mean.clone() for name, norm in norms.items()}  # type: ignore[union-attr]
        model.search(torch.rand(2, 3, 255, 255), model.template(torch.rand(2, 3, 127, 127)))
        changed = {n for n, m in norms.items() if not torch.equal(m.running_mean, before[n])}  # type: ignore[arg-type]
        assert changed == {n for n in norms if not n.startswith('backbone.')}


def test_without_unfreeze_the_backbone_is_never_trained() -> None:
    model = create_model('siamffn_lite0')
    plan = recipe(model='siamffn_lite0', unfreeze=None)
    assert not set_epoch(model, make_optimizer(model, plan), plan, 19)


def test_optimizers_are_selected_by_name() -> None:
    model = create_model('siamfc_alex')
    assert isinstance(make_optimizer(model, recipe(optimizer='adamw')), torch.optim.AdamW)
    sgd = make_optimizer(model, recipe(optimizer='sgd'))
    assert isinstance(sgd, torch.optim.SGD)
    assert {(g['momentum'], g['weight_decay']) for g in sgd.param_groups} == {(0.9, 1e-4)}
