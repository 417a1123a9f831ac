"""Where networks are computed, and memory. Nothing imports PyTorch where there is no GPU."""

from __future__ import annotations

import ctypes
import re
import sys
from functools import cache

from siamffn_model.errors import ConfigError, DependencyError


@cache
def has_driver() -> bool:
    """Tell whether NVIDIA's driver is there."""
    try:
        ctypes.CDLL('libcuda.so.1')
    except OSError:
        return False
    return True


@cache
def cuda_devices() -> int:
    """Return how many CUDA devices PyTorch sees.

    It is only asked where the driver is, for its import takes longer than the rest of a start.
    """
    if not has_driver():
        return 0
    import torch

    return torch.cuda.device_count()


def memory() -> int:
    """Return the resident set size of this process in bytes."""
    import psutil  # imported here to keep the start of the node fast

    return int(psutil.Process().memory_info().rss)


def gpu_memory() -> int:
    """Return the bytes that PyTorch holds on the GPU; 0 where it has none, or is not loaded."""
    torch = sys.modules.get('torch')
    return int(torch.cuda.memory_reserved()) if torch and torch.cuda.is_available() else 0


def device_number(name: str) -> int:
    """Return N of cpu, cuda or cuda:N, 0 where there is none; raises `ConfigError`."""
    if not re.fullmatch(r'cpu|cuda(:\d+)?', name):
        raise ConfigError(f'unknown device {name!r}: choose auto, cpu, cuda or cuda:N')
    return int(name.partition(':')[2] or 0)


def choose_device(name: str) -> str:
    """Turn auto, cpu, cuda or cuda:N into a device that is available.

    Raises `ConfigError` for an unknown name and `DependencyError` for an absent device.
    """
    if name == 'auto':
        return 'cuda' if cuda_devices() else 'cpu'
    if name != 'cpu' and device_number(name) >= cuda_devices():
        raise DependencyError(
            f'device {name!r} is not there: this PyTorch sees {cuda_devices()} CUDA devices; use '
            'cpu or auto, or install a PyTorch built for your GPU'
        )
    return name
