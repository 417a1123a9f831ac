"""Parameters and operations of a model, counted as in Table 2 of the paper and as MACs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from siamffn_model.imaging.crop import SEARCH_SIZE, TEMPLATE_SIZE
from siamffn_model.networks.fusion import ScaleAttention
from siamffn_model.networks.siamese import Siamese
from siamffn_model.networks.zoo import create_model


class Published(NamedTuple):
    """A row of Table 2 of the paper; its frames per second were measured on an RTX 3090."""

    parameters_m: float
    operations_g: float
    fps: int


TABLE_2 = {
    'siamfc_alex': Published(3.1, 5.05, 100),
    'siamrpn_alex': Published(22.63, 9.23, 160),
    'siamrpnpp_r50': Published(53.95, 59.56, 35),
    'siamban_r50': Published(53.9, 59.59, 40),
    'siamffn_r50': Published(47.64, 57.02, 40),
}


class Complexity(NamedTuple):
    """The counts of a model.

    Attributes:
        parameters: number of parameters.
        operations: operations of a template and a search crop together, counted as in the paper.
        macs: multiply-accumulate operations of one tracked frame, including the correlation.
        values: numbers that the convolutions of one tracked frame read and write, without weights.
    """

    parameters: int
    operations: int
    macs: int
    values: int


@cache
def count_complexity(name: str, search_size: int = SEARCH_SIZE) -> Complexity:
    """Count the parameters and operations of a model on the meta device, without computing.

    The paper counts as the tool thop does: multiply-accumulate operations of convolutions, and four
    operations for each element of a batch norm. The correlation is not counted, because it is not a
    layer. Scale attention is a layer and has two operations for each element: one for pooling and
    one for weighting.

    Args:
        name: name of a model in `networks.zoo.MODELS`.
        search_size: side of the search crop in pixels.

    Raises `ConfigError` for an unknown name.
    """
    with torch.device('meta'), torch.no_grad():
        model = create_model(name).eval()
        template_crop = torch.zeros(1, 3, TEMPLATE_SIZE, TEMPLATE_SIZE)
        search_crop = torch.zeros(1, 3, search_size, search_size)
        operations = _count_layers(model)
        template = model.template(template_crop)
        values = _count_values(model)
        with FlopCounterMode(display=False) as frame:
            model.search(search_crop, template)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Complexity(parameters, sum(operations), frame.get_total_flops() // 2, sum(values))


def summarise(counts: Complexity, fps: float, name: str) -> dict[str, Any]:
    """Return the values that the command prints; 'paper' is None for a model not in Table 2."""
    published = TABLE_2.get(name)
    return {
        'parameters_m': round(counts.parameters / 1e6, 3),
        'operations_g': round(counts.operations / 1e9, 3),
        'frame_gmac': round(counts.macs / 1e9, 3),
        'fps': round(fps, 1),
        'paper': published and published._asdict(),
    }


def table_header() -> str:
    """Return the header line of a text table of models."""
    columns = ('params M', 'ops G', 'frame GMAC', 'fps here')
    return f'{"model":<16}' + ''.join(f'{c:>12}' for c in columns) + '   paper: M, G, fps'


def table_row(name: str, summary: Mapping[str, Any]) -> str:
    """Return the line of a model below `table_header`; `summary` is from `summarise`."""
    row = (
        f'{name:<16}{summary["parameters_m"]:>12.3f}{summary["operations_g"]:>12.3f}'
        f'{summary["frame_gmac"]:>12.3f}{summary["fps"]:>12.1f}'
    )
    paper = summary['paper']
    return row + (f'   {", ".join(map(str, paper.values()))}' if paper else '')


def _count_layers(model: Siamese) -> list[int]:
    """Return a list to which each layer appends its number of operations when it runs."""
    operations: list[int] = []

    def count(layer: nn.Module, inputs: tuple[list[Tensor]], output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            operations.append(output.numel() * layer.weight[0].numel())
        elif isinstance(layer, nn.BatchNorm2d):
            operations.append(4 * output.numel())
        elif isinstance(layer, ScaleAttention):
            operations.append(2 * sum(response.numel() for response in inputs[0]))

    for layer in model.modules():
        layer.register_forward_hook(count)
    return operations


def _count_values(model: Siamese) -> list[int]:
    """Return a list to which each convolution appends the size of its input and output."""
    values: list[int] = []

    def count(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        values.append(inputs[0].numel() + output.numel())

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    return values
