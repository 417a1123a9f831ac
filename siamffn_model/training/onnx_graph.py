"""ONNX graphs as PyTorch modules, for the operators of NanoTrackV3."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from siamffn_model.errors import WeightsError


class Node(NamedTuple):
    """An operator, the names of its tensors, and its attributes."""

    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]


class Graph(NamedTuple):
    """An ONNX graph: its nodes in the order of computation, and its constant tensors by name."""

    inputs: list[str]
    outputs: list[str]
    nodes: list[Node]
    tensors: dict[str, Tensor]


def read_graph(path: Path) -> Graph:
    """Read an ONNX file with the package onnx; raises the errors of that package."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    values = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == 'Constant':
            values[node.output[0]] = attributes['value']
        else:
            nodes.append(Node(node.op_type, [*node.input], [*node.output], attributes))
    tensors = {
        name: torch.from_numpy(numpy_helper.to_array(value).copy())
        for name, value in values.items()
    }
    return Graph([i.name for i in graph.input], [o.name for o in graph.output], nodes, tensors)


class GraphModule(nn.Module):
    """Computes a graph, which is written for a batch of 1, for each sample of a batch."""

    def __init__(self, graph: Graph) -> None:
        """Raises `WeightsError` for an operator that is not in `OPERATORS`."""
        super().__init__()
        unknown = sorted({node.operator for node in graph.nodes} - OPERATORS.keys())
        if unknown:
            raise WeightsError(f'the ONNX operators {", ".join(unknown)} are not supported')
        self.graph = graph._replace(tensors={})
        # Shapes, axes and limits are numbers in Python, so that a GPU need not be waited for.
        self.constants: dict[str, Any] = {}
        self.buffer_names: dict[str, str] = {}
        for number, (name, tensor) in enumerate(graph.tensors.items()):
            if tensor.is_floating_point() and tensor.dim():
                self.buffer_names[name] = f'tensor{number}'
                self.register_buffer(f'tensor{number}', tensor)
            else:
                self.constants[name] = tensor.tolist()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Map the inputs (B, ...) of the graph, in order, to its outputs (B, ...)."""
        return torch.func.vmap(self._compute)(*inputs)

    def _compute(self, *sample: Tensor) -> tuple[Tensor, ...]:
        values = dict(zip(self.graph.inputs, (value[None] for value in sample), strict=True))
        values.update(self.constants)
        values.update({name: getattr(self, key) for name, key in self.buffer_names.items()})
        for node in self.graph.nodes:
            inputs = [values[name] for name in node.inputs]
            (name,) = node.outputs
            values[name] = OPERATORS[node.operator](*inputs, **node.attributes)
        return tuple(values[name][0] for name in self.graph.outputs)


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    group: int,
    kernel_shape: Sequence[int],
) -> Tensor:
    before, after = pads[: len(pads) // 2], pads[len(pads) // 2 :]
    if list(before) != list(after):
        raise WeightsError(f'an ONNX convolution with the pads {list(pads)} is not supported')
    return F.conv2d(x, weight, bias, strides, before, dilations, group)


def _gemm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    alpha: float,
    beta: float,
    transB: int,  # noqa: N803
) -> Tensor:
    return beta * bias + alpha * x @ (weight.T if transB else weight)


def _slice(
    x: Tensor, starts: list[int], ends: list[int], axes: list[int], steps: list[int]
) -> Tensor:
    index = [slice(None)] * x.dim()
    for axis, *limits in zip(axes, starts, ends, steps):
        index[axis] = slice(*limits)
    return x[tuple(index)]


OPERATORS: Mapping[str, Callable[..., Tensor]] = {
    'Add': torch.add,
    'Clip': torch.clamp,
    'Concat': lambda *tensors, axis: torch.cat(tensors, axis),
    'Conv': _conv,
    'Exp': torch.exp,
    'Gemm': _gemm,
    'GlobalAveragePool': lambda x: x.mean((2, 3), keepdim=True),
    'HardSigmoid': lambda x, alpha, beta=0.5: (alpha * x + beta).clamp(0, 1),
    'HardSwish': F.hardswish,
    'MatMul': torch.matmul,
    'Mul': torch.mul,
    'Relu': torch.relu,
    'Reshape': lambda x, shape, allowzero=0: x.reshape(shape),
    'Sigmoid': torch.sigmoid,
    'Slice': _slice,
    'Transpose': lambda x, perm: x.permute(perm),
}
