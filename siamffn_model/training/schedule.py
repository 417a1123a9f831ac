"""What changes from epoch to epoch: the learning rate, and which parts of the model learn."""

from __future__ import annotations

import numpy as np
from torch.optim import SGD, AdamW, Optimizer

from siamffn_model.networks.siamese import Siamese
from siamffn_model.training.recipe import Recipe, Schedule

MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4  # paper section 4.3; SiamBAN's code
BACKBONE_RATE = 0.1  # of the rest's learning rate (SiamBAN's code)


def rates(schedule: Schedule, epochs: int) -> list[float]:
    """Return the learning rate of each epoch.

    It rises geometrically from `start`, to be at `peak` after the warm-up, then falls to `end`: the
    paper's 0.001 to 0.005 and 0.005 to 0.00005 (section 4.3) in the steps of SiamBAN's code.
    """
    rising = np.geomspace(schedule.start, schedule.peak, schedule.warmup + 1)[:-1]
    falling = np.geomspace(schedule.peak, schedule.end, epochs - schedule.warmup)
    return [*rising.tolist(), *falling.tolist()]


def make_optimizer(model: Siamese, recipe: Recipe) -> Optimizer:
    """Return the optimiser of all that may ever learn: first the backbone's part, then the rest."""
    backbone = [p for part in model.backbone.trainable() for p in part.parameters()]
    inside = set(model.backbone.parameters())
    rest = [p for p in model.parameters() if p not in inside]
    groups = [{'params': backbone}, {'params': rest}]
    if recipe.optimizer == 'adamw':
        return AdamW(groups, recipe.rate.peak, weight_decay=WEIGHT_DECAY)
    return SGD(groups, recipe.rate.peak, MOMENTUM, weight_decay=WEIGHT_DECAY)


def set_epoch(model: Siamese, optimizer: Optimizer, recipe: Recipe, epoch: int) -> bool:
    """Set learning rates and what learns for an epoch; return whether the backbone does.

    The backbone keeps its batch norm's statistics, which hold for template and search crops alike.
    """
    rate = rates(recipe.rate, recipe.epochs)[epoch]
    for group, factor in zip(optimizer.param_groups, (BACKBONE_RATE, 1.0), strict=True):
        group['lr'] = factor * rate
    tuned = recipe.unfreeze is not None and epoch >= recipe.unfreeze
    model.train()
    model.backbone.eval().requires_grad_(False)
    for part in model.backbone.trainable():
        part.requires_grad_(tuned)
    return tuned
