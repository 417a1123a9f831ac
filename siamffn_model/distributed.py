"""Distributed training and evaluation: the processes that torchrun starts, or a single one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from siamffn_model.runtimes.devices import choose_device

if TYPE_CHECKING:  # a single process that evaluates does not need PyTorch
    import torch
    from torch import Tensor

TIMEOUT = timedelta(hours=2)  # the others wait while the main process validates or indexes a set


@dataclass(frozen=True)
class World:
    """The rank of this process, the number of processes, and the name of this one's device."""

    rank: int
    size: int
    device_name: str

    @property
    def device(self) -> torch.device:
        """The device."""
        import torch

        return torch.device(self.device_name)

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def all_reduce(self, values: Tensor) -> Tensor:
        """Return the sum over all processes; every process must call it."""
        if self.size > 1:
            from torch import distributed

            values = values.clone()
            distributed.all_reduce(values)
        return values

    def broadcast(self, data: bytes) -> bytes:
        """Return the bytes that the main process passed; every process must call it."""
        if self.size == 1:
            return data
        import torch
        from torch import distributed

        length = torch.tensor([len(data)], device=self.device)
        distributed.broadcast(length, 0)
        if not length:
            return b''
        content = torch.empty(int(length), dtype=torch.uint8, device=self.device)
        if self.is_main:
            content.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        distributed.broadcast(content, 0)
        return content.cpu().numpy().tobytes()

    def barrier(self) -> None:
        """Wait until every process has called it."""
        if self.size > 1:
            from torch import distributed

            distributed.barrier()


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
    chosen = choose_device(device)
    if 'TORCHELASTIC_RUN_ID' not in os.environ:
        yield World(0, 1, chosen)
        return
    import torch
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    if chosen != 'cpu':
        chosen = choose_device(f'cuda:{os.environ["LOCAL_RANK"]}')
        torch.cuda.set_device(chosen)
    backend = 'gloo' if chosen == 'cpu' else 'nccl'
    store, rank, size = next(rendezvous('env://', timeout=TIMEOUT))
    # A prefix for each attempt hides the keys that processes of a failed attempt left in the store.
    attempt = f'attempt {_restart_count()}'
    store = distributed.PrefixStore(attempt, store)  # type: ignore[attr-defined]
    distributed.init_process_group(
        backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT
    )
    try:
        yield World(rank, size, chosen)
    finally:
        distributed.destroy_process_group()
