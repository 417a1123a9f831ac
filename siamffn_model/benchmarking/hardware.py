"""What a device can do at most, measured with PyTorch: the bounds that speeds are compared with."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch

WARM_UP_RUNS, RUNS = 3, 10
MATRIX_SIDES = {'cuda': 8192, 'cpu': 512}
MATRIX_TYPES = {'cuda': torch.bfloat16, 'cpu': torch.float32}  # few CPUs are fast in bfloat16
COPY_BYTES = {'cuda': 1 << 32, 'cpu': 1 << 26}


class Hardware(NamedTuple):
    """Measured bounds of a device.

    Attributes:
        matrix_flops: operations per second of a matrix product, in bfloat16 on a GPU and in single
            precision on a CPU; a multiplication and an addition are two operations.
        copy_bytes: bytes per second of a copy within the device's memory, read and written.
    """

    matrix_flops: float
    copy_bytes: float


def measure_hardware(device: str) -> Hardware:
    """Measure the matrix throughput and the memory bandwidth of 'cpu', 'cuda' or 'cuda:N'."""
    kind = torch.device(device).type
    side = MATRIX_SIDES[kind]
    generator = torch.Generator(device).manual_seed(0)
    left, right = (  # random: on zeros a GPU needs less power, which raises its clock
        torch.randn(side, side, generator=generator, device=device).to(MATRIX_TYPES[kind])
        for _ in range(2)
    )
    product = torch.empty_like(left)
    seconds = _time(lambda: torch.mm(left, right, out=product), device)
    source = torch.ones(COPY_BYTES[kind] // 4, device=device)
    target = torch.zeros_like(source)
    copy_seconds = _time(lambda: target.copy_(source), device)
    return Hardware(2 * side**3 / seconds, 2 * COPY_BYTES[kind] / copy_seconds)


def _time(call: Callable[[], object], device: str) -> float:
    """Return the mean time of a call in seconds, after a warm-up."""
    for _ in range(WARM_UP_RUNS):
        call()
    _synchronise(device)
    start = time.perf_counter()
    for _ in range(RUNS):
        call()
    _synchronise(device)
    return (time.perf_counter() - start) / RUNS


def _synchronise(device: str) -> None:
    if device != 'cpu':
        torch.cuda.synchronize(device)
