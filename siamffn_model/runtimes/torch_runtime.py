"""PyTorch as the inference engine, eager or optimised for the CPU, and tracing to TorchScript."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from siamffn_model.imaging.crop import SEARCH_SIZE, TEMPLATE_SIZE, View
from siamffn_model.networks.folding import fold_batch_norm
from siamffn_model.networks.inference_modules import inference_modules
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.networks.siamese import Siamese
from siamffn_model.runtimes.runtime import Floats, search_batches


class TorchRuntime:
    """The inference modules of a model in PyTorch. Crops are cut on the CPU.

    Args:
        name: name of the runtime, for people to read.
        template: maps crops (B, 127, 127, 3) to template features, as `TemplateModule`.
        search: maps crops (B, 255, 255, 3) and template features to candidates, as `SearchModule`.
        score_map: layout of the candidates.
        device: device of `template` and `search`.
    """

    def __init__(
        self,
        name: str,
        template: Callable[[Tensor], Sequence[Tensor]],
        search: Callable[..., Tensor],
        score_map: ScoreMap,
        device: str,
    ) -> None:
        self.name, self.score_map, self.device = name, score_map, device
        self._template, self._search = template, search

    def warm_up(self) -> None:
        """See `Runtime.warm_up`."""
        search_batches(self, [1])

    @torch.inference_mode()
    def template(self, view: View) -> Sequence[Tensor]:
        """See `Runtime.template`."""
        return self._template(self._crops([view], TEMPLATE_SIZE))

    def features(self, template: Sequence[Tensor]) -> Floats:
        """See `Runtime.features`."""
        return np.asarray(template[0][0].float().cpu().numpy(), float)

    @torch.inference_mode()
    def search(self, views: Sequence[View], templates: Sequence[Sequence[Tensor]]) -> Floats:
        """See `Runtime.search`; all views are one batch."""
        levels = [torch.cat(level) for level in zip(*templates)]
        candidates = self._search(self._crops(views, SEARCH_SIZE), *levels)
        return candidates.cpu().double().numpy()

    def _crops(self, views: Sequence[View], size: int) -> Tensor:
        crops = np.stack([view.crop(size) for view in views])
        return torch.from_numpy(crops).to(self.device)


def eager_runtime(model: Siamese, device: str) -> TorchRuntime:
    """Return a runtime for a model in evaluation mode without any optimisation."""
    modules = inference_modules(model.to(device))
    return TorchRuntime('PyTorch eager', *modules, model.score_map, device)


def optimised_runtime(model: Siamese) -> TorchRuntime:
    """Return a runtime on the CPU with folded batch norm and channels-last memory format.

    `model` must be in evaluation mode; it is changed in place.
    """
    fold_batch_norm(model)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return TorchRuntime('PyTorch f32', *inference_modules(model), model.score_map, 'cpu')


def trace(module: nn.Module, inputs: tuple[Tensor, ...]) -> torch.jit.ScriptModule:
    """Trace a module in evaluation mode with example inputs; shapes may become constants."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore', DeprecationWarning)  # torch.jit.trace is deprecated
        traced: torch.jit.ScriptModule = torch.jit.trace(module, inputs, check_trace=False)
        return traced


def clear_traced_types() -> None:
    """Clear PyTorch's registries of traced modules, which keep their weights in memory.

    Without this call the weights stay until the process ends. It affects all TorchScript in the
    process. PyTorch's own tests and OpenVINO's examples use the same three calls.
    """
    torch._C._jit_clear_class_registry()
    torch.jit._recursive.concrete_type_store = torch.jit._recursive.ConcreteTypeStore()
    torch.jit._state._clear_class_state()
