"""TorchScript, which is only for export: for programs with libtorch."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from siamffn_model.networks.folding import fold_batch_norm
from siamffn_model.networks.inference_modules import example_inputs, stages
from siamffn_model.networks.siamese import Siamese
from siamffn_model.runtimes.exported import ExportedModules
from siamffn_model.runtimes.torch_runtime import TorchRuntime, trace


def convert(model: Siamese) -> ExportedModules:
    """Return the TorchScript of a model in evaluation mode, whose batch norm it folds."""
    fold_batch_norm(model)
    template, search = map(trace, stages(model), example_inputs(model))
    return ExportedModules(template, search, model.score_map)


def save(modules: ExportedModules, folder: Path) -> None:
    """Write template.pt and search.pt."""
    for name in ('template', 'search'):
        getattr(modules, name).save(str(folder / f'{name}.pt'))


def create_runtime(modules: ExportedModules) -> TorchRuntime:
    """Return a runtime on the CPU for the result of `convert`."""

    def search(crops: Tensor, *levels: Tensor) -> Tensor:
        """Search one crop after the other: a trace has the number of crops fixed."""
        singly = zip(crops.split(1), *(level.split(1) for level in levels))
        return torch.cat([modules.search(*inputs) for inputs in singly])

    return TorchRuntime('TorchScript', modules.template, search, modules.score_map, 'cpu')
