"""Cross-correlation of search features with template features: the similarity of the two."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_correlation(search: Tensor, template: Tensor) -> Tensor:
    """Slide each template over all channels of the search features (SiamFC, SiamRPN).

    search (B, C, H, W), template (B, K * C, h, w) or (1, K * C, h, w) -> (B, K, H-h+1, W-w+1).
    """
    batch, channels, height, width = search.shape
    kernel = template.expand(batch, -1, -1, -1).reshape(-1, channels, *template.shape[2:])
    response = F.conv2d(search.reshape(1, -1, height, width), kernel, groups=batch)
    return response.reshape(batch, -1, *response.shape[2:])


def depthwise_correlation(search: Tensor, template: Tensor) -> Tensor:
    """Slide each template channel over the same channel of the search features (SiamRPN++).

    search (B, C, H, W), template (B, C, h, w) or (1, C, h, w) -> (B, C, H-h+1, W-w+1). In training
    on a CPU it goes through the Fourier transform: the same numbers, and a backward pass that is
    many times quicker there than that of a grouped convolution.
    """
    if search.device.type == 'cpu' and torch.is_grad_enabled():
        return _by_fourier(search, template)
    template = template.expand(search.shape[0], -1, -1, -1)
    response = cross_correlation(search.flatten(0, 1)[:, None], template.flatten(0, 1)[:, None])
    return response.reshape(*search.shape[:2], *response.shape[2:])


def _by_fourier(search: Tensor, template: Tensor) -> Tensor:
    if search.dtype in (torch.half, torch.bfloat16):  # under autocast; these have no transform
        search, template = search.float(), template.float()
    height, width = search.shape[-2:]
    size = 4 * math.ceil(height / 4), 4 * math.ceil(width / 4)  # quick, where 31 is a prime
    spectrum = torch.fft.rfft2(search, s=size) * torch.fft.rfft2(template, s=size).conj()
    response = torch.fft.irfft2(spectrum, s=size)
    rows, columns = height - template.shape[-2] + 1, width - template.shape[-1] + 1
    return response[..., :rows, :columns]
