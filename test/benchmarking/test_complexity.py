"""Parameters and operations, compared with the paper and the published baselines."""

from __future__ import annotations

import pytest
import torch

from siamffn_model.benchmarking.complexity import TABLE_2, count_complexity
from siamffn_model.networks.resnet import ResNet50
from siamffn_model.networks.zoo import MODELS, create_model

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ('name', 'parameters', 'operations'),
    [
        ('siamffn_r50', 47.642, 57.018),
        ('siamban_r50', 53.932, 59.592),
        ('siamrpnpp_r50', 53.951, 59.604),
        ('siamrpn_alex', 22.633, 5.794),
        ('siamfc_alex', 3.750, 5.038),
        ('siamffn_r50_1x1', 25.622, 30.902),
        ('siamffn_lite0', 0.895, 0.572),
        ('siamffn_lite0_s16', 0.367, 0.220),
    ],
)
def test_counts_to_the_last_digit(name: str, parameters: float, operations: float) -> None:
    counts = count_complexity(name)
    assert round(counts.parameters / 1e6, 3) == parameters
    assert round(counts.operations / 1e9, 3) == operations


@pytest.mark.parametrize(
    ('size', 'operations'), [(255, 5.79), (271, 6.57), (287, 7.40), (319, 9.23)]
)
def test_siamrpn_at_several_search_sizes(size: int, operations: float) -> None:
    counted = count_complexity('siamrpn_alex', size).operations / 1e9
    assert counted == pytest.approx(operations, abs=0.006)


@pytest.mark.parametrize('name', ['siamffn_r50', 'siamban_r50', 'siamrpnpp_r50'])
def test_counts_are_those_of_the_paper(name: str) -> None:
    counts = count_complexity(name)
    assert counts.parameters / 1e6 == pytest.approx(TABLE_2[name].parameters_m, abs=0.04)
    assert counts.operations / 1e9 == pytest.approx(TABLE_2[name].operations_g, abs=0.05)


def test_macs_are_those_of_a_search_layer_by_layer() -> None:
    macs = 3 * 256 * 25 * 25 * 7 * 7  # the correlations

    def count(layer: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal macs
        if isinstance(layer, torch.nn.Conv2d):
            macs += output.numel() * layer.weight[0].numel()

    with torch.device('meta'), torch.no_grad():
        model = create_model('siamffn_r50').eval()
        template = model.template(torch.zeros(1, 3, 127, 127))
        for layer in model.modules():
            layer.register_forward_hook(count)
        model.search(torch.zeros(1, 3, 255, 255), template)
    assert count_complexity('siamffn_r50').macs == macs


def test_downsampling_by_3x3_is_half_of_a_search() -> None:
    weights = [layer[0].downsample[0].weight for layer in list(ResNet50().layers)[1:]]
    macs = 31 * 31 * sum(weight.numel() for weight in weights)
    assert macs / 1e9 == pytest.approx(23.8, abs=0.05)
    saved = count_complexity('siamffn_r50').macs - count_complexity('siamffn_r50_1x1').macs
    assert saved == macs * 8 // 9


def test_the_default_stays_light() -> None:
    assert count_complexity('siamffn_lite0').macs <= 1.5e9


def test_every_model_is_counted() -> None:
    assert all(count_complexity(name).macs > 0 for name in MODELS)
    assert TABLE_2.keys() <= MODELS.keys()
