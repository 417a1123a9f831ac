"""Features of a backbone, what is frozen of it as quickly as the device gives them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from siamffn_model.networks.backbone import Backbone
from siamffn_model.networks.folding import fold_batch_norm

Features = Callable[[Tensor], Sequence[Tensor]]


def frozen_features(backbone: nn.Module) -> Features:
    """Return a function from crops (B, H, W, 3), BGR uint8, to the backbone's levels.

    Crops and levels are on the backbone's device. Batch norm is folded in; on a CPU, OpenVINO
    computes where it is installed, quicker there than PyTorch. Later changes of the backbone do not
    matter.
    """
    pixels = _Pixels(copy.deepcopy(backbone).eval().requires_grad_(False))
    fold_batch_norm(pixels)
    on_cpu = all(weight.device.type == 'cpu' for weight in pixels.parameters())
    if on_cpu and find_spec('openvino'):
        return _openvino(pixels)
    return torch.no_grad()(pixels.forward)


def trainable_features(backbone: Backbone) -> Features:
    """Return the same of a backbone whose upper part learns."""
    lower = frozen_features(_Lower(backbone))
    return lambda crops: backbone.trainable_stages(lower(crops)[0])


class _Lower(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> list[Tensor]:
        return [self.backbone.frozen_stages(image)]


class _Pixels(nn.Module):
    """A network behind crops (B, H, W, 3), BGR uint8, as the loader gives them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network(crops.permute(0, 3, 1, 2).float()))


def _openvino(pixels: _Pixels) -> Features:
    from siamffn_model.runtimes.openvino_runtime import compile_graph, convert

    graph = convert(pixels, (torch.zeros(1, 127, 127, 3, dtype=torch.uint8),))
    compiled: dict[torch.Size, Any] = {}

    def by_openvino(crops: Tensor) -> list[Tensor]:
        if crops.shape not in compiled:
            graph.reshape(list(crops.shape))
            compiled[crops.shape] = compile_graph(graph)
        outputs = compiled[crops.shape]([crops.numpy()])
        return [torch.from_numpy(outputs[i].copy()) for i in range(len(outputs))]

    return by_openvino
