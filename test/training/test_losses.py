"""CSRL, against Eq. 6-8 written out in numpy, and its gradient against differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from siamffn_model.training.losses import csrl, iou_loss


def some(labels: list[list[int]], spread: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, distances, labels and targets over a score map of 1 x 70 points."""
    rows = torch.tensor([row + [-1] * (70 - len(row)) for row in labels])[:, None]
    generator = torch.Generator().manual_seed(0)
    logits = spread * torch.randn(len(labels), 2, 1, 70, generator=generator)
    distances, targets = (
        40 * torch.rand(len(labels), 4, 1, 70, generator=generator) + 1 for _ in range(2)
    )
    return logits.requires_grad_(), distances.requires_grad_(), rows, targets


def written_out(logits: Tensor, distances: Tensor, labels: Tensor, targets: Tensor) -> float:
    positive, negative = [], []
    for b, _, i in np.ndindex(*labels.shape):
        background, target = logits[b, :, 0, i].tolist()
        p = math.exp(target) / (math.exp(background) + math.exp(target))
        w, n, e, s = distances[b, :, 0, i].tolist()
        w2, n2, e2, s2 = targets[b, :, 0, i].tolist()
        shared = (min(w, w2) + min(e, e2)) * (min(n, n2) + min(s, s2))
        union = (w + e) * (n + s) + (w2 + e2) * (n2 + s2) - shared
        iou_cost = 1 - (shared + 1) / (union + 1)
        if labels[b, 0, i] == 1:
            ce = -math.log(p)
            positive.append(ce + math.exp(-ce) * iou_cost)
        elif labels[b, 0, i] == 0:
            negative.append(-math.log(1 - p))
    return float(np.mean(positive) if positive else 0) + float(np.mean(negative) if negative else 0)


@pytest.mark.parametrize(
    'labels',
    [[[1] * 5 + [0] * 20, [1] + [0] * 30], [[1]], [[0] * 10], [[1] * 16 + [0] * 48]],
    ids=['usual', 'one positive', 'no positive', 'as many as are sampled'],
)
def test_agrees_with_the_equations(labels: list[list[int]]) -> None:
    batch = some(labels)
    assert csrl(*batch)['total'].item() == pytest.approx(written_out(*batch), rel=1e-4)


def test_the_gradient_couples_the_branches() -> None:
    logits, distances, labels, targets = some([[1]])
    csrl(logits, distances, labels, targets)['total'].backward()
    assert logits.grad is not None
    p = logits.softmax(1)[0, 1, 0, 0].item()
    iou_cost = iou_loss(distances[0, :, 0, 0], targets[0, :, 0, 0]).item()
    expected = (-1 / p + iou_cost) * p * (1 - p)  # dL/dp = -1/p + (1 - IoU), and softmax
    assert logits.grad[0, 1, 0, 0].item() == pytest.approx(expected, rel=1e-4)


def test_the_gradient_is_that_of_differences() -> None:
    logits, distances, labels, targets = some([[1, 1, 0, 0, 0]])
    csrl(logits, distances, labels, targets)['total'].backward()
    for tensor in (logits, distances):
        assert tensor.grad is not None
        place = (0, 1, 0, 1)
        step = torch.zeros_like(tensor)
        step[place] = 0.05
        sides = [
            written_out(
                logits + sign * step if tensor is logits else logits,
                distances + sign * step if tensor is distances else distances,
                labels,
                targets,
            )
            for sign in (1, -1)
        ]
        slope = (sides[0] - sides[1]) / 0.1
        assert tensor.grad[place].item() == pytest.approx(slope, rel=1e-2, abs=1e-5)


@pytest.mark.parametrize('spread', [1e3, 0.0])
@pytest.mark.parametrize('labels', [[[1, 0]], [[0]], [[-1]], [[1]]])
def test_always_finite(labels: list[list[int]], spread: float) -> None:
    batch = some(labels, spread)
    total = csrl(*batch)['total']
    total.backward()
    assert total.isfinite()
    assert batch[0].grad is None or batch[0].grad.isfinite().all()


def test_half_of_the_negatives_are_the_hardest() -> None:
    logits, distances, labels, targets = some([[0] * 70])
    with torch.no_grad():
        logits[:] = 0
        logits[0, 1, 0, :24] = 10.0
    mean = csrl(logits, distances, labels, targets)['negative'].item()
    hard, easy = math.log1p(math.exp(10)), math.log(2)
    assert mean == pytest.approx((24 * hard + 24 * easy) / 48, rel=1e-4)


def test_iou_loss_of_equal_and_of_distant_boxes() -> None:
    box = torch.tensor([3.0, 4, 5, 6])
    assert iou_loss(box, box).item() == pytest.approx(0, abs=1e-6)
    assert iou_loss(box, torch.tensor([-20.0, -20, 30, 30])).item() == pytest.approx(
        1 - 1 / (80 + 100 + 1), rel=1e-4
    )
