"""The user's cache of converted models."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from siamffn_model.atomic_io import cache_folder
from siamffn_model.errors import DataError, WeightsError
from siamffn_model.runtimes.conversion import convert, format_module, read_model
from siamffn_model.runtimes.exported import ExportedModules, Manifest, read_manifest, writing
from siamffn_model.runtimes.runtime import Runtime

PACKAGE = Path(__file__).resolve().parents[1]
CODE = PACKAGE / 'networks', PACKAGE / 'runtimes'  # what a converted model comes from
KEPT = 4  # models that the cache holds of each format


def load_cached(
    form: str, name: str, path: Path, start: Callable[[ExportedModules], Runtime]
) -> Runtime:
    """Start a model in a format: to convert it takes PyTorch, and seconds, but once."""
    folder = cache_folder() / form / f'{name}-{_key(form, path)}'
    try:
        return start(format_module(form).read_graphs(folder, read_manifest(folder).score_map))
    except WeightsError:  # not there, or damaged
        shutil.rmtree(folder, ignore_errors=True)
    modules = convert(read_model(name, path), form)
    try:
        with writing(folder, Manifest(name, form, modules.score_map)) as partial:
            format_module(form).save_graphs(modules, partial)
        _evict(folder.parent)
    except (DataError, OSError, RuntimeError):
        pass  # a cache that cannot be written costs time at the next start, no more
    return start(modules)


def _evict(folder: Path) -> None:
    """Remove all models but the newest."""
    for old in sorted(folder.iterdir(), key=lambda f: f.stat().st_mtime)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def _key(form: str, path: Path) -> str:
    """Return a text that changes with all that a converted model depends on."""
    files = [path] if path.is_file() else []
    sources = [file for folder in CODE for file in sorted(folder.glob('*.py'))]
    code = fingerprint(*files, *sources)
    converter = {'openvino': 'openvino', 'onnx': 'torch'}[form]
    return f'{version(converter)}-{code[:16]}'


def fingerprint(*paths: Path) -> str:
    """Return the SHA-256 of files, one after the other, and of all files in folders."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()
