"""Processes that train together, and batch norm over all of them."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from siamffn_model.distributed import (
    AnyDeviceSyncBatchNorm,
    World,
    convert_sync_batchnorm,
    init_distributed,
    restarted,
)

SIZE = 2
PARTS = ((0, 3), (3, 8))  # of eight maps, for two processes: not even


def on_all(work: Callable[[World], object], folder: Path) -> list[object]:
    """Let two processes, as torchrun would start them, work together; return what each found."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context('fork')
    processes = [
        context.Process(target=be, args=(rank, port, work, folder)) for rank in range(SIZE)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    return [torch.load(folder / str(rank)) for rank in range(SIZE)]


def be(rank: int, port: int, work: Callable[[World], object], folder: Path) -> None:
    os.environ |= {
        'TORCHELASTIC_RUN_ID': 'test',
        'RANK': str(rank),
        'LOCAL_RANK': str(rank),
        'WORLD_SIZE': str(SIZE),
        'MASTER_ADDR': '127.0.0.1',
        'MASTER_PORT': str(port),
    }
    torch.set_num_threads(1)  # others would not have survived the fork
    with init_distributed('cpu') as world:
        torch.save(work(world), folder / str(rank))


def test_what_processes_tell_each_other(tmp_path: Path) -> None:
    def work(world: World) -> tuple[int, list[int], str, str, bool]:
        world.barrier()
        total = world.all_reduce(torch.tensor([world.rank + 1, 10]))
        given = [b'first', b'', b'other'][world.rank :]
        return (
            world.size,
            total.tolist(),
            world.broadcast(given[0]).decode(),
            world.broadcast(given[1]).decode(),
            world.is_main,
        )

    assert on_all(work, tmp_path) == [
        (2, [3, 20], 'first', '', True),
        (2, [3, 20], 'first', '', False),
    ]


def test_alone() -> None:
    with init_distributed('cpu') as world:
        assert (world.rank, world.size, world.device.type, world.is_main) == (0, 1, 'cpu', True)
        assert world.all_reduce(torch.tensor([4])).tolist() == [4]
        assert world.broadcast(b'x') == b'x'
        world.barrier()


def test_a_restart_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not restarted()
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '0')
    assert not restarted()
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '2')
    assert restarted()


def network() -> nn.Sequential:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), norm, nn.ReLU(), nn.Conv2d(4, 1, 3))


def gradients(model: nn.Module, maps: Tensor) -> list[Tensor]:
    loss = (model(maps) ** 3).sum()
    loss.backward()
    return [p.grad for p in model.parameters() if p.grad is not None]


def test_shared_batch_norm_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    maps = 5 + 3 * torch.randn(8, 3, 9, 9, generator=torch.Generator().manual_seed(1))

    def work(world: World) -> tuple[list[Tensor], dict[str, Tensor], Tensor]:
        model = network()
        convert_sync_batchnorm(model)
        assert isinstance(model[1], AnyDeviceSyncBatchNorm)
        own = [
            world.all_reduce(gradient)
            for gradient in gradients(model, maps[slice(*PARTS[world.rank])])
        ]
        return own, model.state_dict(), model.eval()(maps)

    whole = network()
    expected = gradients(whole, maps)
    answer = whole.eval()(maps)
    for own, state, output in on_all(work, tmp_path):  # type: ignore[misc]
        for one, other in zip(own, expected, strict=True):
            assert torch.allclose(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))
        assert state.keys() == whole.state_dict().keys()
        for name, value in whole.state_dict().items():
            assert torch.allclose(state[name], value, rtol=1e-5, atol=1e-6), name
        assert torch.allclose(output, answer, rtol=1e-4, atol=1e-5)
