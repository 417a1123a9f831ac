"""Distributed training and evaluation: the processes that torchrun starts, or a single one."""

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

TIMEOUT = timedelta(hours=2)  # the others wait while the main process validates or indexes a set


@dataclass(frozen=True)
class World:
    """The rank and device of this process, and the number of processes."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def all_reduce(self, values: Tensor) -> Tensor:
        """Return the sum over all processes; every process must call it."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def broadcast(self, data: bytes) -> bytes:
        """Return the bytes that the main process passed; every process must call it."""
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
        """Wait until every process has called it."""
        if self.size > 1:
            dist.barrier()


def restarted() -> bool:
    """Return whether torchrun has restarted this process after a failure."""
    return _restart_count() > 0


def _restart_count() -> int:
    return int(os.environ.get('TORCHELASTIC_RESTART_COUNT', 0))


@contextmanager
def init_distributed(device: str) -> Iterator[World]:
    """Join the process group of torchrun; without torchrun, yield a world of one process.

    If `device` is auto or cuda and CUDA is available, each process on a machine uses the CUDA
    device of its local rank. Raises the errors of `choose_device`.
    """
    if 'TORCHELASTIC_RUN_ID' not in os.environ:
        yield World(0, 1, torch.device(choose_device(device)))
        return
    chosen = torch.device(choose_device(device))
    if chosen.type == 'cuda':
        chosen = torch.device(choose_device(f'cuda:{os.environ["LOCAL_RANK"]}'))
        torch.cuda.set_device(chosen)
    backend = 'nccl' if chosen.type == 'cuda' else 'gloo'
    store, rank, size = next(rendezvous('env://', timeout=TIMEOUT))
    # A prefix for each attempt hides the keys that processes of a failed attempt left in the store.
    store = dist.PrefixStore(f'attempt {_restart_count()}', store)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    try:
        yield World(rank, size, chosen)
    finally:
        dist.destroy_process_group()


class AnyDeviceSyncBatchNorm(nn.BatchNorm2d):
    """Batch norm with statistics of the batches of all processes, on any device.

    `torch.nn.SyncBatchNorm` supports GPUs only.
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
            self._update_running_statistics(mean, variance * total[-1] / (total[-1] - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    def _update_running_statistics(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        assert self.num_batches_tracked is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


def convert_sync_batchnorm(module: nn.Module) -> None:
    """Replace every `BatchNorm2d` in `module`, in place, by `AnyDeviceSyncBatchNorm`."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            synced = AnyDeviceSyncBatchNorm(child.num_features, child.eps, child.momentum)
            synced.load_state_dict(child.state_dict())
            setattr(module, name, synced)
        else:
            convert_sync_batchnorm(child)
