"""NanoTrackV3 from the two ONNX files of its authors, as the modules that inference engines run.

The files are in NanoTrack/models/nanotrackv3 of github.com/HonglinChu/SiamTrackers (Apache-2.0).
The backbone maps a crop, BGR 0-255, to features at stride 16. The head maps the features of both
crops to logits (1, 2, 15, 15), background first, and to the distances (1, 4, 15, 15) from each
point to the left, top, right and bottom edge of the box, in pixels of the search crop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from siamffn_model.errors import WeightsError, missing_package
from siamffn_model.imaging.crop import SEARCH_SIZE, TEMPLATE_SIZE
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.runtimes.exported import ExportedModules

if TYPE_CHECKING:  # onnx is an optional package
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

Shape: TypeAlias = tuple[int, ...]

MODEL = 'nanotrack'
FILES = ('nanotrack_backbone.onnx', 'nanotrack_head.onnx')
SOURCE = 'NanoTrack/models/nanotrackv3 of https://github.com/HonglinChu/SiamTrackers'
SCORE_MAP = ScoreMap(15, stride=16)
TEMPLATE, SEARCH = (1, 96, 8, 8), (1, 96, 16, 16)  # shapes of the features of the two crops


def check_files(folder: Path) -> None:
    """Raise `WeightsError` unless the folder contains both files."""
    for name in FILES:
        if not (folder / name).is_file():
            raise WeightsError(
                f'{folder / name}: no such file; the weights of the model {MODEL} are the folder '
                f'of {" and ".join(FILES)}, which are in {SOURCE}'
            )


def read_modules(folder: Path) -> ExportedModules:
    """Return the template and the search module as ONNX files in memory.

    Raises:
        DependencyError: the package onnx is not installed.
        WeightsError: a file is missing or damaged, or is not of NanoTrackV3.
    """
    check_files(folder)
    if not find_spec('onnx'):
        raise missing_package('onnx', f'the model {MODEL}', 'export')
    import onnx

    try:
        backbone, head = (onnx.load(folder / name) for name in FILES)
        _check_interface(backbone, head)
        template, search = _template_module(backbone), _search_module(backbone, head)
    except Exception as error:  # onnx and protobuf do not document their exception types
        raise WeightsError(
            f'{folder}: {" and ".join(FILES)} are not those of NanoTrackV3 ({error}); copy them '
            'again'
        ) from None
    return ExportedModules(template.SerializeToString(), search.SerializeToString(), SCORE_MAP)


def _check_interface(backbone: ModelProto, head: ModelProto) -> None:
    side = SCORE_MAP.side
    expected = [(1, 3, SEARCH_SIZE, SEARCH_SIZE), SEARCH]
    expected += [TEMPLATE, SEARCH, (1, 2, side, side), (1, 4, side, side)]
    values = [value for m in (backbone, head) for value in (*m.graph.input, *m.graph.output)]
    found = [tuple(d.dim_value for d in value.type.tensor_type.shape.dim) for value in values]
    if found != expected:
        raise ValueError(f'shapes of inputs and outputs are {found}, not {expected}')
    if backbone.opset_import[0].version != head.opset_import[0].version:
        raise ValueError('they have different versions of the operator set')


def _template_module(backbone: ModelProto) -> ModelProto:
    network = _prefixed(backbone, 'backbone')
    nodes, output = _features(network, 'template0'), {'template0': TEMPLATE}
    return _model(backbone, nodes, network.initializer, TEMPLATE_SIZE, {}, output)


def _search_module(backbone: ModelProto, head: ModelProto) -> ModelProto:
    from onnx import numpy_helper
    from onnx.helper import make_node

    network, comparison = _prefixed(backbone, 'backbone'), _prefixed(head, 'head')
    template, search = (value.name for value in comparison.input)
    logits, distances = (value.name for value in comparison.output)
    constants = {
        'shape': np.array([1, -1, SCORE_MAP.candidates]),
        'foreground': np.array([1]),
        'first_edges': np.array([0, 1]),
        'last_edges': np.array([2, 3]),
        'half': np.array(0.5, np.float32),
        'points': SCORE_MAP.points()[None].astype(np.float32),
    }
    nodes = [
        *_features(network, search),
        make_node('Identity', ['template0'], [template]),
        *comparison.node,
        make_node('Reshape', [logits, 'shape'], ['logits']),
        make_node('Softmax', ['logits'], ['probabilities'], axis=1),
        make_node('Gather', ['probabilities', 'foreground'], ['score'], axis=1),
        make_node('Reshape', [distances, 'shape'], ['distances']),
        # Elementwise operations remain in single precision when OpenVINO uses bfloat16.
        make_node('Gather', ['distances', 'first_edges'], ['left_top'], axis=1),
        make_node('Gather', ['distances', 'last_edges'], ['right_bottom'], axis=1),
        make_node('Sub', ['right_bottom', 'left_top'], ['differences']),
        make_node('Mul', ['differences', 'half'], ['shifts']),
        make_node('Add', ['points', 'shifts'], ['centers']),
        make_node('Add', ['left_top', 'right_bottom'], ['sizes']),
        make_node('Concat', ['score', 'centers', 'sizes'], ['candidates'], axis=1),
    ]
    weights = [*network.initializer, *comparison.initializer]
    weights += [numpy_helper.from_array(value, name) for name, value in constants.items()]
    output = {'candidates': (1, 5, SCORE_MAP.candidates)}
    return _model(backbone, nodes, weights, SEARCH_SIZE, {'template0': TEMPLATE}, output)


def _prefixed(model: ModelProto, name: str) -> GraphProto:
    """Return the graph with this prefix before all its names, so that two graphs can be joined."""
    from onnx.compose import add_prefix

    return add_prefix(model, f'{name}/').graph


def _features(backbone: GraphProto, name: str) -> list[NodeProto]:
    """Return the nodes that map the input `crop` to the tensor `name`, its features."""
    from onnx import TensorProto
    from onnx.helper import make_node

    return [
        make_node('Cast', ['crop'], ['pixels'], to=TensorProto.FLOAT),
        make_node('Transpose', ['pixels'], [backbone.input[0].name], perm=(0, 3, 1, 2)),
        *backbone.node,
        make_node('Identity', [backbone.output[0].name], [name]),
    ]


def _model(
    backbone: ModelProto,
    nodes: Sequence[NodeProto],
    weights: Sequence[TensorProto],
    crop_size: int,
    features: Mapping[str, Shape],
    output: Mapping[str, Shape],
) -> ModelProto:
    """Return a model with the inputs `crop` and `features` and the given output, by shape."""
    from onnx import TensorProto, helper

    def floats(shapes: Mapping[str, Shape]) -> list[ValueInfoProto]:
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in shapes.items()
        ]

    crop_shape = 1, crop_size, crop_size, 3
    crop = helper.make_tensor_value_info('crop', TensorProto.UINT8, crop_shape)
    graph = helper.make_graph(nodes, MODEL, [crop, *floats(features)], floats(output), weights)
    return helper.make_model(
        graph, opset_imports=backbone.opset_import, ir_version=backbone.ir_version
    )
