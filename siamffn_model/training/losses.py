"""Cross entropy, IoU loss, and the Classification Supervised Regression Loss, which couples them.

Paper section 3.2, Eq. 6-8. All are computed in single precision, also under autocast.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from siamffn_model.training.labels import NEGATIVE, POSITIVE, intersection_and_union, sample

POSITIVES, NEGATIVES = 16, 48  # maximum numbers of sampled candidates in a pair


class SampledLosses(NamedTuple):
    """Losses of P positive and M negative sampled candidates, not reduced."""

    positive: Tensor  # (P,): cross entropy of the positive candidates (Eq. 7)
    overlap: Tensor  # (P,): 1 - IoU of the positive candidates (Eq. 6)
    negative: Tensor  # (M,): cross entropy of the negative candidates
    counts: Tensor  # (2,): divisors of the sums over P and over M that give the means


def iou_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Return 1 - IoU (Eq. 6) of boxes given as distances (..., 4) from a point to their edges.

    IoU = (I + 1) / (U + 1), as in SiamBAN: finite for boxes without area.
    """
    intersection, union = intersection_and_union(predicted, target)
    return 1 - (intersection + 1) / (union + 1)


def count_samples(labels: Tensor) -> Tensor:
    """Return (2,): the numbers of positive and negative samples from labels (B, N)."""
    positive = (labels == POSITIVE).sum(1).clamp(max=POSITIVES).sum()
    negative = (labels == NEGATIVE).sum(1).clamp(max=NEGATIVES).sum()
    return torch.stack([positive, negative])


def sample_losses(
    logits: Tensor,
    distances: Tensor,
    labels: Tensor,
    target_distances: Tensor,
    sampling_priority: Tensor,
    hard: float = 0.0,
) -> SampledLosses:
    """Sample candidates of a batch and return their losses.

    logits (B, 2, N), distances and target_distances (B, 4, N), labels (B, N), sampling_priority
    (B, 2, N) random numbers. In each pair, up to 16 positive and 48 negative candidates are
    sampled. A fraction `hard` of the negative samples are those with the highest scores; all
    others are those with the highest priority.
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    ce_positive, ce_negative = -log_p[:, 1], -log_p[:, 0]
    positive = sample(labels == POSITIVE, sampling_priority[:, 0], POSITIVES)
    hard_count = round(hard * NEGATIVES)
    negative = sample(labels == NEGATIVE, ce_negative.detach(), hard_count)
    remaining = (labels == NEGATIVE) & ~negative
    negative |= sample(remaining, sampling_priority[:, 1], NEGATIVES - hard_count)
    overlap = iou_loss(
        distances.float().transpose(1, 2)[positive], target_distances.transpose(1, 2)[positive]
    )
    return SampledLosses(
        ce_positive[positive], overlap, ce_negative[negative], count_samples(labels)
    )


def csrl(losses: SampledLosses, detach: bool = False) -> Tensor:
    """Return mean(CE + exp(-CE) * (1 - IoU)) of positive (Eq. 8) plus mean(CE) of negative samples.

    exp(-CE) is the probability of the target. With `detach`, it is a constant weight of the
    regression loss; without, as in the paper, a high regression loss also lowers the score.
    """
    weight = torch.exp(-(losses.positive.detach() if detach else losses.positive))
    positives, negatives = losses.counts
    joint = _mean(losses.positive + weight * losses.overlap, positives)
    return joint + _mean(losses.negative, negatives)


def separate(losses: SampledLosses) -> Tensor:
    """Return the loss of the baseline SiamBAN: half of each cross entropy, plus 1 - IoU.

    It also replaces the smooth L1 loss of SiamRPN in models with anchors.
    """
    positives, negatives = losses.counts
    cross_entropy = _mean(losses.positive, positives) + _mean(losses.negative, negatives)
    return 0.5 * cross_entropy + _mean(losses.overlap, positives)


LOSSES: dict[str, Callable[[SampledLosses], Tensor]] = {
    'csrl': csrl,
    'csrl_detached': partial(csrl, detach=True),
    'separate': separate,
}


def _mean(values: Tensor, count: Tensor) -> Tensor:
    """Return sum / count; without samples, a differentiable zero."""
    return values.sum() / count.clamp(min=1)
