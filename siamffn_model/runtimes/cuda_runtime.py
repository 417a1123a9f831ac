"""A model computed by PyTorch on a GPU: one copy up, one CUDA graph, one copy down, one wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from siamffn_model.imaging.crop import SEARCH_SIZE, TEMPLATE_SIZE, View
from siamffn_model.networks.folding import fold_batch_norm
from siamffn_model.networks.inference_modules import example_inputs, stages
from siamffn_model.networks.siamese import Siamese
from siamffn_model.runtimes.gpu_crops import bytes_needed, head_size, pack, sample
from siamffn_model.runtimes.runtime import Floats

SIZES = (1, 2, 4, 8, 16, 32)  # of batches: each has a graph, made when it is first needed
WARM_UP = 3  # runs before a graph is captured, in which cuDNN tries its algorithms


class CUDARuntime:
    """A model in half precision on a GPU, with batch norm folded and channels last.

    Only the windows that views show are uploaded, and crops are cut there. On the CPU it does the
    same without graphs, in single precision: slowly, to be tested.
    """

    def __init__(self, model: Siamese, device: str) -> None:
        fold_batch_norm(model)
        self._cuda = device != 'cpu'
        kind = torch.half if self._cuda else torch.float
        model.to(device, kind, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._shapes = [tensor.shape[1:] for tensor in example_inputs(model)[1][1:]]
        self._template, self._search = stages(model)
        self.name, self.score_map, self.device = 'PyTorch f16', model.score_map, device
        self._kind = kind
        self._batches: dict[int, _Batch] = {}
        self._resize(1 << 22)

    def _resize(self, size: int) -> None:
        """Make room for so many bytes of windows; graphs read the old place, and are made anew."""
        self._host = torch.zeros(size, dtype=torch.uint8, pin_memory=self._cuda)
        self._buffer = torch.zeros(size, dtype=torch.uint8, device=self.device)
        self._batches.clear()

    def _upload(self, views: Sequence[View], crop_size: int, slots: int) -> None:
        needed = head_size(slots) + bytes_needed(views, crop_size)
        if needed > len(self._host):
            self._resize(2 * needed)
        used = pack(views, crop_size, slots, self._host.numpy())
        self._buffer[:used].copy_(self._host[:used], non_blocking=True)

    @torch.inference_mode()
    def template(self, view: View) -> list[Tensor]:
        """See `Runtime.template`."""
        self._upload([view], TEMPLATE_SIZE, 1)
        template = list(self._template(sample(self._buffer, 1, TEMPLATE_SIZE)))
        if self._cuda:  # the buffer of the upload is free again
            torch.cuda.synchronize(self.device)
        return template

    @torch.inference_mode()
    def search(self, views: Sequence[View], templates: Sequence[list[Tensor]]) -> Floats:
        """See `Runtime.search`: up to 32 views at once."""
        found = [np.empty((0, 5, self.score_map.candidates))]
        for start in range(0, len(views), SIZES[-1]):
            part = slice(start, start + SIZES[-1])
            found.append(self._search_part(views[part], templates[part]))
        return np.concatenate(found)

    def _search_part(self, views: Sequence[View], templates: Sequence[list[Tensor]]) -> Floats:
        size = next(size for size in SIZES if size >= len(views))
        self._upload(views, SEARCH_SIZE, size)
        if size not in self._batches:
            self._batches[size] = self._make_batch(size)
        return self._batches[size].run(templates)[: len(views)].double().numpy()

    def _make_batch(self, size: int) -> _Batch:
        levels = [
            torch.zeros(size, *shape, dtype=self._kind, device=self.device)
            for shape in self._shapes
        ]
        buffer = self._buffer

        def compute() -> Tensor:
            candidates: Tensor = self._search(sample(buffer, size, SEARCH_SIZE), *levels)
            return candidates

        return _Batch(compute, levels, self.device if self._cuda else '')


class _Batch:
    """Searches of a certain number of views at once, what they read and where.

    Args:
        compute: the search, which always reads the same memory.
        levels: the templates that it reads.
        cuda: the device whose graph it becomes; empty for none.
    """

    def __init__(self, compute: Callable[[], Tensor], levels: list[Tensor], cuda: str) -> None:
        self._compute, self._levels = compute, levels
        self._known: list[object] = [None] * len(levels[0])
        self._graph: torch.cuda.CUDAGraph | None = None
        if cuda:
            with torch.cuda.device(cuda), torch.backends.cudnn.flags(benchmark=True):
                self._capture()

    def _capture(self) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._compute()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._found = self._compute()
        self._graph = graph
        self._answer = torch.empty(self._found.shape, pin_memory=True)

    def run(self, templates: Sequence[list[Tensor]]) -> Tensor:
        """Return the candidates on the CPU, of what was uploaded before."""
        for place, template in enumerate(templates):
            if self._known[place] is not template:
                for level, own in zip(self._levels, template):
                    level[place].copy_(own[0])
                self._known[place] = template
        if self._graph is None:
            return self._compute()
        with torch.cuda.device(self._found.device):
            self._graph.replay()
            self._answer.copy_(self._found, non_blocking=True)
            torch.cuda.current_stream().synchronize()
        return self._answer
