"""ONNX Runtime as the inference engine on CPUs and NVIDIA GPUs."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Sequence
from ctypes.util import find_library
from functools import cache
from typing import Any

import numpy as np
import onnxruntime

from siamffn_model.atomic_io import cache_folder, evict_folders
from siamffn_model.errors import DependencyError, WeightsError
from siamffn_model.imaging.crop import SEARCH_SIZE, TEMPLATE_SIZE, View
from siamffn_model.runtimes.devices import device_index
from siamffn_model.runtimes.exported import ExportedModules
from siamffn_model.runtimes.runtime import Floats, search_batches

LOG_ERRORS = 3  # ONNX Runtime's severity level for errors
MAX_ENGINES = 8  # cached TensorRT engines; a model has two

Provider = tuple[str, dict[str, Any]]


class ONNXRuntime:
    """A model in ONNX Runtime. Views are processed one at a time.

    Args:
        modules: the model as ONNX files in memory.
        device: 'cpu', 'cuda' or 'cuda:N'.

    Raises:
        DependencyError: the device is not available.
        WeightsError: ONNX Runtime cannot load the modules.
    """

    def __init__(self, modules: ExportedModules, device: str) -> None:
        self.score_map, self.device = modules.score_map, device
        available = onnxruntime.get_available_providers()
        self._template, self._search = (
            _session(module, providers(device, available, module)) for module in modules[:2]
        )
        modules.check_candidates(self._search.get_outputs()[0].shape[2])
        self._inputs = [value.name for value in self._search.get_inputs()]
        used = self._search.get_providers()[0]
        self.name = f'ONNX Runtime, {used.removesuffix("ExecutionProvider")}'
        if device != 'cpu' and used == 'CPUExecutionProvider':
            raise DependencyError(
                f'ONNX Runtime cannot use {device!r}: its GPU libraries cannot be loaded (see the '
                'message above); install the versions of CUDA and cuDNN that it names, or choose '
                'cpu'
            )

    def warm_up(self) -> None:
        """See `Runtime.warm_up`; views are processed one at a time."""
        search_batches(self, [1])

    def template(self, view: View) -> list[Any]:
        """See `Runtime.template`."""
        feed = {'crop': view.crop(TEMPLATE_SIZE)[None]}
        levels: list[Any] = self._template.run(None, feed)
        return levels

    def features(self, template: list[Any]) -> Floats:
        """See `Runtime.features`."""
        return np.asarray(template[0][0], float)

    def search(self, views: Sequence[View], templates: Sequence[list[Any]]) -> Floats:
        """See `Runtime.search`."""
        candidates = np.empty((len(views), 5, self.score_map.candidates))
        for index, (view, template) in enumerate(zip(views, templates, strict=True)):
            values = [view.crop(SEARCH_SIZE)[None], *template]
            feed = dict(zip(self._inputs, values, strict=True))
            candidates[index] = self._search.run(None, feed)[0][0]
        return candidates


def providers(device: str, available: Sequence[str], model: bytes) -> list[Provider]:
    """Return the execution providers for a device with their options, the fastest first.

    Creates the folder in which TensorRT caches the engine of the model.

    Args:
        device: 'cpu', 'cuda' or 'cuda:N'.
        available: names of the providers in this build of ONNX Runtime.
        model: the ONNX file.

    Raises:
        ConfigError: an unknown device.
        DependencyError: no provider supports the device.
    """
    index = device_index(device)
    if device == 'cpu':
        return [('CPUExecutionProvider', {})]
    if 'CUDAExecutionProvider' not in available:
        raise DependencyError(
            f'this ONNX Runtime cannot use {device!r}: `pip install onnxruntime-gpu` instead of '
            'onnxruntime (on a Jetson from the index of its JetPack), or choose cpu'
        )
    cuda: list[Provider] = [('CUDAExecutionProvider', {'device_id': index})]
    if 'TensorrtExecutionProvider' not in available:
        return cuda
    tensorrt = {'device_id': index, 'trt_fp16_enable': True, **_engine_cache(model)}
    return [('TensorrtExecutionProvider', tensorrt), *cuda]


def _engine_cache(model: bytes) -> dict[str, Any]:
    """Return the options of TensorRT's engine cache; none if its folder cannot be created.

    Building an engine takes minutes. ONNX Runtime finds an engine by the names in the model, not by
    its weights, and TensorRT reads no engines of other versions. So each model has a folder for
    each version.
    """
    digest = hashlib.sha256(model).hexdigest()[:16]
    version = f'{onnxruntime.__version__}-{_tensorrt_version()}'
    folder = cache_folder() / 'tensorrt' / f'{version}-{digest}'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()  # the engines that were not used for longest are removed
        evict_folders(folder.parent, MAX_ENGINES)
    except OSError:
        return {}  # the engine is built again at each start
    return {'trt_engine_cache_enable': True, 'trt_engine_cache_path': str(folder)}


@cache
def _tensorrt_version() -> str:
    """Return the version of the TensorRT library on this system, such as '101401', or ''."""
    library = find_library('nvinfer')
    return str(ctypes.CDLL(library).getInferLibVersion()) if library else ''


def fastest_device() -> str:
    """Return 'cuda' if this ONNX Runtime supports CUDA, else 'cpu'."""
    return 'cuda' if 'CUDAExecutionProvider' in onnxruntime.get_available_providers() else 'cpu'


def _session(model: bytes, requested: list[Provider]) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = LOG_ERRORS
    try:
        return onnxruntime.InferenceSession(model, options, requested)
    except Exception as error:  # ONNX Runtime does not document its exception types
        raise WeightsError(
            f'ONNX Runtime cannot load the model ({error}); export it again'
        ) from None
