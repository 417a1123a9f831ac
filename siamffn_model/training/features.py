"""Features of a frozen backbone, as quickly as the machine gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Features = Callable[[NDArray[np.uint8]], list[Tensor]]


class Replay:
    """The last `capacity` pairs as features, to draw batches from.

    Behind a frozen backbone on a CPU, features cost more than the step that learns from them: here
    a pair is used several times, each time in other company.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self.count = capacity, 0
        self._columns: list[Tensor] = []

    def add(self, columns: list[Tensor]) -> None:
        """Add pairs: tensors whose first dimension runs over the pairs; the oldest give way."""
        if not self._columns:
            self._columns = [
                torch.empty(self.capacity, *column.shape[1:], dtype=column.dtype)
                for column in columns
            ]
        places = (self.count + torch.arange(len(columns[0]))) % self.capacity
        for store, column in zip(self._columns, columns, strict=True):
            store[places] = column
        self.count += len(places)

    def draw(self, batch: int) -> list[Tensor]:
        """Return a batch in single precision, drawn with replacement by PyTorch's generator."""
        places = torch.randint(min(self.count, self.capacity), (batch,))
        return [store[places].float() for store in self._columns]


def frozen_features(backbone: nn.Module) -> Features:
    """Return a function from crops (B, H, W, 3), BGR uint8, to the backbone's levels on the CPU.

    OpenVINO computes them where it is installed, else PyTorch: on one thread, so that there can be
    one worker a core.
    """
    backbone = backbone.eval().requires_grad_(False)
    try:
        return _openvino(backbone)
    except ModuleNotFoundError:
        return lambda crops: list(_Pixels(backbone)(torch.from_numpy(crops)))


class _Pixels(nn.Module):
    """The backbone behind (B, H, W, 3) uint8 input, so that the conversion is compiled too."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.backbone(crops.permute(0, 3, 1, 2).float()))


def _openvino(backbone: nn.Module) -> Features:
    import openvino

    from siamffn_model.networks.compiled import convert

    graph = convert(_Pixels(backbone), (torch.zeros(1, 127, 127, 3, dtype=torch.uint8),))
    compiled: dict[tuple[int, ...], Any] = {}

    def by_openvino(crops: NDArray[np.uint8]) -> list[Tensor]:
        if crops.shape not in compiled:
            graph.reshape(openvino.PartialShape(list(crops.shape)))
            compiled[crops.shape] = openvino.compile_model(
                graph, 'CPU', {'INFERENCE_NUM_THREADS': 1, 'INFERENCE_PRECISION_HINT': 'f32'}
            )
        outputs = compiled[crops.shape]([crops])
        return [torch.from_numpy(np.array(outputs[i])) for i in range(len(outputs))]

    return by_openvino
