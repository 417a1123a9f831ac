"""From a model's name to what tracks with it: weights, device, and the quickest runtime."""

from __future__ import annotations

import gc
import hashlib
import shutil
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from siamffn_model.errors import DataError, SiamFFNError, WeightsError
from siamffn_model.files import cache_folder
from siamffn_model.runtimes.devices import choose_device
from siamffn_model.runtimes.exported import Card, read_card, writing
from siamffn_model.runtimes.runtime import Runtime

if TYPE_CHECKING:  # its import takes longer than the start of a node: only where it is needed
    from siamffn_model.networks.siamese import Siamese
    from siamffn_model.runtimes.openvino_runtime import Graphs

PACKAGE = Path(__file__).resolve().parents[1]
WEIGHTS = PACKAGE / 'weights'
NETWORKS = PACKAGE / 'networks'

RUNTIMES = {
    'auto': 'the quickest that is installed',
    'eager': 'PyTorch, the network as it was trained',
    'torch': 'PyTorch, made quick: on CUDA in half precision, each search one CUDA graph',
    'openvino': 'OpenVINO in the precision that is quickest on this CPU',
    'openvino-f32': 'OpenVINO in single precision',
}
KEPT = 4  # models that OpenVINO's cache holds


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
        SiamFFNError: an unknown name, device or runtime, or one that is not there.
    """
    path = weight_file(name, weights)
    if path.is_dir():
        return _load_exported(name, path, runtime)
    device, runtime = choose(device, runtime)
    if runtime.startswith('openvino'):
        return _openvino(_cached_graphs(name, path), runtime)
    return prepare(_read(name, path), device, runtime)


def weight_file(name: str, weights: Path | str | None = None) -> Path:
    """Return what `load_model` reads."""
    return Path(weights) if weights else WEIGHTS / f'{name}.safetensors'


def check(name: str, path: Path) -> None:
    """Raise what `load_model` raises for weights that cannot be used, without loading them."""
    if path.is_dir():
        _read_card(name, path)
    else:
        from siamffn_model.networks.zoo import read_weights

        read_weights(path, name)


def fingerprint(*paths: Path) -> str:
    """Return the SHA-256 of files, one after the other, and of all files in folders."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def choose(device: str, runtime: str) -> tuple[str, str]:
    """Return device and runtime, for 'auto' the quickest there; raises `SiamFFNError`."""
    if runtime not in RUNTIMES:
        raise SiamFFNError(f'unknown runtime {runtime!r}: choose one of {", ".join(RUNTIMES)}')
    if runtime.startswith('openvino'):
        if device not in ('auto', 'cpu'):
            raise SiamFFNError(f'OpenVINO runs on the CPU here, not on {device!r}: choose cpu')
        if not find_spec('openvino'):
            raise SiamFFNError(
                'OpenVINO is not installed: `pip install openvino`, or choose another runtime'
            )
        return 'cpu', runtime
    chosen = choose_device(device)
    if runtime != 'auto':
        return chosen, runtime
    return chosen, 'openvino' if chosen == 'cpu' and find_spec('openvino') else 'torch'


def prepare(model: Siamese, device: str = 'auto', runtime: str = 'auto') -> Runtime:
    """Make a model ready to track: only inference. It belongs to the runtime from then on.

    Raises `SiamFFNError` as `load_model`.
    """
    device, runtime = choose(device, runtime)
    model.eval().requires_grad_(False)
    if runtime.startswith('openvino'):
        return _openvino(_convert(model), runtime)
    if runtime == 'torch' and device != 'cpu':
        from siamffn_model.runtimes.cuda_runtime import CUDARuntime

        return CUDARuntime(model, device)
    from siamffn_model.runtimes.torch_runtime import eager, optimised

    return eager(model, device) if runtime == 'eager' else optimised(model)


def _read(name: str, path: Path) -> Siamese:
    from siamffn_model.networks.zoo import create_model, load_weights

    model = create_model(name)
    load_weights(model, name, path)
    return model.eval().requires_grad_(False)


def _load_exported(name: str, folder: Path, runtime: str) -> Runtime:
    card = _read_card(name, folder)
    from siamffn_model.runtimes.openvino_runtime import read_graphs

    return _openvino(read_graphs(folder, card.score_map), runtime)


def _read_card(name: str, folder: Path) -> Card:
    card = read_card(folder)
    if card.model != name:
        raise WeightsError(
            f'{folder} holds {card.model}, not {name}: choose the model {card.model}, or another '
            'folder'
        )
    return card


def _openvino(graphs: Graphs, runtime: str) -> Runtime:
    from siamffn_model.runtimes.openvino_runtime import OpenVINORuntime

    return OpenVINORuntime(graphs, runtime.partition('-')[2])


def _convert(model: Siamese) -> Graphs:
    from siamffn_model.networks.folding import fold_batch_norm
    from siamffn_model.runtimes.openvino_runtime import convert_model

    fold_batch_norm(model)
    return convert_model(model)


def _cached_graphs(name: str, path: Path) -> Graphs:
    """Return a model as OpenVINO reads it: to convert it takes PyTorch, and seconds, but once."""
    from siamffn_model.runtimes.openvino_runtime import read_graphs, save_graphs

    folder = cache_folder() / 'openvino' / f'{name}-{_key(path)}'
    try:
        return read_graphs(folder, read_card(folder).score_map)
    except WeightsError:  # not there, or damaged
        shutil.rmtree(folder, ignore_errors=True)
    graphs = _convert(_read(name, path))
    try:
        with writing(folder, Card(name, 'openvino', graphs.score_map)) as partial:
            save_graphs(graphs, partial)
        for old in sorted(folder.parent.iterdir(), key=lambda f: f.stat().st_mtime)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    except (DataError, OSError, RuntimeError):
        pass  # a cache that cannot be written costs time at the next start, no more
    return graphs


def _key(path: Path) -> str:
    """Return a text that changes with all that a converted model depends on."""
    files = [path] if path.is_file() else []
    code = fingerprint(*files, *sorted(NETWORKS.glob('*.py')))
    return f'{version("openvino")}-{code[:16]}'


def free_memory() -> None:
    """Give back what a model that is gone has left: for a process of ours, not for a library."""
    gc.collect()
    if (torch := sys.modules.get('torch')) is None:
        return
    from siamffn_model.runtimes.torch_runtime import forget_traces

    forget_traces()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
