"""PyTorch on a GPU with CUDA graphs: one upload, one graph launch and one download per search."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from siamffn_model.imaging.crop import SEARCH_SIZE, TEMPLATE_SIZE, View
from siamffn_model.networks.folding import fold_batch_norm
from siamffn_model.networks.inference_modules import example_inputs, inference_modules
from siamffn_model.networks.siamese import Siamese
from siamffn_model.runtimes.gpu_crops import buffer_size, pack_views, sample_crops
from siamffn_model.runtimes.runtime import Floats, search_batches

BATCH_SIZES = (1, 2, 4, 8, 16, 32)  # one CUDA graph each
WARM_UP_RUNS = 3  # before a capture; cuDNN benchmarks its algorithms in these runs

# Held during a capture, and while the memory that PyTorch caches is released: both wait for the
# device, which would break a capture in another thread.
CAPTURE_LOCK = threading.Lock()


class CUDARuntime:
    """A model in half precision on a GPU, with folded batch norm and channels-last memory format.

    Only the image regions that views cover are uploaded; crops are sampled on the GPU. With the
    device 'cpu' it does the same in single precision without CUDA graphs, which is slow and meant
    for tests.

    Args:
        model: in evaluation mode; it is changed in place.
        device: 'cuda', 'cuda:N' or 'cpu'.
    """

    def __init__(self, model: Siamese, device: str) -> None:
        fold_batch_norm(model)
        self._cuda = device != 'cpu'
        self._dtype = torch.half if self._cuda else torch.float
        model.to(device, self._dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._level_shapes = [tensor.shape[1:] for tensor in example_inputs(model)[1][1:]]
        self._template, self._search = inference_modules(model)
        self.name, self.score_map, self.device = 'PyTorch f16', model.score_map, device
        self._searches: dict[int, _BatchSearch] = {}
        size = buffer_size(BATCH_SIZES[-1], SEARCH_SIZE)
        self._host = torch.zeros(size, dtype=torch.uint8, pin_memory=self._cuda)
        self._buffer = torch.zeros(size, dtype=torch.uint8, device=device)
        self._pool = torch.cuda.graph_pool_handle() if self._cuda else None

    def warm_up(self) -> None:
        """See `Runtime.warm_up`; captures the CUDA graphs of all batch sizes.

        The number of targets and of cameras that share the model can rise at any time.
        """
        # The largest first: the graphs of the others share its memory.
        search_batches(self, BATCH_SIZES[::-1] if self._cuda else [1])

    def _upload(self, views: Sequence[View], crop_size: int, slots: int) -> None:
        used = pack_views(views, crop_size, slots, self._host.numpy())
        self._buffer[:used].copy_(self._host[:used], non_blocking=True)

    @torch.inference_mode()
    def template(self, view: View) -> list[Tensor]:
        """See `Runtime.template`."""
        self._upload([view], TEMPLATE_SIZE, 1)
        template = list(self._template(sample_crops(self._buffer, 1, TEMPLATE_SIZE)))
        if self._cuda:  # wait until the upload buffer can be written again
            torch.cuda.current_stream(self.device).synchronize()
        return template

    def features(self, template: list[Tensor]) -> Floats:
        """See `Runtime.features`."""
        return np.asarray(template[0][0].float().cpu().numpy(), float)

    @torch.inference_mode()
    def search(self, views: Sequence[View], templates: Sequence[list[Tensor]]) -> Floats:
        """See `Runtime.search`; at most 32 views are one batch."""
        candidates = [np.empty((0, 5, self.score_map.candidates))]
        for start in range(0, len(views), BATCH_SIZES[-1]):
            part = slice(start, start + BATCH_SIZES[-1])
            candidates.append(self._search_batch(views[part], templates[part]))
        return np.concatenate(candidates)

    def _search_batch(self, views: Sequence[View], templates: Sequence[list[Tensor]]) -> Floats:
        size = next(size for size in BATCH_SIZES if size >= len(views))
        self._upload(views, SEARCH_SIZE, size)
        if size not in self._searches:
            self._searches[size] = self._create_search(size)
        return self._searches[size].run(templates)[: len(views)].double().numpy()

    def _create_search(self, size: int) -> _BatchSearch:
        levels = [
            torch.zeros(size, *shape, dtype=self._dtype, device=self.device)
            for shape in self._level_shapes
        ]
        buffer, search = self._buffer, self._search  # not `self`: no reference cycle

        def compute() -> Tensor:
            candidates: Tensor = search(sample_crops(buffer, size, SEARCH_SIZE), *levels)
            return candidates

        batch_search = _BatchSearch(compute, levels)
        if self._pool:
            with CAPTURE_LOCK, torch.cuda.device(self.device):
                batch_search.capture(self._pool)
        return batch_search


@cache
def _capture_stream(device: int) -> torch.cuda.Stream:
    """Return the stream for captures; there is only one, since cuBLAS keeps memory for each."""
    return torch.cuda.Stream(device)


class _BatchSearch:
    """The search for one batch size, with its template inputs and, once captured, its CUDA graph.

    Args:
        compute: runs the search; always reads the same memory.
        levels: template features (B, C, h, w) that `compute` reads.
    """

    def __init__(self, compute: Callable[[], Tensor], levels: list[Tensor]) -> None:
        self._compute, self._levels = compute, levels
        self._copied: list[object] = [None] * len(levels[0])  # the template in each batch entry
        self._graph: torch.cuda.CUDAGraph | None = None

    def capture(self, pool: Any) -> None:
        """Capture the CUDA graph on the current device.

        Other threads may use the GPU meanwhile: in the mode `thread_local` their calls do not break
        the capture. They must not wait for the whole device, only for their stream.

        Args:
            pool: handle of the memory that all graphs of a runtime share.
        """
        current, stream = torch.cuda.current_stream(), _capture_stream(torch.cuda.current_device())
        graph = torch.cuda.CUDAGraph()
        stream.wait_stream(current)
        with torch.cuda.stream(stream), torch.backends.cudnn.flags(enabled=True, benchmark=True):
            for _ in range(WARM_UP_RUNS):
                self._compute()
            with torch.cuda.graph(graph, pool, stream, capture_error_mode='thread_local'):
                self._output = self._compute()
        self._host_output = torch.empty(self._output.shape, pin_memory=True)
        self._graph = graph

    def run(self, templates: Sequence[list[Tensor]]) -> Tensor:
        """Search the uploaded views; return candidates (B, 5, N) in memory of the CPU."""
        for index, template in enumerate(templates):
            if self._copied[index] is not template:
                for level, features in zip(self._levels, template):
                    level[index].copy_(features[0])
                self._copied[index] = template
        if self._graph is None:
            return self._compute()
        with torch.cuda.device(self._output.device):
            self._graph.replay()
            self._host_output.copy_(self._output, non_blocking=True)
            torch.cuda.current_stream().synchronize()
        return self._host_output
