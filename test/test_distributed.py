"""Distributed processes and synchronised batch norm."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from siamffn_model.distributed import World, init_distributed, restarted
from siamffn_model.training.sync_batch_norm import AnyDeviceSyncBatchNorm, convert_sync_batchnorm

SIZE = 2
PARTS = ((0, 3), (3, 8))  # unequal parts of eight feature maps for two processes


def run_on_all(work: Callable[[World], object], folder: Path) -> list[object]:
    """Call a function in two processes with torchrun's variables; return their results."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context('fork')
    processes = [
        context.Process(target=run_process, args=(rank, port, work, folder)) for rank in range(SIZE)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    return [torch.load(folder / str(rank)) for rank in range(SIZE)]


def run_process(rank: int, port: int, work: Callable[[World], object], folder: Path) -> None:
    os.environ |= {
        'TORCHELASTIC_RUN_ID': 'test',
        'RANK': str(rank),
        'LOCAL_RANK': str(rank),
        'WORLD_SIZE': str(SIZE),
        'MASTER_ADDR': '127.0.0.1',
        'MASTER_PORT': str(port),
    }
    torch.set_num_threads(1)  # other threads do not exist after a fork
    with init_distributed('cpu') as world:
        torch.save(work(world), folder / str(rank))


def test_collective_operations(tmp_path: Path) -> None:
    def work(world: World) -> tuple[int, list[int], str, str, bool]:
        world.barrier()
        total = world.all_reduce(torch.tensor([world.rank + 1, 10]))
        messages = [b'first', b'', b'other'][world.rank :]
        return (
            world.size,
            total.tolist(),
            world.broadcast(messages[0]).decode(),
            world.broadcast(messages[1]).decode(),
            world.is_main,
        )

    assert run_on_all(work, tmp_path) == [
        (2, [3, 20], 'first', '', True),
        (2, [3, 20], 'first', '', False),
    ]


def test_single_process() -> None:
    with init_distributed('cpu') as world:
        assert (world.rank, world.size, world.device_name, world.is_main) == (0, 1, 'cpu', True)
        assert world.all_reduce(torch.tensor([4])).tolist() == [4]
        assert world.broadcast(b'x') == b'x'
        world.barrier()


def test_restarts_are_detected(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_synchronised_batch_norm_equals_batch_norm_of_the_complete_batch(tmp_path: Path) -> None:
    maps = 5 + 3 * torch.randn(8, 3, 9, 9, generator=torch.Generator().manual_seed(1))

    def work(world: World) -> tuple[list[Tensor], dict[str, Tensor], Tensor]:
        model = network()
        convert_sync_batchnorm(model)
        assert isinstance(model[1], AnyDeviceSyncBatchNorm)
        reduced = [
            world.all_reduce(gradient)
            for gradient in gradients(model, maps[slice(*PARTS[world.rank])])
        ]
        return reduced, model.state_dict(), model.eval()(maps)

    reference = network()
    expected = gradients(reference, maps)
    expected_output = reference.eval()(maps)
    for reduced, state, output in run_on_all(work, tmp_path):  # type: ignore[misc]
        for one, other in zip(reduced, expected, strict=True):
            assert torch.allclose(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))
        assert state.keys() == reference.state_dict().keys()
        for name, value in reference.state_dict().items():
            assert torch.allclose(state[name], value, rtol=1e-5, atol=1e-6), name
        assert torch.allclose(output, expected_output, rtol=1e-4, atol=1e-5)
