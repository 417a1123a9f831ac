"""Scale attention and fusion, compared with Eq. 2-5 of the paper in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from siamffn_model.networks.fusion import ScaleAttention


@pytest.mark.parametrize('spread', [0.1, 10.0], ids=['linear', 'saturated'])
def test_fused_map_matches_the_paper(spread: float) -> None:
    torch.manual_seed(1)
    fusion = ScaleAttention(4)
    torch.nn.init.normal_(fusion.score.weight, std=spread)
    maps = [torch.randn(2, 4, 5, 5) for _ in range(3)]
    kernel, bias = fusion.score.weight.detach().numpy().reshape(4), fusion.score.bias.item()

    expected = np.zeros((2, 4, 5, 5))
    for pair in range(2):
        for level in (m[pair].numpy() for m in maps):
            attention = max(0.0, float(level.mean(axis=(1, 2)) @ kernel) + bias)  # Eq. 2
            weight = max(0.0, min(1.0, (attention + 1) / 2))  # Eq. 4
            expected[pair] += level * weight / 3  # Eq. 5
    assert fusion(maps).detach().numpy() == pytest.approx(expected, abs=1e-5)


def test_weights_are_between_one_half_and_one() -> None:
    fusion = ScaleAttention(8)
    torch.nn.init.normal_(fusion.score.weight, std=5)
    weights = fusion.weights([torch.randn(50, 8, 3, 3) for _ in range(3)])
    assert weights.shape == (50, 3)
    assert weights.min() >= 0.5
    assert weights.max() <= 1.0


def test_initial_weights_have_a_gradient() -> None:
    fusion = ScaleAttention(8)
    fusion([torch.randn(2, 8, 3, 3) for _ in range(3)]).square().sum().backward()
    assert fusion.score.bias.grad is not None
    assert fusion.score.bias.grad.abs() > 0
