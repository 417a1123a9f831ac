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

from siamffn_model.training.labels import NEGATIVE, POSITIVE, overlap, sample

POSITIVES, NEGATIVES = 16, 48  # candidates sampled of each pair


class SampledLosses(NamedTuple):
    """What sampled candidates cost, P positive and M negative ones."""

    positive: Tensor  # (P,): cross entropy of the positive ones (Eq. 7)
    overlap: Tensor  # (P,): 1 - IoU of the positive ones (Eq. 6)
    negative: Tensor  # (M,): cross entropy of the negative ones
    counts: Tensor  # (2,): what sums over P and over M are divided by, for a mean


def iou_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Return 1 - IoU (Eq. 6) of boxes given as distances (..., 4) from a point to their edges.

    IoU = (I + 1) / (U + 1), as in SiamBAN: finite for boxes without area.
    """
    shared, union = overlap(predicted, target)
    return 1 - (shared + 1) / (union + 1)


def sampled(labels: Tensor) -> Tensor:
    """Return (2,): how many positive and negative candidates `costs` will take of labels (B, N)."""
    positive = (labels == POSITIVE).sum(1).clamp(max=POSITIVES).sum()
    negative = (labels == NEGATIVE).sum(1).clamp(max=NEGATIVES).sum()
    return torch.stack([positive, negative])


def costs(
    logits: Tensor,
    distances: Tensor,
    labels: Tensor,
    targets: Tensor,
    sampling_priority: Tensor,
    hard: float = 0.0,
) -> SampledLosses:
    """Sample the candidates of a batch and return what they cost.

    logits (B, 2, N), distances and targets (B, 4, N), labels (B, N), sampling_priority (B, 2, N)
    random numbers. Up to 16 positive and 48 negative candidates of each pair count: those with the
    highest priority, but for a share `hard` of the negative ones, which are those with the highest
    score.
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    ce_positive, ce_negative = -log_p[:, 1], -log_p[:, 0]
    positive = sample(labels == POSITIVE, sampling_priority[:, 0], POSITIVES)
    hardest = round(hard * NEGATIVES)
    negative = sample(labels == NEGATIVE, ce_negative.detach(), hardest)
    rest = (labels == NEGATIVE) & ~negative
    negative |= sample(rest, sampling_priority[:, 1], NEGATIVES - hardest)
    cost = iou_loss(distances.float().transpose(1, 2)[positive], targets.transpose(1, 2)[positive])
    return SampledLosses(ce_positive[positive], cost, ce_negative[negative], sampled(labels))


def csrl(costs: SampledLosses, detach: bool = False) -> Tensor:
    """Return CE + exp(-CE) * (1 - IoU) for the positive (Eq. 8), and CE for the negative ones.

    exp(-CE) is the probability of the target. With `detach` it weighs the regression without
    learning from it; else, as in the paper, a bad box also lowers its score.
    """
    weight = torch.exp(-(costs.positive.detach() if detach else costs.positive))
    positives, negatives = costs.counts
    joint = _mean(costs.positive + weight * costs.overlap, positives)
    return joint + _mean(costs.negative, negatives)


def separate(costs: SampledLosses) -> Tensor:
    """Return the baseline's loss: half of each cross entropy, and 1 - IoU (SiamBAN).

    Models with anchors learn from it too, in the place of SiamRPN's smooth L1 of the offsets.
    """
    positives, negatives = costs.counts
    cross_entropy = _mean(costs.positive, positives) + _mean(costs.negative, negatives)
    return 0.5 * cross_entropy + _mean(costs.overlap, positives)


LOSSES: dict[str, Callable[[SampledLosses], Tensor]] = {
    'csrl': csrl,
    'csrl_detached': partial(csrl, detach=True),
    'separate': separate,
}


def _mean(values: Tensor, count: Tensor) -> Tensor:
    """Return sum / count, and a zero that can be differentiated where there is nothing."""
    return values.sum() / count.clamp(min=1)
