"""Conversion of models to the format of an inference engine."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from siamffn_model.errors import WeightsError, missing_package
from siamffn_model.networks.names import check_name
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.networks.weight_file import require_file
from siamffn_model.runtimes.exported import ExportedModules

if TYPE_CHECKING:  # importing PyTorch takes longer than the rest of the start of the node
    from siamffn_model.networks.siamese import Siamese


class FormatModule(Protocol):
    """A Python module that converts, writes and reads models in one of `exported.FORMATS`."""

    def convert_model(self, model: Siamese) -> ExportedModules:
        """Convert a model in evaluation mode, with batch norm folded."""

    def save_modules(self, modules: ExportedModules, folder: Path) -> None:
        """Write converted modules to a folder."""

    def read_modules(self, folder: Path, score_map: ScoreMap) -> ExportedModules:
        """Read the files of `save_modules`; raise `WeightsError` if that fails."""


def read_model(name: str, path: Path) -> Siamese:
    """Return the named model in evaluation mode with the weights of a file.

    Raises `ConfigError` for an unknown name, `WeightsError` for unusable weights and
    `DependencyError` if PyTorch is not installed.
    """
    require_torch(name, path)
    from siamffn_model.networks.zoo import create_model, load_weights

    model = create_model(name)
    load_weights(model, name, path)
    return model.eval().requires_grad_(False)


def require_torch(name: str, path: Path) -> None:
    """Raise `DependencyError` if PyTorch, which reads and converts weights, is not installed.

    Raises `ConfigError` if, besides, the name is unknown, and `WeightsError` if its weight file is
    missing or is none.
    """
    if not find_spec('torch'):
        check_name(name)
        require_file(path, name)
        if path.suffix != '.safetensors':
            raise WeightsError(
                f'{path} is no .safetensors file: give such a file, or the whole folder that '
                '`siamffn export` wrote'
            )
        alternative = 'give a folder that `siamffn export` wrote'
        raise missing_package('torch', f'reading {path}', 'torch', alternative)


def convert(model: Siamese, form: str) -> ExportedModules:
    """Convert a model in evaluation mode to 'onnx' or 'openvino'.

    Layers of `model` are merged in place, so do not train it afterwards.
    """
    from siamffn_model.networks.folding import fold_batch_norm

    fold_batch_norm(model)
    model.backbone.merge_convolutions()
    return format_module(form).convert_model(model)


def format_module(form: str) -> FormatModule:
    """Return the module that handles the format 'onnx' or 'openvino'."""
    if form == 'onnx':
        from siamffn_model.runtimes import onnx_format

        return onnx_format
    from siamffn_model.runtimes import openvino_runtime

    return openvino_runtime
