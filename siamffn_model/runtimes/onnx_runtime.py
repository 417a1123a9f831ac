"""A model computed by ONNX Runtime, on a CPU or, by CUDA or TensorRT, on NVIDIA's GPUs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from siamffn_model.atomic_io import cache_folder
from siamffn_model.errors import DependencyError, WeightsError
from siamffn_model.imaging.crop import SEARCH_SIZE, TEMPLATE_SIZE, View
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.runtimes.devices import device_number, has_driver
from siamffn_model.runtimes.exported import ExportedModules
from siamffn_model.runtimes.runtime import Floats

if TYPE_CHECKING:  # PyTorch is needed to convert a model, not to run it
    from torch import Tensor, nn

    from siamffn_model.networks.siamese import Siamese

OPSET = 18  # the oldest that PyTorch's exporter writes; TensorRT 8.6 and later read it
QUIET = 3  # of ONNX Runtime's log: errors only

Provider = tuple[str, dict[str, Any]]


class ONNXRuntime:
    """A model computed by ONNX Runtime, one view after the other.

    Args:
        graphs: the model.
        device: 'cpu', 'cuda' or 'cuda:N'.

    Raises `DependencyError` where the device is not there and `WeightsError` where the graphs
    cannot be read.
    """

    def __init__(self, graphs: ExportedModules, device: str) -> None:
        self.score_map, self.device = graphs.score_map, device
        chosen = providers(device, onnxruntime.get_available_providers())
        self._template, self._search = (_session(g, chosen) for g in graphs[:2])
        self._inputs = [value.name for value in self._search.get_inputs()]
        used = self._search.get_providers()[0]
        self.name = f'ONNX Runtime, {used.removesuffix("ExecutionProvider")}'
        if device != 'cpu' and used == 'CPUExecutionProvider':
            raise DependencyError(
                f'ONNX Runtime cannot use {device!r}: its GPU libraries do not load (its own '
                'message is above); install the CUDA and cuDNN that it names, or choose cpu'
            )

    def template(self, view: View) -> list[Any]:
        """See `Runtime.template`."""
        feed = {'crop': view.crop(TEMPLATE_SIZE)[None]}
        tensors: list[Any] = self._template.run(None, feed)
        return tensors

    def search(self, views: Sequence[View], templates: Sequence[list[Any]]) -> Floats:
        """See `Runtime.search`."""
        found = np.empty((len(views), 5, self.score_map.candidates))
        for number, (view, template) in enumerate(zip(views, templates, strict=True)):
            values = [view.crop(SEARCH_SIZE)[None], *template]
            feed = dict(zip(self._inputs, values, strict=True))
            found[number] = self._search.run(None, feed)[0][0]
        return found


def providers(device: str, offered: Sequence[str]) -> list[Provider]:
    """Return what is to compute on a device, the quickest first.

    Args:
        device: 'cpu', 'cuda' or 'cuda:N'.
        offered: what this ONNX Runtime was built with.

    Raises `DependencyError` where that cannot use the device.
    """
    number = device_number(device)
    if device == 'cpu':
        return [('CPUExecutionProvider', {})]
    if 'CUDAExecutionProvider' not in offered:
        raise DependencyError(
            f'this ONNX Runtime cannot use {device!r}: `pip install onnxruntime-gpu` in the place '
            'of onnxruntime (on a Jetson from the index of its JetPack), or choose cpu'
        )
    tensorrt = {
        'device_id': number,
        'trt_fp16_enable': True,
        'trt_engine_cache_enable': True,
        'trt_engine_cache_path': str(cache_folder() / 'tensorrt'),
    }
    on_gpu: list[Provider] = [
        ('TensorrtExecutionProvider', tensorrt),
        ('CUDAExecutionProvider', {'device_id': number}),
    ]
    return [provider for provider in on_gpu if provider[0] in offered]


def quickest_device() -> str:
    """Return 'cuda' where there is a GPU that this ONNX Runtime can use, else 'cpu'."""
    offered = onnxruntime.get_available_providers()
    return 'cuda' if has_driver() and 'CUDAExecutionProvider' in offered else 'cpu'


def _session(graph: bytes, chosen: list[Provider]) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    try:
        return onnxruntime.InferenceSession(graph, options, chosen)
    except Exception as error:  # of its own kinds, of which it publishes none
        raise WeightsError(
            f'ONNX Runtime cannot load the model ({error}); export it anew'
        ) from None


def save_graphs(graphs: ExportedModules, folder: Path) -> None:
    """Write template.onnx and search.onnx."""
    for name in ('template', 'search'):
        (folder / f'{name}.onnx').write_bytes(getattr(graphs, name))


def read_graphs(folder: Path, score_map: ScoreMap) -> ExportedModules:
    """Read what `save_graphs` wrote; raises `WeightsError`."""
    try:
        template, search = (
            (folder / f'{name}.onnx').read_bytes() for name in ('template', 'search')
        )
    except OSError as error:
        raise WeightsError(f'{folder} holds no model in ONNX ({error}); export it anew') from None
    return ExportedModules(template, search, score_map)


def convert_model(model: Siamese) -> ExportedModules:
    """Return the ONNX files' bytes of a model in evaluation mode, its batch norm folded.

    All shapes are fixed, and names are those of the stages: `crop` and `template0`, ... in,
    `template0`, ... or `candidates` out. Each correlation is one grouped Conv whose kernel is a
    template's tensor.

    Raises `DependencyError` where the packages that PyTorch needs for it are not installed.
    """
    for package in ('onnx', 'onnxscript'):
        if not find_spec(package):
            raise DependencyError(
                f'{package} is not installed: to turn a model into ONNX PyTorch needs '
                '`pip install onnx onnxscript`; or give a folder that `siamffn export` wrote'
            )
    from siamffn_model.networks.inference_modules import example_inputs, stages

    template, search = stages(model)
    template_inputs, search_inputs = example_inputs(model)
    levels = [f'template{number}' for number in range(len(search_inputs) - 1)]
    return ExportedModules(
        _convert(template, template_inputs, ['crop'], levels),
        _convert(search, search_inputs, ['crop', *levels], ['candidates']),
        model.score_map,
    )


def _convert(
    stage: nn.Module, inputs: tuple[Tensor, ...], names: list[str], outputs: list[str]
) -> bytes:
    import torch

    with _quietly(), torch.no_grad():
        program = torch.onnx.export(
            stage,
            inputs,
            input_names=names,
            output_names=outputs,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    graph: bytes = program.model_proto.SerializeToString()
    return graph


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep the exporter from telling of packages that it does not need, and of its own future."""
    log = logging.getLogger('torch.onnx')
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', FutureWarning)
            yield
    finally:
        log.setLevel(level)
