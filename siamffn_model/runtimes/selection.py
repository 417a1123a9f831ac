"""From a model's name to what tracks with it: weights, device, and the quickest runtime."""

from __future__ import annotations

import gc
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from siamffn_model.errors import ConfigError, DependencyError, WeightsError
from siamffn_model.runtimes.cache import load_cached
from siamffn_model.runtimes.conversion import convert, format_module, read_model
from siamffn_model.runtimes.devices import choose_device, device_number
from siamffn_model.runtimes.exported import ExportedModules, Manifest, read_manifest
from siamffn_model.runtimes.runtime import Runtime

if TYPE_CHECKING:  # its import takes longer than the start of a node: only where it is needed
    from siamffn_model.networks.siamese import Siamese

WEIGHTS = Path(__file__).resolve().parents[1] / 'weights'

RUNTIMES = (
    'auto',  # the quickest that is installed
    'eager',  # PyTorch, the network as it was trained
    'torch',  # PyTorch, made quick: on CUDA in half precision, each search one CUDA graph
    'openvino',  # in the precision that is quickest on this CPU
    'openvino-f32',  # in single precision
    'onnx',  # ONNX Runtime, on CPU, CUDA or TensorRT
)
COMPUTED_BY = {  # by format of an exported folder: the runtimes that compute it, first the quickest
    'onnx': ('onnx',),
    'openvino': ('openvino', 'openvino-f32'),
}


def load_model(
    name: str = 'siamffn_lite0',
    weights: Path | str | None = None,
    device: str = 'auto',
    runtime: str = 'auto',
) -> Runtime:
    """Return the named model with its weights, ready to track.

    Args:
        name: one of `networks.zoo.MODELS`.
        weights: a safetensors file of `networks.zoo.save_weights`, or a folder that
            `siamffn export` wrote; None takes the one that ships.
        device: 'cpu', 'cuda', 'cuda:1', ... or 'auto' (CUDA where there is any).
        runtime: one of `RUNTIMES`.

    Raises:
        WeightsError: a missing, damaged or foreign file.
        ConfigError: an unknown name, device or runtime, or two that do not go together.
        DependencyError: a device or the package of a runtime is not available.
    """
    path = weight_file(name, weights)
    if path.is_dir():
        return _load_exported(name, path, device, runtime)
    device, runtime = choose(device, runtime)
    if form := _format_of(runtime):
        start = partial(_start, device=device, runtime=runtime)
        return load_cached(form, name, path, start)
    return prepare(read_model(name, path), device, runtime)


def weight_file(name: str, weights: Path | str | None = None) -> Path:
    """Return what `load_model` reads."""
    return Path(weights) if weights else WEIGHTS / f'{name}.safetensors'


def check(name: str, path: Path) -> None:
    """Raise what `load_model` raises for weights that cannot be used, without loading them."""
    if path.is_dir():
        _read_manifest(name, path)
    else:
        from siamffn_model.networks.zoo import read_weights

        read_weights(path, name)


def choose(device: str, runtime: str) -> tuple[str, str]:
    """Return device and runtime, for 'auto' the quickest there; raises as `load_model`."""
    if runtime not in RUNTIMES:
        raise ConfigError(f'unknown runtime {runtime!r}: choose one of {", ".join(RUNTIMES)}')
    if runtime.startswith('openvino'):
        if device not in ('auto', 'cpu'):
            raise ConfigError(f'OpenVINO runs on the CPU here, not on {device!r}: choose cpu')
        if not find_spec('openvino'):
            raise DependencyError(
                'OpenVINO is not installed: `pip install openvino`, or choose another runtime'
            )
        return 'cpu', runtime
    if runtime == 'onnx':
        return _onnx_device(device), runtime
    chosen = choose_device(device)
    if runtime != 'auto':
        return chosen, runtime
    if chosen == 'cpu' and find_spec('openvino'):
        return chosen, 'openvino'
    if chosen == 'cpu' and find_spec('onnxruntime') and find_spec('onnxscript'):
        return chosen, 'onnx'
    return chosen, 'torch'


def _onnx_device(device: str) -> str:
    if not find_spec('onnxruntime'):
        raise DependencyError(
            "ONNX Runtime is not installed: `pip install onnxruntime` (on a Jetson NVIDIA's "
            'onnxruntime-gpu), or choose another runtime'
        )
    if device == 'auto':
        from siamffn_model.runtimes.onnx_runtime import quickest_device

        return quickest_device()
    device_number(device)
    return device


def prepare(model: Siamese, device: str = 'auto', runtime: str = 'auto') -> Runtime:
    """Make a model ready to track: only inference. It belongs to the runtime from then on.

    Raises `ConfigError` and `DependencyError` as `load_model`.
    """
    device, runtime = choose(device, runtime)
    model.eval().requires_grad_(False)
    if form := _format_of(runtime):
        return _start(convert(model, form), device, runtime)
    if runtime == 'torch' and device != 'cpu':
        from siamffn_model.runtimes.cuda_runtime import CUDARuntime

        return CUDARuntime(model, device)
    from siamffn_model.runtimes.torch_runtime import eager, optimised

    return eager(model, device) if runtime == 'eager' else optimised(model)


def _load_exported(name: str, folder: Path, device: str, runtime: str) -> Runtime:
    manifest = _read_manifest(name, folder)
    fitting = COMPUTED_BY[manifest.format]
    device, runtime = choose(device, fitting[0] if runtime == 'auto' else runtime)
    if runtime not in fitting:
        raise ConfigError(
            f'{folder} is of the format {manifest.format}, which the runtime {runtime!r} does not '
            f'compute: choose auto or {" or ".join(fitting)}, or give a .safetensors file'
        )
    return _start(
        format_module(manifest.format).read_graphs(folder, manifest.score_map), device, runtime
    )


def _read_manifest(name: str, folder: Path) -> Manifest:
    manifest = read_manifest(folder)
    if manifest.model != name:
        raise WeightsError(
            f'{folder} holds {manifest.model}, not {name}: choose the model {manifest.model}, or '
            'another folder'
        )
    if manifest.format == 'torchscript':  # a program, and nothing that is read is executed
        raise WeightsError(
            f'{folder} is TorchScript, which is for programs with libtorch: to track with it here, '
            'export to openvino or onnx, or give the .safetensors file'
        )
    return manifest


def _format_of(runtime: str) -> str:
    """Return the format that a runtime reads, '' for PyTorch, which takes the model itself."""
    form = runtime.partition('-')[0]
    return form if form in ('onnx', 'openvino') else ''


def _start(graphs: ExportedModules, device: str, runtime: str) -> Runtime:
    if runtime == 'onnx':
        from siamffn_model.runtimes.onnx_runtime import ONNXRuntime

        return ONNXRuntime(graphs, device)
    from siamffn_model.runtimes.openvino_runtime import OpenVINORuntime

    return OpenVINORuntime(graphs, runtime.partition('-')[2])


def free_memory() -> None:
    """Give back what a model that is gone has left: for a process of ours, not for a library."""
    gc.collect()
    if (torch := sys.modules.get('torch')) is None:
        return
    from siamffn_model.runtimes.torch_runtime import forget_traces

    forget_traces()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
