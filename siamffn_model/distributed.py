"""The processes that train together: one, or those that torchrun starts on any machines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.distributed.rendezvous import rendezvous

from siamffn_model.runtimes.devices import choose_device

PATIENCE = timedelta(hours=2)  # the others wait while the first validates or indexes a set


@dataclass(frozen=True)
class World:
    """This process's place among those that train together, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and talks."""
        return self.rank == 0

    def all_reduce(self, values: Tensor) -> Tensor:
        """Return the sum over all processes; every one must call it."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def broadcast(self, data: bytes) -> bytes:
        """Return the bytes that the first process gave; every one must call it."""
        if self.size == 1:
            return data
        length = torch.tensor([len(data)], device=self.device)
        dist.broadcast(length, 0)
        if not length:
            return b''
        content = torch.empty(int(length), dtype=torch.uint8, device=self.device)
        if self.is_main:
            content.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        dist.broadcast(content, 0)
        return content.cpu().numpy().tobytes()

    def barrier(self) -> None:
        """Wait until every process has come here."""
        if self.size > 1:
            dist.barrier()


def restarted() -> bool:
    """Tell whether torchrun has started this process again after one had died."""
    return _restarts() > 0


def _restarts() -> int:
    return int(os.environ.get('TORCHELASTIC_RESTART_COUNT', 0))


@contextmanager
def init_distributed(device: str) -> Iterator[World]:
    """Join the processes that torchrun started; without it, be alone.

    Each process of a machine takes a CUDA device of its own where `device` is auto or cuda and
    there are any.
    """
    if 'TORCHELASTIC_RUN_ID' not in os.environ:
        yield World(0, 1, torch.device(choose_device(device)))
        return
    chosen = torch.device(choose_device(device))
    if chosen.type == 'cuda':
        chosen = torch.device(choose_device(f'cuda:{os.environ["LOCAL_RANK"]}'))
        torch.cuda.set_device(chosen)
    backend = 'nccl' if chosen.type == 'cuda' else 'gloo'
    store, rank, size = next(rendezvous('env://', timeout=PATIENCE))
    # Apart from what those that died left in the store.
    store = dist.PrefixStore(f'attempt {_restarts()}', store)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield World(rank, size, chosen)
    finally:
        dist.destroy_process_group()


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the batches of all processes: as if one process had them together.

    PyTorch's own, `SyncBatchNorm`, does it on GPUs only.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        if not self.training:
            return super().forward(x)
        values, dims, (channels,) = x.float(), (0, 2, 3), self.weight.shape
        count = torch.full((1,), x.numel() / channels, device=x.device)
        total = all_reduce(torch.cat([values.sum(dims), count]))
        mean = total[:-1] / total[-1]
        centred = values - mean[:, None, None]
        variance = all_reduce(centred.square().sum(dims)) / total[-1]
        with torch.no_grad():
            self._track(mean, variance * total[-1] / (total[-1] - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        assert self.num_batches_tracked is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


def share_batch_norm(module: nn.Module) -> None:
    """Replace every batch norm in `module`, in place, by one over all processes."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            shared = SharedBatchNorm(child.num_features, child.eps, child.momentum)
            shared.load_state_dict(child.state_dict())
            setattr(module, name, shared)
        else:
            share_batch_norm(child)
