"""A model computed by OpenVINO, the quickest on a CPU, and graphs for it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino

from siamffn_model.errors import WeightsError
from siamffn_model.imaging.crop import SEARCH_SIZE, TEMPLATE_SIZE, View
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.runtimes.exported import ExportedModules
from siamffn_model.runtimes.runtime import Floats

if TYPE_CHECKING:  # PyTorch is needed to convert a model, not to run it
    from torch import Tensor, nn

    from siamffn_model.networks.siamese import Siamese


class OpenVINORuntime:
    """A model computed by OpenVINO on the CPU.

    Views go through it one by one: more at once are no quicker there, and so each gives to the bit
    what it gives alone.

    Args:
        graphs: the model; its template is always computed in single precision.
        precision: 'f32', or '' for what OpenVINO takes for the quickest of this CPU: bfloat16
            where that is native, else single.
    """

    def __init__(self, graphs: ExportedModules, precision: str = '') -> None:
        self.score_map, self.device = graphs.score_map, 'cpu'
        self._template = compile_graph(graphs.template, 'f32').create_infer_request()
        compiled = compile_graph(graphs.search, precision, PERFORMANCE_HINT='LATENCY')
        self._search = compiled.create_infer_request()
        chosen = compiled.get_property('INFERENCE_PRECISION_HINT').get_type_name()
        self.name = f'OpenVINO {chosen}'
        self._known: object = None  # the template in the search's inputs

    def template(self, view: View) -> list[Any]:
        """See `Runtime.template`."""
        self._template.get_input_tensor(0).data[0] = view.crop(TEMPLATE_SIZE)
        self._template.infer()
        return [openvino.Tensor(output.data) for output in self._template.output_tensors]

    def search(self, views: Sequence[View], templates: Sequence[list[Any]]) -> Floats:
        """See `Runtime.search`."""
        found = np.empty((len(views), 5, self.score_map.candidates))
        crop = self._search.get_input_tensor(0).data
        for number, (view, template) in enumerate(zip(views, templates, strict=True)):
            crop[0] = view.crop(SEARCH_SIZE)
            if template is not self._known:
                for place, level in enumerate(template, 1):
                    self._search.set_input_tensor(place, level)
                self._known = template
            self._search.infer()
            found[number] = self._search.get_output_tensor(0).data[0]
        return found


@cache
def _core() -> Any:
    """Return OpenVINO's core, the same for all.

    Each gives the process a stack for signals; of several that do not end in the reverse order one
    leaves a stack that is gone, on which the next signal ends the process.
    """
    return openvino.Core()


def compile_graph(graph: Any, precision: str = 'f32', **options: Any) -> Any:
    """Return what computes a graph on the CPU: in this precision, '' for the quickest there."""
    if precision:
        options['INFERENCE_PRECISION_HINT'] = precision
    return _core().compile_model(graph, 'CPU', options)


def save_graphs(graphs: ExportedModules, folder: Path) -> None:
    """Write template.xml and search.xml, each with a .bin, in single precision."""
    for name in ('template', 'search'):
        openvino.save_model(getattr(graphs, name), folder / f'{name}.xml', compress_to_fp16=False)


def read_graphs(folder: Path, score_map: ScoreMap) -> ExportedModules:
    """Read what `save_graphs` wrote; raises `WeightsError`."""
    try:
        template, search = (
            _core().read_model(folder / f'{name}.xml') for name in ('template', 'search')
        )
    except RuntimeError as error:
        raise WeightsError(
            f'{folder} holds no model that OpenVINO can read ({error}); export it anew'
        ) from None
    return ExportedModules(template, search, score_map)


def convert(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    """Return the OpenVINO graph of what a module in evaluation mode does with such inputs.

    It is not `openvino.convert_model`, which takes twice as long: it tells OpenVINO's makers of
    each model, by dozens of forks of the process that wait for the network.
    """
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from siamffn_model.runtimes.torch_runtime import trace

    front_end = openvino.frontend.FrontEndManager().load_by_framework('pytorch')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)  # of torch.jit, which OpenVINO uses
        # Named, for it must outlive the conversion.
        decoder = TorchScriptPythonDecoder(trace(module, inputs), example_input=inputs)
        return front_end.convert(front_end.load(decoder))


def convert_model(model: Siamese) -> ExportedModules:
    """Return the graphs of a model in evaluation mode, its batch norm folded."""
    from siamffn_model.networks.inference_modules import example_inputs, stages

    graphs = []
    for stage, inputs in zip(stages(model), example_inputs(model)):
        graph = convert(stage, inputs)
        shapes = [openvino.PartialShape(list(tensor.shape)) for tensor in inputs]
        graph.reshape(dict(zip(graph.inputs, shapes, strict=True)))
        graphs.append(graph)
    template, search = graphs
    return ExportedModules(template, search, model.score_map)
