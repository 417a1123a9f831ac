"""Cross entropy, IoU loss, and the Classification Supervised Regression Loss that joins them.

Paper section 3.2, Eq. 6-8. All are computed in single precision, also under autocast.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from siamffn_model.training.labels import NEGATIVE, POSITIVE, overlap

POSITIVES, NEGATIVES = 16, 48  # candidates sampled of each pair


class Costs(NamedTuple):
    """What the sampled candidates of a batch cost, P positive and M negative ones."""

    positive: Tensor  # (P,): cross entropy of the positive ones (Eq. 7)
    overlap: Tensor  # (P,): 1 - IoU of the positive ones (Eq. 6)
    negative: Tensor  # (M,): cross entropy of the negative ones


def iou_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Return 1 - IoU (Eq. 6) of boxes given as distances (..., 4) from a point to their edges.

    IoU = (I + 1) / (U + 1), as in SiamBAN: finite for boxes without area.
    """
    shared, union = overlap(predicted, target)
    return 1 - (shared + 1) / (union + 1)


def costs(logits: Tensor, distances: Tensor, labels: Tensor, targets: Tensor) -> Costs:
    """Sample the candidates of a batch and return what they cost.

    logits (B, 2, N), distances and targets (B, 4, N), labels (B, N). Up to 16 positive and 48
    negative candidates of each pair count; half of the negative ones are those with the highest
    score.
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    ce_positive, ce_negative = -log_p[:, 1], -log_p[:, 0]
    positive = _sample(labels == POSITIVE, torch.rand_like(ce_positive), POSITIVES)
    hard = _sample(labels == NEGATIVE, ce_negative.detach(), NEGATIVES // 2)
    rest = (labels == NEGATIVE) & ~hard
    negative = hard | _sample(rest, torch.rand_like(ce_negative), NEGATIVES // 2)
    cost = iou_loss(distances.float().transpose(1, 2)[positive], targets.transpose(1, 2)[positive])
    return Costs(ce_positive[positive], cost, ce_negative[negative])


def csrl(costs: Costs, detach: bool = False) -> Tensor:
    """Return CE + exp(-CE) * (1 - IoU) for the positive (Eq. 8), and CE for the negative ones.

    exp(-CE) is the probability of the target. With `detach` it weighs the regression without
    learning from it; else, as in the paper, a bad box also lowers its score.
    """
    weight = torch.exp(-(costs.positive.detach() if detach else costs.positive))
    return _mean(costs.positive + weight * costs.overlap) + _mean(costs.negative)


def separate(costs: Costs) -> Tensor:
    """Return the baseline's loss: half of each cross entropy, and 1 - IoU (SiamBAN).

    Models with anchors learn from it too, in the place of SiamRPN's smooth L1 of the offsets.
    """
    return 0.5 * _mean(costs.positive) + 0.5 * _mean(costs.negative) + _mean(costs.overlap)


LOSSES: dict[str, Callable[[Costs], Tensor]] = {
    'csrl': csrl,
    'csrl_detached': partial(csrl, detach=True),
    'separate': separate,
}


def _sample(mask: Tensor, keys: Tensor, count: int) -> Tensor:
    """Return a mask (B, N): in each row the `count` places of `mask` that have the largest keys."""
    ranked = keys.masked_fill(~mask, -torch.inf)
    places = ranked.topk(min(count, keys.shape[1]), dim=1).indices
    return torch.zeros_like(mask).scatter(1, places, True) & mask


def _mean(values: Tensor) -> Tensor:
    """Return the mean, and a zero that can be differentiated where there is nothing."""
    return values.sum() / max(values.numel(), 1)
