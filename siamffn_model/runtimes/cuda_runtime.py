"""PyTorch on a GPU with CUDA graphs: one upload, one graph launch and one download per search."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from siamffn_model.imaging.crop import SEARCH_SIZE, TEMPLATE_SIZE, View
from siamffn_model.networks.folding import fold_batch_norm
from siamffn_model.networks.inference_modules import example_inputs, inference_modules
from siamffn_model.networks.siamese import Siamese
from siamffn_model.runtimes.gpu_crops import buffer_size, header_size, pack_views, sample_crops
from siamffn_model.runtimes.runtime import Floats

BATCH_SIZES = (1, 2, 4, 8, 16, 32)  # one CUDA graph each, captured on first use
WARM_UP_RUNS = 3  # before a capture; cuDNN benchmarks its algorithms in these runs
INITIAL_BUFFER = 1 << 22  # bytes


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
        self._allocate(INITIAL_BUFFER)

    def _allocate(self, size: int) -> None:
        """Allocate upload buffers; drop the CUDA graphs, which read from the previous buffer."""
        self._host = torch.zeros(size, dtype=torch.uint8, pin_memory=self._cuda)
        self._buffer = torch.zeros(size, dtype=torch.uint8, device=self.device)
        self._searches.clear()

    def _upload(self, views: Sequence[View], crop_size: int, slots: int) -> None:
        needed = header_size(slots) + buffer_size(views, crop_size)
        if needed > len(self._host):
            self._allocate(2 * needed)
        used = pack_views(views, crop_size, slots, self._host.numpy())
        self._buffer[:used].copy_(self._host[:used], non_blocking=True)

    @torch.inference_mode()
    def template(self, view: View) -> list[Tensor]:
        """See `Runtime.template`."""
        self._upload([view], TEMPLATE_SIZE, 1)
        template = list(self._template(sample_crops(self._buffer, 1, TEMPLATE_SIZE)))
        if self._cuda:  # wait until the upload buffer can be written again
            torch.cuda.synchronize(self.device)
        return template

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
        buffer = self._buffer

        def compute() -> Tensor:
            candidates: Tensor = self._search(sample_crops(buffer, size, SEARCH_SIZE), *levels)
            return candidates

        return _BatchSearch(compute, levels, self.device if self._cuda else '')


class _BatchSearch:
    """The search for one batch size, with its template inputs and its CUDA graph.

    Args:
        compute: runs the search; always reads the same memory.
        levels: template features (B, C, h, w) that `compute` reads.
        device: CUDA device of the graph; empty to run without a graph.
    """

    def __init__(self, compute: Callable[[], Tensor], levels: list[Tensor], device: str) -> None:
        self._compute, self._levels = compute, levels
        self._copied: list[object] = [None] * len(levels[0])  # the template in each batch entry
        self._graph: torch.cuda.CUDAGraph | None = None
        if device:
            with torch.cuda.device(device), torch.backends.cudnn.flags(benchmark=True):
                self._capture()

    def _capture(self) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_RUNS):
                self._compute()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._output = self._compute()
        self._graph = graph
        self._host_output = torch.empty(self._output.shape, pin_memory=True)

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
