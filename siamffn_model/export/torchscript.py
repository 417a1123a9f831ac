"""Export to TorchScript, for programs that use libtorch.

A TorchScript file is a program, and this package executes nothing from a file: exported folders in
this format are written but never read.
"""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor

from siamffn_model.networks.folding import fold_batch_norm
from siamffn_model.networks.inference_modules import example_inputs, inference_modules
from siamffn_model.networks.siamese import Siamese
from siamffn_model.runtimes.exported import ExportedModules
from siamffn_model.runtimes.torch_runtime import TorchRuntime, trace


def convert(model: Siamese) -> ExportedModules:
    """Return the traced inference modules of a model in evaluation mode.

    Batch norm is folded into the convolutions of `model` in place.
    """
    fold_batch_norm(model)
    template, search = map(trace, inference_modules(model), example_inputs(model))
    return ExportedModules(template, search, model.score_map)


def save(modules: ExportedModules, folder: Path) -> None:
    """Write template.pt and search.pt to an existing folder."""
    for name in ('template', 'search'):
        data = io.BytesIO()
        torch.jit.save(getattr(modules, name), data)
        (folder / f'{name}.pt').write_bytes(data.getvalue())


def create_runtime(modules: ExportedModules) -> TorchRuntime:
    """Return a runtime on the CPU for the result of `convert`."""

    def search(crops: Tensor, *templates: Tensor) -> Tensor:
        """Search one crop at a time, because the batch size of a traced module is fixed."""
        inputs = zip(crops.split(1), *(template.split(1) for template in templates))
        return torch.cat([modules.search(*crop_inputs) for crop_inputs in inputs])

    return TorchRuntime('TorchScript', modules.template, search, modules.score_map, 'cpu')
