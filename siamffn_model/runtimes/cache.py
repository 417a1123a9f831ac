"""The user's cache of converted models, which saves PyTorch's import and seconds per start."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from siamffn_model.atomic_io import cache_folder, evict_folders
from siamffn_model.errors import DataError, WeightsError
from siamffn_model.runtimes.conversion import convert, format_module, read_model, require_torch
from siamffn_model.runtimes.exported import (
    ExportedModules,
    Manifest,
    fingerprint,
    read_manifest,
    write_exported,
)
from siamffn_model.runtimes.runtime import Runtime

PACKAGE = Path(__file__).resolve().parents[1]
CONVERSION_CODE = PACKAGE / 'networks', PACKAGE / 'runtimes'  # part of the cache key
MAX_MODELS = 4  # cached models of each format


def load_cached(
    form: str, name: str, path: Path, start: Callable[[ExportedModules], Runtime]
) -> Runtime:
    """Start a runtime with the cached conversion of a model; convert the model if there is none.

    Args:
        form: 'onnx' or 'openvino'.
        name: one of `networks.zoo.MODELS`.
        path: the weight file.
        start: creates the runtime; raises `WeightsError` if the modules are damaged.

    Raises:
        ConfigError: an unknown name.
        WeightsError: unusable weights.
        DependencyError: PyTorch is not installed, and the key or the conversion needs it.
    """
    if form == 'onnx':
        require_torch(name, path)
    folder = cache_folder() / form / f'{name}-{_key(form, path)}'
    try:
        return start(format_module(form).read_modules(folder, read_manifest(folder).score_map))
    except WeightsError:  # not cached yet, or damaged
        shutil.rmtree(folder, ignore_errors=True)
    modules = convert(read_model(name, path), form)
    try:
        with write_exported(folder, Manifest(name, form, modules.score_map)) as partial:
            format_module(form).save_modules(modules, partial)
        evict_folders(folder.parent, MAX_MODELS)
    except (DataError, OSError, RuntimeError):
        pass  # without a cache the next start converts the model again
    return start(modules)


def _key(form: str, path: Path) -> str:
    """Return a key of all that a conversion depends on: weights, code and converter version."""
    weights = [path] if path.is_file() else []
    sources = [file for folder in CONVERSION_CODE for file in sorted(folder.glob('*.py'))]
    digest = fingerprint(*weights, *sources)
    converter = {'openvino': 'openvino', 'onnx': 'torch'}[form]
    return f'{version(converter)}-{digest[:16]}'
