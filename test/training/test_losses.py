"""The losses, compared with Eq. 6-8 in plain Python, and gradients with finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from siamffn_model.training.losses import LOSSES, SampledLosses, csrl, iou_loss, sample_losses

Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def random_batch(labels: list[list[int]], spread: float = 1.0) -> Batch:
    """Logits, distances, labels, targets and sampling_priority of 70 candidates per pair."""
    rows = torch.tensor([row + [-1] * (70 - len(row)) for row in labels])
    generator = torch.Generator().manual_seed(0)
    logits = spread * torch.randn(len(labels), 2, 70, generator=generator)
    distances, targets = (
        40 * torch.rand(len(labels), 4, 70, generator=generator) + 1 for _ in range(2)
    )
    sampling_priority = torch.rand(len(labels), 2, 70, generator=generator)
    return logits.requires_grad_(), distances.requires_grad_(), rows, targets, sampling_priority


def reference_loss(
    name: str, logits: Tensor, distances: Tensor, labels: Tensor, truth: Tensor
) -> float:
    positive, negative, overlaps = [], [], []
    for b, i in np.ndindex(*labels.shape):
        background, target = logits[b, :, i].tolist()
        p = math.exp(target) / (math.exp(background) + math.exp(target))
        w, n, e, s = distances[b, :, i].tolist()
        w2, n2, e2, s2 = truth[b, :, i].tolist()
        shared = (min(w, w2) + min(e, e2)) * (min(n, n2) + min(s, s2))
        union = (w + e) * (n + s) + (w2 + e2) * (n2 + s2) - shared
        if labels[b, i] == 1:
            positive.append(-math.log(p))
            overlaps.append(1 - (shared + 1) / (union + 1))
        elif labels[b, i] == 0:
            negative.append(-math.log(1 - p))

    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else 0

    if name == 'separate':
        return 0.5 * mean(positive) + 0.5 * mean(negative) + mean(overlaps)
    joint = [ce + math.exp(-ce) * cost for ce, cost in zip(positive, overlaps)]
    return mean(joint) + mean(negative)


@pytest.mark.parametrize('name', LOSSES)
@pytest.mark.parametrize(
    'labels',
    [[[1] * 5 + [0] * 20, [1] + [0] * 30], [[1]], [[0] * 10], [[1] * 16 + [0] * 48]],
    ids=['usual', 'one positive', 'no positive', 'maximum'],
)
def test_losses_agree_with_the_equations(name: str, labels: list[list[int]]) -> None:
    batch = random_batch(labels)
    total = LOSSES[name](sample_losses(*batch)).item()
    assert total == pytest.approx(reference_loss(name, *batch[:4]), rel=1e-4)


def test_the_gradient_couples_the_branches() -> None:
    logits, distances, labels, targets, sampling_priority = random_batch([[1]])
    csrl(sample_losses(logits, distances, labels, targets, sampling_priority)).backward()
    assert logits.grad is not None
    p = logits.softmax(1)[0, 1, 0].item()
    overlap = iou_loss(distances[0, :, 0], targets[0, :, 0]).item()
    expected = (-1 / p + overlap) * p * (1 - p)  # dL/dp = -1/p + (1 - IoU), and softmax
    assert logits.grad[0, 1, 0].item() == pytest.approx(expected, rel=1e-4)


def test_with_detach_the_score_is_trained_by_cross_entropy_only() -> None:
    gradients = {}
    for detach in (False, True):
        logits, distances, labels, targets, sampling_priority = random_batch([[1]])
        csrl(
            sample_losses(logits, distances, labels, targets, sampling_priority), detach
        ).backward()
        assert logits.grad is not None
        assert distances.grad is not None
        p = logits.softmax(1)[0, 1, 0].item()
        gradients[detach] = distances.grad
        if detach:
            assert logits.grad[0, 1, 0].item() == pytest.approx(p - 1, rel=1e-4)
    assert torch.equal(gradients[True], gradients[False])


@pytest.mark.parametrize('name', ['csrl', 'separate'])
def test_the_gradient_agrees_with_finite_differences(name: str) -> None:
    logits, distances, labels, targets, sampling_priority = random_batch([[1, 1, 0, 0, 0]])
    LOSSES[name](sample_losses(logits, distances, labels, targets, sampling_priority)).backward()
    for tensor in (logits, distances):
        assert tensor.grad is not None
        for place in ((0, 0, 0), (0, 1, 1), (0, 1, 3)):
            step = torch.zeros_like(tensor)
            step[place] = 0.02
            sides = [
                reference_loss(
                    name,
                    logits + sign * step if tensor is logits else logits,
                    distances + sign * step if tensor is distances else distances,
                    labels,
                    targets,
                )
                for sign in (1, -1)
            ]
            slope = (sides[0] - sides[1]) / 0.04
            assert tensor.grad[place].item() == pytest.approx(slope, rel=1e-2, abs=1e-5)


def test_csrl_passes_the_numeric_gradient_check_in_double_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.rand(n, dtype=torch.double, generator=generator) for n in (5, 5, 7)]
    inputs = [part.requires_grad_() for part in parts]
    counts = torch.tensor([5, 7])
    assert torch.autograd.gradcheck(lambda *losses: csrl(SampledLosses(*losses, counts)), inputs)


@pytest.mark.parametrize('name', LOSSES)
@pytest.mark.parametrize('spread', [1e4, 0.0])
@pytest.mark.parametrize('labels', [[[1, 0]], [[0]], [[-1]], [[1]]])
def test_losses_and_gradients_are_finite(name: str, labels: list[list[int]], spread: float) -> None:
    batch = random_batch(labels, spread)
    total = LOSSES[name](sample_losses(*batch))
    total.backward()
    assert total.isfinite()
    assert batch[0].grad is not None
    assert batch[0].grad.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_logits_in_half_precision_are_converted_to_single_precision(dtype: torch.dtype) -> None:
    logits, distances, labels, targets, sampling_priority = random_batch(
        [[1] * 5 + [0] * 20], spread=30
    )
    half = logits.detach().to(dtype)
    total = csrl(sample_losses(half, distances, labels, targets, sampling_priority))
    assert total.dtype == torch.float
    assert (
        total.item()
        == csrl(sample_losses(half.float(), distances, labels, targets, sampling_priority)).item()
    )


def test_a_score_map_may_have_fewer_candidates_than_are_sampled() -> None:
    batch = (part[..., :9] for part in random_batch([[1] * 3 + [0] * 6]))
    logits, distances, labels, targets, sampling_priority = batch
    total = csrl(sample_losses(logits, distances, labels, targets, sampling_priority)).item()
    assert total == pytest.approx(
        reference_loss('csrl', logits, distances, labels, targets), rel=1e-4
    )


@pytest.mark.parametrize('hard', [0, 0.25, 0.5, 1])
def test_a_fraction_of_the_negative_samples_are_the_hardest(hard: float) -> None:
    logits, distances, labels, targets, sampling_priority = random_batch([[0] * 70])
    with torch.no_grad():
        logits[:] = 0
        logits[0, 1, :24] = 10.0
        sampling_priority[0, 1, :24] = 0  # by priority, few of them would be sampled
    losses = sample_losses(logits, distances, labels, targets, sampling_priority, hard).negative
    expected = max(round(24 * min(2 * hard, 1)), 48 - 46)  # 46 others
    assert len(losses) == 48
    assert (losses > 1).sum() == expected


def test_samples_have_the_highest_priority() -> None:
    logits, distances, labels, targets, sampling_priority = random_batch([[1] * 20 + [0] * 50])
    losses = sample_losses(logits, distances, labels, targets, sampling_priority)
    cross_entropy = -logits.log_softmax(1)
    ranked = sampling_priority[0, 0, :20].argsort(descending=True)[:16]
    assert sorted(losses.positive.tolist()) == sorted(cross_entropy[0, 1, ranked].tolist())
    ranked = 20 + sampling_priority[0, 1, 20:].argsort(descending=True)[:48]
    assert sorted(losses.negative.tolist()) == sorted(cross_entropy[0, 0, ranked].tolist())


@pytest.mark.parametrize('name', LOSSES)
def test_losses_of_parts_of_a_batch_add_up(name: str) -> None:
    """Gradient accumulation and distributed training rely on this."""
    batch = random_batch([[1] * 20 + [0] * 50, [1] + [0] * 30, [0] * 16, [1] * 7])
    complete = sample_losses(*batch)
    assert complete.counts.tolist() == [16 + 1 + 7, 48 + 30 + 16]
    parts = [sample_losses(*(column[rows] for column in batch)) for rows in (slice(1), slice(1, 4))]
    total = sum(LOSSES[name](part._replace(counts=complete.counts)).item() for part in parts)
    assert total == pytest.approx(LOSSES[name](complete).item(), rel=1e-5)


def test_iou_loss_of_equal_and_of_distant_boxes() -> None:
    box = torch.tensor([3.0, 4, 5, 6])
    assert iou_loss(box, box).item() == pytest.approx(0, abs=1e-6)
    assert iou_loss(box, torch.tensor([-20.0, -20, 30, 30])).item() == pytest.approx(
        1 - 1 / (80 + 100 + 1), rel=1e-4
    )
