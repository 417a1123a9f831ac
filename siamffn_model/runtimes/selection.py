"""Loading a model by name: weights, device and inference engine."""

from __future__ import annotations

import gc
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from siamffn_model.errors import ConfigError, WeightsError, missing_package
from siamffn_model.networks.names import DEFAULT_MODEL
from siamffn_model.runtimes import nanotrack
from siamffn_model.runtimes.cache import load_cached
from siamffn_model.runtimes.conversion import convert, format_module, read_model, require_torch
from siamffn_model.runtimes.devices import choose_device, device_index, has_driver
from siamffn_model.runtimes.exported import ExportedModules, Manifest, read_manifest
from siamffn_model.runtimes.runtime import Runtime

if TYPE_CHECKING:  # importing PyTorch takes longer than the rest of the start of the node
    from siamffn_model.networks.siamese import Siamese

WEIGHTS = Path(__file__).resolve().parents[1] / 'weights'

RUNTIMES = (
    'auto',  # the fastest one that is installed
    'eager',  # PyTorch without optimisation, as in training
    'torch',  # PyTorch with folded batch norm; on CUDA in half precision with CUDA graphs
    'openvino',  # in the precision that is fastest on this CPU
    'openvino-f32',  # in single precision
    'onnx',  # ONNX Runtime on CPU, CUDA or TensorRT
)
FORMAT_RUNTIMES = {  # the runtimes of each format that can be loaded, the fastest first
    'onnx': ('openvino', 'openvino-f32', 'onnx'),
    'openvino': ('openvino', 'openvino-f32'),
}
OTHER_RUNTIME = 'choose another runtime'


def load_model(
    name: str = DEFAULT_MODEL,
    weights: Path | str | None = None,
    device: str = 'auto',
    runtime: str = 'auto',
) -> Runtime:
    """Return the named model with its weights, ready for tracking.

    Args:
        name: one of `networks.zoo.MODELS`, or 'nanotrack'.
        weights: a safetensors file from `networks.zoo.save_weights` or a folder from
            `siamffn export`, for 'nanotrack' the folder of its ONNX files; None selects the weights
            in this package, which runs those of the default model without PyTorch.
        device: 'cpu', 'cuda', 'cuda:1', ... or 'auto' (CUDA if available).
        runtime: one of `RUNTIMES`.

    Raises:
        WeightsError: the weights are missing, damaged or belong to another model.
        ConfigError: an unknown name, device or runtime, or a combination that is not supported.
        DependencyError: a device or a package is not available.
    """
    path = weight_file(name, weights)
    if name == nanotrack.MODEL:
        return _load_nanotrack(path, device, runtime)
    if path.is_dir():
        return _load_exported(name, path, device, runtime)
    converted = _converted(name, weights)
    if converted and runtime == 'auto' and _runs_converted(device):
        return _load_exported(name, converted, device, runtime)
    device, runtime = choose_runtime(device, runtime)
    if converted and runtime in FORMAT_RUNTIMES['onnx']:
        return _load_exported(name, converted, device, runtime)
    if form := _format_of(runtime):
        start = partial(_start, device=device, runtime=runtime)
        return load_cached(form, name, path, start)
    return prepare(read_model(name, path), device, runtime)


def weight_file(name: str, weights: Path | str | None = None) -> Path:
    """Return the file or folder that `load_model` reads for these arguments.

    Raises `WeightsError` for 'nanotrack' without weights.
    """
    if name == nanotrack.MODEL and not weights:
        raise WeightsError(
            f'the weights of the model {name} are not in this package: give the folder of '
            f'{" and ".join(nanotrack.FILES)}, from {nanotrack.SOURCE}, as weights'
        )
    return Path(weights) if weights else WEIGHTS / f'{name}.safetensors'


def _converted(name: str, weights: Path | str | None) -> Path | None:
    """Return the folder with the ONNX files of the weights in this package, if there is one."""
    folder = WEIGHTS / name
    return folder if not weights and folder.is_dir() else None


def _runs_converted(device: str) -> bool:
    """Return whether ONNX files are the fastest choice for a device: PyTorch is on its GPU."""
    return _has_engine() and device in ('auto', 'cpu') and choose_device(device) == 'cpu'


def _has_engine() -> bool:
    """Return whether an inference engine for ONNX files is installed."""
    return bool(find_spec('openvino') or find_spec('onnxruntime'))


def check_weights(name: str, weights: Path | str | None) -> None:
    """Check weights without loading them; raises as `load_model` does for unusable weights."""
    path = _converted(name, weights) or weight_file(name, weights)
    if name == nanotrack.MODEL:
        nanotrack.check_files(path)
    elif path.is_dir():
        _read_manifest(name, path)
    else:
        require_torch(name, path)
        from siamffn_model.networks.zoo import read_weights

        read_weights(path, name)


def choose_runtime(device: str, runtime: str) -> tuple[str, str]:
    """Return device and runtime, with 'auto' replaced by the fastest that is available.

    Raises `ConfigError` and `DependencyError` as `load_model`.
    """
    if runtime not in RUNTIMES:
        raise ConfigError(f'unknown runtime {runtime!r}: choose one of {", ".join(RUNTIMES)}')
    if runtime.startswith('openvino'):
        if device not in ('auto', 'cpu'):
            device_index(device)  # raises for an unknown name
            raise ConfigError(
                f'OpenVINO is supported on the CPU only, not on {device!r}: choose cpu'
            )
        if not find_spec('openvino'):
            raise missing_package('openvino', f'the runtime {runtime!r}', 'openvino', OTHER_RUNTIME)
        return 'cpu', runtime
    if runtime == 'onnx':
        return _choose_onnx_device(device), runtime
    if not find_spec('torch'):
        return _choose_without_torch(device, runtime)
    chosen = choose_device(device)
    if runtime != 'auto':
        return chosen, runtime
    if chosen == 'cpu' and find_spec('openvino'):
        return chosen, 'openvino'
    if chosen == 'cpu' and find_spec('onnxruntime') and find_spec('onnxscript'):
        return chosen, 'onnx'
    return chosen, 'torch'


def _choose_without_torch(device: str, runtime: str) -> tuple[str, str]:
    """Return device and runtime where PyTorch is not installed."""
    if runtime != 'auto':
        raise missing_package('torch', f'the runtime {runtime!r}', 'torch', OTHER_RUNTIME)
    if not _has_engine():
        alternative = 'install the extra [onnx] or [torch] instead'
        raise missing_package('openvino', 'tracking', 'openvino', alternative)
    return choose_runtime(device, _fastest_engine(device))


def _fastest_engine(device: str) -> str:
    """Return the runtime that executes ONNX files fastest on a device, of those installed."""
    on_gpu = find_spec('onnxruntime') and _choose_onnx_device(device) != 'cpu'
    return 'onnx' if on_gpu or not find_spec('openvino') else 'openvino'


def _choose_onnx_device(device: str) -> str:
    if not find_spec('onnxruntime'):
        alternative = f"on a Jetson install NVIDIA's onnxruntime-gpu, or {OTHER_RUNTIME}"
        raise missing_package('onnxruntime', "the runtime 'onnx'", 'onnx', alternative)
    if device == 'auto':
        if not has_driver():  # ONNX Runtime need not be imported
            return 'cpu'
        from siamffn_model.runtimes.onnx_runtime import fastest_device

        return fastest_device()
    device_index(device)  # raises for an unknown name
    return device


def prepare(model: Siamese, device: str = 'auto', runtime: str = 'auto') -> Runtime:
    """Prepare a model in memory for tracking, as `load_model` does.

    The runtime takes over the model and changes it, so do not use the model afterwards.
    """
    device, runtime = choose_runtime(device, runtime)
    model.eval().requires_grad_(False)
    if form := _format_of(runtime):
        return _start(convert(model, form), device, runtime)
    if runtime == 'torch' and device != 'cpu':
        from siamffn_model.runtimes.cuda_runtime import CUDARuntime

        return CUDARuntime(model, device)
    from siamffn_model.runtimes.torch_runtime import eager_runtime, optimised_runtime

    return eager_runtime(model, device) if runtime == 'eager' else optimised_runtime(model)


def _load_exported(name: str, folder: Path, device: str, runtime: str) -> Runtime:
    manifest = _read_manifest(name, folder)
    supported = FORMAT_RUNTIMES[manifest.format]
    if runtime == 'auto':
        runtime = _fastest_of(supported, device)
    device, runtime = choose_runtime(device, runtime)
    if runtime not in supported:
        raise ConfigError(
            f'{folder} has the format {manifest.format}, which the runtime {runtime!r} does not '
            f'support: choose auto or {" or ".join(supported)}, or give a .safetensors file'
        )
    modules = format_module(manifest.format).read_modules(folder, manifest.score_map)
    return _start(modules, device, runtime)


def _load_nanotrack(folder: Path, device: str, runtime: str) -> Runtime:
    if runtime == 'auto':
        runtime = _fastest_of(FORMAT_RUNTIMES['onnx'], device)
    device, runtime = choose_runtime(device, runtime)
    if not _format_of(runtime):
        raise ConfigError(
            f'{nanotrack.MODEL} does not support the runtime {runtime!r}: choose auto, '
            'openvino, openvino-f32 or onnx'
        )
    return _start(nanotrack.read_modules(folder), device, runtime)


def _fastest_of(supported: tuple[str, ...], device: str) -> str:
    """Return the fastest of these runtimes that is installed, for a device."""
    if 'onnx' not in supported:
        return supported[0] if find_spec('openvino') else supported[-1]
    return _fastest_engine(device) if device in ('auto', 'cpu') else 'onnx'


def _read_manifest(name: str, folder: Path) -> Manifest:
    manifest = read_manifest(folder)
    if manifest.model != name:
        raise WeightsError(
            f'{folder} contains {manifest.model}, not {name}: choose the model {manifest.model} '
            'or another folder'
        )
    if manifest.format == 'torchscript':  # loading it would execute the program in the file
        raise WeightsError(
            f'{folder} is TorchScript, which is for programs that use libtorch: for tracking, '
            'export to openvino or onnx, or give the .safetensors file'
        )
    return manifest


def _format_of(runtime: str) -> str:
    """Return the export format that a runtime needs, or '' for PyTorch."""
    form = runtime.partition('-')[0]
    return form if form in FORMAT_RUNTIMES else ''


def _start(modules: ExportedModules, device: str, runtime: str) -> Runtime:
    if runtime == 'onnx':
        from siamffn_model.runtimes.onnx_runtime import ONNXRuntime

        return ONNXRuntime(modules, device)
    from siamffn_model.runtimes.openvino_runtime import OpenVINORuntime, read_onnx

    if isinstance(modules.search, bytes):
        modules = read_onnx(modules)
    return OpenVINORuntime(modules, runtime.partition('-')[2])


def free_memory() -> None:
    """Free the memory that deleted models have left behind in caches of Python and PyTorch.

    It clears state that all of a process shares, so call it from applications, not from libraries.
    """
    gc.collect()
    if (torch := sys.modules.get('torch')) is None:
        return
    from siamffn_model.runtimes.torch_runtime import clear_traced_types

    clear_traced_types()
    if torch.cuda.is_available():
        from siamffn_model.runtimes.cuda_runtime import CAPTURE_LOCK

        with CAPTURE_LOCK:
            torch.cuda.empty_cache()
