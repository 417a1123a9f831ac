"""OpenVINO as the inference engine, the fastest one on CPUs, and conversion to its format."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino

from siamffn_model.errors import DataError, WeightsError
from siamffn_model.imaging.crop import SEARCH_SIZE, TEMPLATE_SIZE, View
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.runtimes.exported import ExportedModules
from siamffn_model.runtimes.runtime import Floats, search_batches

if TYPE_CHECKING:  # PyTorch is needed to convert a model, not to run it
    from torch import Tensor, nn

    from siamffn_model.networks.siamese import Siamese


class OpenVINORuntime:
    """A model in OpenVINO on the CPU.

    A single view is searched by all cores together; of several, each core searches another one,
    which is faster. Batches are not: the result for a view does not depend on the other views.

    Args:
        modules: the model. The template module always runs in single precision.
        precision: 'f32', or '' for OpenVINO's default on this CPU: bfloat16 if the CPU supports it
            natively, otherwise single precision.
    """

    def __init__(self, modules: ExportedModules, precision: str = '') -> None:
        self.score_map, self.device = modules.score_map, 'cpu'
        search = compile_model(modules.search, precision, PERFORMANCE_HINT='LATENCY')
        modules.check_candidates(search.output(0).shape[2])
        cores = search.get_property('INFERENCE_NUM_THREADS')
        per_core = {'NUM_STREAMS': cores, 'INFERENCE_NUM_THREADS': cores}
        parallel = compile_model(modules.search, precision, **per_core) if cores > 1 else None
        self._requests = _Requests(compile_model(modules.template, 'f32'), search, parallel, cores)
        used = search.get_property('INFERENCE_PRECISION_HINT').get_type_name()
        self.name = f'OpenVINO {used}'

    def warm_up(self) -> None:
        """See `Runtime.warm_up`."""
        search_batches(self, [1, len(self._requests.parallel)])

    def template(self, view: View) -> list[Any]:
        """See `Runtime.template`."""
        request = self._requests.template
        request.get_input_tensor(0).data[0] = view.crop(TEMPLATE_SIZE)
        request.infer()
        return [openvino.Tensor(output.data) for output in request.output_tensors]

    def features(self, template: list[Any]) -> Floats:
        """See `Runtime.features`."""
        return np.asarray(template[0].data[0], float)

    def search(self, views: Sequence[View], templates: Sequence[list[Any]]) -> Floats:
        """See `Runtime.search`."""
        candidates = np.empty((len(views), 5, self.score_map.candidates))
        searches = list(zip(views, templates, candidates, strict=True))
        requests = self._requests
        parallel = len(searches) // requests.cores * requests.cores if requests.parallel else 0
        for search, request in zip(searches[:parallel], cycle(requests.parallel)):
            request.finish()
            request.start(*search)
        for request in requests.parallel:
            request.finish()
        for search in searches[parallel:]:
            requests.search.start(*search)
            requests.search.finish()
        return candidates


class _Requests(threading.local):
    """The infer requests of each thread: threads share the models, not the requests.

    Attributes:
        template: computes a template.
        search: searches a view with all cores.
        parallel: search a view with one core each; twice as many as cores, so that no core waits
            for the next crop. Empty if there is one core.
        cores: number of cores.
    """

    def __init__(self, template: Any, search: Any, parallel: Any, cores: int) -> None:
        self.template, self.cores = template.create_infer_request(), cores
        self.search = _SearchRequest(search)
        self.parallel = [_SearchRequest(parallel) for _ in range(2 * cores if cores > 1 else 0)]


class _SearchRequest:
    """An infer request of a search module."""

    def __init__(self, model: Any) -> None:
        self._request = model.create_infer_request()
        self._crop = self._request.get_input_tensor(0).data
        self._template: object = None
        self._candidates: Floats | None = None

    def start(self, view: View, template: list[Any], candidates: Floats) -> None:
        """Start to search a view; `finish` writes the result to `candidates` (5, N)."""
        self._crop[0] = view.crop(SEARCH_SIZE)
        if template is not self._template:
            self._template = None  # in case that one of the levels is refused
            for index, level in enumerate(template, 1):
                self._request.set_input_tensor(index, level)
            self._template = template
        self._candidates = candidates
        self._request.start_async()

    def finish(self) -> None:
        """Wait for the search, if one was started."""
        if self._candidates is not None:
            self._request.wait()
            self._candidates[:] = self._request.get_output_tensor(0).data[0]
            self._candidates = None


@cache
def _core() -> Any:
    """Return the only OpenVINO core of this process.

    Each core installs an alternate signal stack. If several cores are not destroyed in reverse
    order of creation, the process keeps a freed stack and the next signal ends it.
    """
    return openvino.Core()


def compile_model(graph: Any, precision: str = 'f32', **options: Any) -> Any:
    """Compile an OpenVINO model for the CPU in this precision, '' for OpenVINO's default."""
    if precision:
        options['INFERENCE_PRECISION_HINT'] = precision
    return _core().compile_model(graph, 'CPU', options)


def save_modules(modules: ExportedModules, folder: Path) -> None:
    """Write template.xml and search.xml, each with a .bin file, without compression to fp16.

    Raises `DataError` if they cannot be written.
    """
    for name in ('template', 'search'):
        path = folder / f'{name}.xml'
        try:
            openvino.save_model(getattr(modules, name), path, compress_to_fp16=False)
        except RuntimeError as error:
            raise DataError(
                f'{path}: OpenVINO cannot write it ({error}); free some space, or choose a folder '
                'that can be written to'
            ) from error


def read_modules(folder: Path, score_map: ScoreMap) -> ExportedModules:
    """Read the files of `save_modules`; raise `WeightsError` if one is missing or damaged."""
    try:
        template, search = (
            _core().read_model(folder / f'{name}.xml') for name in ('template', 'search')
        )
    except RuntimeError as error:
        raise WeightsError(
            f'{folder} contains no model that OpenVINO can read ({error}); export it again'
        ) from None
    return ExportedModules(template, search, score_map)


def read_onnx(modules: ExportedModules) -> ExportedModules:
    """Convert modules that are ONNX files in memory."""
    template, search = (_core().read_model(module) for module in modules[:2])
    return ExportedModules(template, search, modules.score_map)


def convert_module(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    """Convert a module in evaluation mode to an OpenVINO model by tracing it with example inputs.

    This uses the PyTorch front end directly, because `openvino.convert_model` cannot trace these
    modules. Given a traced one, it does the same in the same time.
    """
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from siamffn_model.runtimes.torch_runtime import trace

    front_end = openvino.frontend.FrontEndManager().load_by_framework('pytorch')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)  # OpenVINO uses torch.jit
        # A variable, because the decoder must outlive the conversion.
        decoder = TorchScriptPythonDecoder(trace(module, inputs), example_input=inputs)
        return front_end.convert(front_end.load(decoder))


def convert_model(model: Siamese) -> ExportedModules:
    """Convert a model in evaluation mode, with batch norm folded, to OpenVINO models."""
    from siamffn_model.networks.inference_modules import example_inputs, inference_modules

    converted = []
    for module, inputs in zip(inference_modules(model), example_inputs(model)):
        graph = convert_module(module, inputs)
        shapes = [openvino.PartialShape(list(tensor.shape)) for tensor in inputs]
        graph.reshape(dict(zip(graph.inputs, shapes, strict=True)))
        converted.append(graph)
    template, search = converted
    return ExportedModules(template, search, model.score_map)
