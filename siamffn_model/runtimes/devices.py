"""Devices and memory. PyTorch is imported only if an NVIDIA driver is installed."""

from __future__ import annotations

import ctypes
import re
import sys
from functools import cache
from importlib.util import find_spec

from siamffn_model.errors import ConfigError, DependencyError


@cache
def has_driver() -> bool:
    """Return whether NVIDIA's driver is installed."""
    try:
        ctypes.CDLL('libcuda.so.1')
    except OSError:
        return False
    return True


@cache
def cuda_device_count() -> int:
    """Return the number of CUDA devices that PyTorch can use.

    PyTorch is imported only if the driver is installed, because its import takes longer than the
    rest of the start of the node.
    """
    if not has_driver() or not find_spec('torch'):
        return 0
    import torch

    return torch.cuda.device_count()


def resident_memory() -> int:
    """Return the resident set size of this process in bytes."""
    import psutil  # imported here to keep the start of the node fast

    return int(psutil.Process().memory_info().rss)


def reserved_gpu_memory() -> int:
    """Return the GPU memory in bytes that PyTorch has reserved; 0 without a GPU or PyTorch."""
    torch = sys.modules.get('torch')
    return int(torch.cuda.memory_reserved()) if torch and torch.cuda.is_available() else 0


def device_index(name: str) -> int:
    """Return N for 'cuda:N' and 0 for 'cuda' and 'cpu'; raise `ConfigError` for other names."""
    if not re.fullmatch(r'cpu|cuda(:\d+)?', name):
        raise ConfigError(f'unknown device {name!r}: choose auto, cpu, cuda or cuda:N')
    return int(name.partition(':')[2] or 0)


def choose_device(name: str) -> str:
    """Return the device for 'auto', 'cpu', 'cuda' or 'cuda:N'; 'auto' prefers CUDA.

    Raises `ConfigError` for an unknown name and `DependencyError` if the device is not available.
    """
    if name == 'auto':
        return 'cuda' if cuda_device_count() else 'cpu'
    if name != 'cpu' and device_index(name) >= cuda_device_count():
        raise DependencyError(
            f'device {name!r} is not available: this PyTorch sees {cuda_device_count()} CUDA '
            'devices; use cpu or auto, or install a PyTorch build for your GPU'
        )
    return name
