"""Fast feature extraction from a backbone that is frozen completely or in part."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from siamffn_model.networks.backbone import Backbone
from siamffn_model.networks.folding import fold_batch_norm

Features = Callable[[Tensor], Sequence[Tensor]]


def frozen_features(backbone: nn.Module, each_shape: bool = False) -> Features:
    """Return a function that maps crops (B, H, W, 3), BGR uint8, to the levels of the backbone.

    Crops and levels are on the device of the backbone. The function uses a copy of the backbone
    with folded batch norm; on a CPU the copy runs in OpenVINO if it is installed, which is faster
    than PyTorch. Later changes to the backbone have no effect on it.
    `each_shape` is for a network that has to be converted again for each shape of its input.
    """
    network = _CropInput(copy.deepcopy(backbone).eval().requires_grad_(False))
    fold_batch_norm(network)
    tensors = [*network.parameters(), *network.buffers()]
    on_cpu = all(tensor.device.type == 'cpu' for tensor in tensors)
    if on_cpu and find_spec('openvino'):
        return _openvino_features(network, each_shape)
    return torch.no_grad()(network.forward)


def trainable_features(backbone: Backbone) -> Features:
    """Return a function like `frozen_features` with gradients for the backbone's trainable stages.

    Only the frozen stages are copied.
    """
    frozen_stages = frozen_stage_features(backbone)
    return lambda crops: backbone.trainable_stages(frozen_stages(crops))


def frozen_stage_features(backbone: Backbone) -> Features:
    """Return a function like `frozen_features` for the outputs of the frozen stages alone."""
    return frozen_features(_FrozenStages(backbone))


class _FrozenStages(nn.Module):
    """The frozen stages of a backbone as a network."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.backbone.frozen_stages(image)


class _CropInput(nn.Module):
    """A network with an input of crops (B, H, W, 3), BGR uint8, as the data loader returns them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network(crops.permute(0, 3, 1, 2).float()))


def _openvino_features(network: _CropInput, each_shape: bool) -> Features:
    from siamffn_model.runtimes.openvino_runtime import compile_model, convert_module

    compiled: dict[torch.Size, Any] = {}
    model: Any = None

    def extract(crops: Tensor) -> list[Tensor]:
        nonlocal model
        if model is None or (each_shape and crops.shape not in compiled):
            with warnings.catch_warnings():  # `vmap` depends on the size of the batch
                warnings.simplefilter('ignore', torch.jit.TracerWarning)  # type: ignore[attr-defined]
                model = convert_module(network, (crops if each_shape else crops[:1],))
        if crops.shape not in compiled:
            model.reshape(list(crops.shape))
            compiled[crops.shape] = compile_model(model)
        outputs = compiled[crops.shape]([crops.numpy()])
        return [torch.from_numpy(outputs[i].copy()) for i in range(len(outputs))]

    return extract
