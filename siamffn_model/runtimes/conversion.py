"""Models converted to the format of an inference engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.runtimes.exported import ExportedModules

if TYPE_CHECKING:  # its import takes longer than the start of a node: only where it is needed
    from siamffn_model.networks.siamese import Siamese


class Format(Protocol):
    """What makes graphs in one of `exported.FORMATS`, writes them and reads them: a module."""

    def convert_model(self, model: Siamese) -> ExportedModules:
        """Return the graphs of a model in evaluation mode, its batch norm folded."""

    def save_graphs(self, graphs: ExportedModules, folder: Path) -> None:
        """Write them to a folder."""

    def read_graphs(self, folder: Path, score_map: ScoreMap) -> ExportedModules:
        """Read what `save_graphs` wrote; raises `WeightsError`."""


def read_model(name: str, path: Path) -> Siamese:
    """Return a model in evaluation mode with the weights of a file; raises as `load_model`."""
    from siamffn_model.networks.zoo import create_model, load_weights

    model = create_model(name)
    load_weights(model, name, path)
    return model.eval().requires_grad_(False)


def convert(model: Siamese, form: str) -> ExportedModules:
    """Return a model in evaluation mode, which is of no more use, in one of `exported.FORMATS`."""
    from siamffn_model.networks.folding import fold_batch_norm

    fold_batch_norm(model)
    return format_module(form).convert_model(model)


def format_module(form: str) -> Format:
    """Return what makes, writes and reads one of `exported.FORMATS`."""
    if form == 'onnx':
        from siamffn_model.runtimes import onnx_runtime

        return onnx_runtime
    from siamffn_model.runtimes import openvino_runtime

    return openvino_runtime
