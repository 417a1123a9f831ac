"""What changes between epochs: the learning rate and the trainable parts of the model."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from siamffn_model.networks.siamese import Siamese
from siamffn_model.training.recipe import Recipe, Schedule

MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4  # paper section 4.3; SiamBAN's code


def learning_rates(schedule: Schedule, epochs: int) -> list[float]:
    """Return the learning rate of each epoch.

    It rises geometrically from `start`, reaches `peak` after the warm-up, and then falls
    geometrically to `end`: the paper's 0.001 to 0.005 and 0.005 to 0.00005 (section 4.3) in the
    steps of SiamBAN's code.
    """
    rising = np.geomspace(schedule.start, schedule.peak, schedule.warmup + 1)[:-1]
    falling = np.geomspace(schedule.peak, schedule.end, epochs - schedule.warmup)
    return [*rising.tolist(), *falling.tolist()]


def make_optimizer(
    model: Siamese, recipe: Recipe, further: Iterable[nn.Parameter] = ()
) -> Optimizer:
    """Return the optimizer with two parameter groups.

    The first has the parameters of the backbone's trainable stages, the second those of all other
    parts of the model and `further` ones.
    """
    trainable = [p for part in model.backbone.trainable() for p in part.parameters()]
    backbone = set(model.backbone.parameters())
    others = [p for p in model.parameters() if p not in backbone]
    groups = [{'params': trainable}, {'params': [*others, *further]}]
    if recipe.optimizer == 'adamw':
        return AdamW(groups, recipe.rate.peak, weight_decay=WEIGHT_DECAY)
    return SGD(groups, recipe.rate.peak, MOMENTUM, weight_decay=WEIGHT_DECAY)


def set_epoch(model: Siamese, optimizer: Optimizer, recipe: Recipe, epoch: int) -> bool:
    """Set learning rates and trainable parameters; return whether the epoch trains the backbone.

    The batch norm of the backbone keeps its running statistics, which apply to both template and
    search crops.
    """
    rate = learning_rates(recipe.rate, recipe.epochs)[epoch]
    for group, factor in zip(optimizer.param_groups, (recipe.rate.backbone, 1.0), strict=True):
        group['lr'] = factor * rate
    train_backbone = recipe.unfreeze is not None and epoch >= recipe.unfreeze
    model.train()
    model.backbone.eval().requires_grad_(False)
    for part in model.backbone.trainable():
        part.requires_grad_(train_backbone)
    return train_backbone
