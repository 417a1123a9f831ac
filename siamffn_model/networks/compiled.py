"""A model's search compiled by OpenVINO: on a CPU quicker than PyTorch, and one call a frame."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import openvino
import torch
from torch import Tensor, nn

from siamffn_model.networks.score_map import SEARCH_SIZE, TEMPLATE_SIZE
from siamffn_model.networks.siamese import Siamese


def convert(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    """Return the OpenVINO graph of what a module in evaluation mode does with such inputs."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore', DeprecationWarning)  # of torch.jit, which OpenVINO uses
        traced = torch.jit.trace(module, inputs, check_trace=False)  # once is enough
        return openvino.convert_model(traced, example_input=inputs)


def forget_traces() -> None:
    """Free what PyTorch keeps of each `convert`, its weights included, for as long as the process.

    It keeps the types of all traced modules, so call it where no other code uses TorchScript. These
    are the calls by which PyTorch's own tests and OpenVINO's examples do it.
    """
    torch._C._jit_clear_class_registry()
    torch.jit._recursive.concrete_type_store = torch.jit._recursive.ConcreteTypeStore()
    torch.jit._state._clear_class_state()


@cache
def _core() -> Any:
    """Return OpenVINO's core, the same for all.

    Each gives the process a stack for signals; of several that do not end in the reverse order one
    leaves a stack that is gone, on which the next signal ends the process.
    """
    return openvino.Core()


def compile_graph(graph: Any, **options: Any) -> Any:
    """Return what computes a graph on the CPU in single precision."""
    return _core().compile_model(graph, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32', **options})


class Compiled(nn.Module):
    """A model on the CPU whose search runs in OpenVINO, in single precision; the rest is PyTorch's.

    Crops go through it one by one: more at once are no quicker there, and so each gives to the bit
    what it gives alone.
    """

    def __init__(self, model: Siamese) -> None:
        super().__init__()
        self.model = model
        self.score_map = model.score_map
        crop = torch.zeros(1, 3, SEARCH_SIZE, SEARCH_SIZE)
        with torch.no_grad():
            template = model.template(torch.zeros(1, 3, TEMPLATE_SIZE, TEMPLATE_SIZE))
        inputs = crop, *template
        graph = convert(_Search(model), inputs)
        shapes = [list(tensor.shape) for tensor in inputs]
        graph.reshape(dict(zip(graph.inputs, map(openvino.PartialShape, shapes), strict=True)))
        self._search: Any = compile_graph(graph, PERFORMANCE_HINT='LATENCY')

    def template(self, crop: Tensor) -> list[Tensor]:
        """See `Siamese.template`."""
        return self.model.template(crop)

    def search(self, crop: Tensor, template: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """See `Siamese.search`."""
        inputs = [tensor.contiguous().numpy() for tensor in (crop, *template)]
        outputs: list[list[Tensor]] = [[], []]
        for n in range(len(crop)):
            found = self._search([tensor[n : n + 1] for tensor in inputs])
            for kept, one in zip(outputs, found.values()):
                kept.append(torch.from_numpy(one.copy()))
        logits, distances = map(torch.cat, outputs)
        return logits, distances


class _Search(nn.Module):
    def __init__(self, model: Siamese) -> None:
        super().__init__()
        self.model = model

    def forward(self, crop: Tensor, *template: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.search(crop, template)
