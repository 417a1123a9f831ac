"""The teacher of a distillation: NanoTrackV3, computed for batches on any device."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from siamffn_model.atomic_io import write_bytes
from siamffn_model.errors import WeightsError, missing_package
from siamffn_model.runtimes.nanotrack import FILES, check_files
from siamffn_model.training.features import frozen_features
from siamffn_model.training.onnx_graph import Graph, GraphModule, Node, read_graph

CHANNELS = 96  # of the features
NAME = 'NanoTrackV3 (github.com/HonglinChu/SiamTrackers, Apache-2.0)'


class Lesson(NamedTuple):
    """What the teacher says about pairs: a batch of B.

    Attributes:
        template: (B, 96, 8, 8), features of the template crop; cell i is at 16 * i pixels.
        search: (B, 96, 16, 16), features of the search crop.
        scores: (B, 225), probability of the target at the points of the map 15x15 at stride 16.
        distances: (B, 4, 225), pixels from these points to the left, top, right and bottom edge.
    """

    template: Tensor
    search: Tensor
    scores: Tensor
    distances: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> Lesson:
        """Return the lesson with the function applied to every tensor."""
        return Lesson(*map(function, self))


class Teacher:
    """Maps pairs of crops to a `Lesson`, in single precision: `vmap` does not support autocast.

    `card` is its name for the card of the weights that it taught.
    """

    def __init__(self, backbone: Graph, head: Graph, card: str, device: torch.device) -> None:
        """Raises `WeightsError` if a graph is of another network."""
        self.features = frozen_features(GraphModule(backbone).to(device), each_shape=True)
        self.head, self.card = GraphModule(head).to(device), card

    @torch.no_grad()
    def __call__(self, template: Tensor, search: Tensor) -> Lesson:
        """Map crops (B, 127, 127, 3) and (B, 255, 255, 3), BGR uint8, on the teacher's device."""
        with torch.autocast(template.device.type, enabled=False):
            z, x = (self.features(crops)[0] for crops in (template, search))
            logits, distances = (output.flatten(2) for output in self.head(z, x))
        return Lesson(z, x, torch.sigmoid(logits[:, 1] - logits[:, 0]), distances)


def load_teacher(path: Path, device: torch.device) -> Teacher:
    """Load the teacher from the folder of its ONNX files or from the file of `import_teacher`.

    Raises the errors of `import_teacher`.
    """
    if path.suffix != '.safetensors':
        return Teacher(*_read_onnx(path), device)
    try:
        with safe_open(path, framework='pt') as file:
            values = json.loads((file.metadata() or {})['graphs'])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no dict)
            backbone, head = (_to_graph(values[name], tensors, name) for name in FILES)
            return Teacher(backbone, head, values['card'], device)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise WeightsError(
            f'{path} is not a file of `siamffn weights import-nanotrack` ({error}): write it again'
        ) from None


def import_teacher(folder: Path, out: Path) -> None:
    """Write the two ONNX files of NanoTrackV3 as one file that requires no package onnx to read.

    Raises:
        DependencyError: the package onnx is not installed.
        WeightsError: a file is missing, damaged or of another network.
        DataError: `out` cannot be written.
    """
    backbone, head, card = _read_onnx(folder)
    Teacher(backbone, head, card, torch.device('cpu'))  # raises an error for another network
    values: dict[str, object] = {'card': card}
    tensors: dict[str, Tensor] = {}
    for name, graph in zip(FILES, (backbone, head)):
        values[name] = graph._replace(tensors={})
        tensors |= {f'{name}/{key}': tensor for key, tensor in graph.tensors.items()}
    write_bytes(out, save(tensors, metadata={'graphs': json.dumps(values)}))


def _read_onnx(folder: Path) -> tuple[Graph, Graph, str]:
    check_files(folder)
    if not find_spec('onnx'):
        alternative = 'run `siamffn weights import-nanotrack` on another machine'
        raise missing_package('onnx', 'a teacher in ONNX files', 'export', alternative)
    try:
        backbone, head = (read_graph(folder / name) for name in FILES)
    except Exception as error:  # onnx and protobuf do not document their exception types
        raise WeightsError(f'{folder} has a damaged file ({error}): copy it again') from None
    sums = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES]
    return backbone, head, f'{NAME}, SHA-256 {sums[0]} and {sums[1]}'


def _to_graph(values: list[list[str]], tensors: Mapping[str, Tensor], name: str) -> Graph:
    """Return the graph of a file `name` from its JSON values and the tensors of all files."""
    inputs, outputs, nodes, _ = values
    prefix = f'{name}/'
    own = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
    return Graph(inputs, outputs, [Node(*node) for node in nodes], own)
