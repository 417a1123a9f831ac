"""Depth-wise cross-correlation (SiamRPN++, Li et al. 2019): one response map a channel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def depthwise_correlation(search: Tensor, template: Tensor) -> Tensor:
    """Slide each template channel over the same channel of the search features.

    search (B, C, H, W), template (B, C, h, w) or (1, C, h, w) -> (B, C, H-h+1, W-w+1). In training
    on a CPU it goes through the Fourier transform: the same numbers, and a backward pass that is
    many times quicker there than that of a grouped convolution.
    """
    if search.device.type == 'cpu' and torch.is_grad_enabled():
        return _by_fourier(search, template)
    return _direct(search, template)


def _direct(search: Tensor, template: Tensor) -> Tensor:
    batch, channels, height, width = search.shape
    kernel = template.expand(batch, -1, -1, -1).reshape(batch * channels, 1, *template.shape[2:])
    response = F.conv2d(search.reshape(1, -1, height, width), kernel, groups=batch * channels)
    return response.reshape(batch, channels, *response.shape[2:])


def _by_fourier(search: Tensor, template: Tensor) -> Tensor:
    height, width = search.shape[-2:]
    spectrum = torch.fft.rfft2(search) * torch.fft.rfft2(template, s=(height, width)).conj()
    response = torch.fft.irfft2(spectrum, s=(height, width))
    rows, columns = height - template.shape[-2] + 1, width - template.shape[-1] + 1
    return response[..., :rows, :columns]
