"""A model computed by PyTorch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from siamffn_model.imaging.crop import SEARCH_SIZE, TEMPLATE_SIZE, View
from siamffn_model.networks.folding import fold_batch_norm
from siamffn_model.networks.inference_modules import stages
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.networks.siamese import Siamese
from siamffn_model.runtimes.runtime import Floats


class TorchRuntime:
    """The two stages of a model in PyTorch (see `networks.stages`); crops are cut on the CPU.

    Args:
        name: of the runtime, in words.
        template: the template stage, on the device.
        search: the search stage, on the device.
        score_map: of the model.
        device: where crops are sent.
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

    @torch.inference_mode()
    def template(self, view: View) -> Sequence[Tensor]:
        """See `Runtime.template`."""
        return self._template(self._tensor([view], TEMPLATE_SIZE))

    @torch.inference_mode()
    def search(self, views: Sequence[View], templates: Sequence[Sequence[Tensor]]) -> Floats:
        """See `Runtime.search`: all views at once."""
        together = [torch.cat(level) for level in zip(*templates)]
        candidates = self._search(self._tensor(views, SEARCH_SIZE), *together)
        return candidates.cpu().double().numpy()

    def _tensor(self, views: Sequence[View], size: int) -> Tensor:
        crops = np.stack([view.crop(size) for view in views])
        return torch.from_numpy(crops).to(self.device)


def eager(model: Siamese, device: str) -> TorchRuntime:
    """Return a model in evaluation mode as it was trained, in single precision."""
    return TorchRuntime('PyTorch eager', *stages(model.to(device)), model.score_map, device)


def optimised(model: Siamese) -> TorchRuntime:
    """Return a model in evaluation mode made quick on the CPU."""
    fold_batch_norm(model)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return TorchRuntime('PyTorch f32', *stages(model), model.score_map, 'cpu')


def trace(module: nn.Module, inputs: tuple[Tensor, ...]) -> torch.jit.ScriptModule:
    """Return the TorchScript of what a module in evaluation mode does with such inputs."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore', DeprecationWarning)  # of torch.jit: this is what it is for
        traced: torch.jit.ScriptModule = torch.jit.trace(module, inputs, check_trace=False)
        return traced


def forget_traces() -> None:
    """Free what PyTorch keeps of each module traced, its weights included, as long as the process.

    It keeps the types of all traced modules, so call it where no other code uses TorchScript. These
    are the calls by which PyTorch's own tests and OpenVINO's examples do it.
    """
    torch._C._jit_clear_class_registry()
    torch.jit._recursive.concrete_type_store = torch.jit._recursive.ConcreteTypeStore()
    torch.jit._state._clear_class_state()
