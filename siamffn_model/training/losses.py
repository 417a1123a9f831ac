"""Classification Supervised Regression Loss (paper section 3.2, Eq. 6-8)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from siamffn_model.training.labels import NEGATIVE, POSITIVE

POSITIVES, NEGATIVES = 16, 48  # points sampled of each pair


def iou_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Return 1 - IoU (Eq. 6) of boxes given as distances (..., 4) from a point to their edges.

    IoU = (I + 1) / (U + 1), as in SiamBAN: finite for boxes without area.
    """
    left, top, right, bottom = predicted.unbind(-1)
    left_t, top_t, right_t, bottom_t = target.unbind(-1)
    width = (torch.minimum(left, left_t) + torch.minimum(right, right_t)).clamp(min=0)
    height = (torch.minimum(top, top_t) + torch.minimum(bottom, bottom_t)).clamp(min=0)
    shared = width * height
    area = (left + right) * (top + bottom) + (left_t + right_t) * (top_t + bottom_t)
    return 1 - (shared + 1) / (area - shared + 1)


def csrl(logits: Tensor, distances: Tensor, labels: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return the losses of a batch: their sum as 'total', and 'positive', 'negative', 'iou'.

    logits (B, 2, H, W), distances and targets (B, 4, H, W), labels (B, H, W). A positive point
    costs CE + exp(-CE) * (1 - IoU) (Eq. 8), a negative one CE. Up to 16 positive and 48 negative
    points of each pair count; half of the negative ones are those with the highest score. Finite,
    and zero for the part concerned, where a batch has no positive or no negative point.
    """
    log_p = F.log_softmax(logits.float(), dim=1).flatten(2)
    ce_positive, ce_negative = -log_p[:, 1], -log_p[:, 0]
    flat = labels.flatten(1)
    positive = _sample(flat == POSITIVE, torch.rand_like(ce_positive), POSITIVES)
    hard = _sample(flat == NEGATIVE, ce_negative.detach(), NEGATIVES // 2)
    rest = (flat == NEGATIVE) & ~hard
    negative = hard | _sample(rest, torch.rand_like(ce_negative), NEGATIVES // 2)

    overlap = iou_loss(
        distances.float().flatten(2).transpose(1, 2)[positive],
        targets.flatten(2).transpose(1, 2)[positive],
    )
    ce = ce_positive[positive]
    losses = {
        'positive': _mean(ce + torch.exp(-ce) * overlap),
        'negative': _mean(ce_negative[negative]),
    }
    return {
        **losses,
        'iou': _mean(overlap.detach()),
        'total': sum(losses.values(), logits.new_zeros(())),
    }


def _sample(mask: Tensor, keys: Tensor, count: int) -> Tensor:
    """Return a mask (B, N): in each row the `count` places of `mask` that have the largest keys."""
    ranked = keys.masked_fill(~mask, -torch.inf)
    places = ranked.topk(count, dim=1).indices
    return torch.zeros_like(mask).scatter(1, places, True) & mask


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(values.numel(), 1)
