"""Batch norm folded into convolutions."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from siamffn_model.networks.depthwise import DepthwiseConv2d
from siamffn_model.networks.folding import run_folded


def make_layers(bias: bool) -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=bias),
        nn.BatchNorm2d(8, eps=1e-3),
        nn.ReLU6(),
        DepthwiseConv2d(8, 3, stride=2),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 4, 1, bias=bias),
        nn.BatchNorm2d(4),
    )
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 2.0)
    return layers


def gradients(layers: nn.Sequential, output: Tensor) -> list[Tensor]:
    weights = torch.linspace(-1, 1, output.numel()).view_as(output)
    return list(torch.autograd.grad((output * weights).sum(), list(layers.parameters())))


@pytest.mark.parametrize('bias', [True, False])
def test_outputs_and_gradients_are_those_of_the_layers(bias: bool) -> None:
    layers, x = make_layers(bias).eval(), torch.randn(2, 3, 9, 9)
    expected, folded = layers(x), run_folded(layers, x)
    assert torch.allclose(folded, expected, atol=1e-5)
    for one, two in zip(gradients(layers, folded), gradients(layers, expected), strict=True):
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        assert torch.equal(run_folded(layers, x), layers(x))


def test_a_batch_norm_that_is_trained_uses_the_statistics_of_the_batch() -> None:
    layers, x = make_layers(bias=False).train(), torch.randn(2, 3, 9, 9)
    other = copy.deepcopy(layers)
    assert torch.equal(run_folded(layers, x), other(x))
    for name, buffer in layers.named_buffers():
        assert torch.equal(buffer, other.get_buffer(name))
