"""Where networks are computed. Nothing here imports PyTorch where there is no GPU."""

from __future__ import annotations

import ctypes
import re
import sys
from functools import cache

from siamffn_model.errors import SiamFFNError


@cache
def cuda_devices() -> int:
    """Return how many CUDA devices PyTorch sees.

    It is only asked where NVIDIA's driver is, for its import takes longer than the rest of a start.
    """
    try:
        ctypes.CDLL('libcuda.so.1')
    except OSError:
        return 0
    import torch

    return torch.cuda.device_count()


def gpu_memory() -> int:
    """Return the bytes that PyTorch holds on the GPU; 0 where it has none, or is not loaded."""
    torch = sys.modules.get('torch')
    return int(torch.cuda.memory_reserved()) if torch and torch.cuda.is_available() else 0


def choose_device(name: str) -> str:
    """Turn auto, cpu, cuda or cuda:N into a device that is there, or raise `SiamFFNError`."""
    if name == 'auto':
        return 'cuda' if cuda_devices() else 'cpu'
    if not re.fullmatch(r'cpu|cuda(:\d+)?', name):
        raise SiamFFNError(f'unknown device {name!r}: choose auto, cpu, cuda or cuda:N')
    number = int(name.partition(':')[2] or 0)
    if name != 'cpu' and number >= cuda_devices():
        raise SiamFFNError(
            f'device {name!r} is not there: this PyTorch sees {cuda_devices()} CUDA devices; use '
            'cpu or auto, or install a PyTorch built for your GPU'
        )
    return name
