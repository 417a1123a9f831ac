"""Cross-correlation of search features with template features."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_correlation(search: Tensor, template: Tensor, padding: int = 0) -> Tensor:
    """Correlate with K templates over all channels (SiamFC, SiamRPN; `xcorr_fast` in pysot).

    Args:
        search: (B, C, H, W).
        template: (B, K * C, h, w) or (1, K * C, h, w).
        padding: p, the width of a border of zeros around the search features.

    Returns:
        Response maps (B, K, H+2p-h+1, W+2p-w+1).
    """
    batch, channels, height, width = search.shape
    kernel = template.expand(batch, -1, -1, -1).reshape(-1, channels, *template.shape[2:])
    flat = search.reshape(1, -1, height, width)
    response = F.conv2d(flat, kernel, padding=padding, groups=batch)
    return response.reshape(batch, -1, *response.shape[2:])


def depthwise_correlation(search: Tensor, template: Tensor, padding: int = 0) -> Tensor:
    """Correlate each channel separately (SiamRPN++; `xcorr_depthwise` in pysot; paper Fig. 3).

    Without padding, with gradients on a CPU, this uses the Fourier transform: the result is the
    same up to rounding. For 31x31 cells its backward pass is faster than that of a grouped
    convolution; for the 15x15 cells that are padded it is three times slower.

    Args:
        search: (B, C, H, W).
        template: (B, C, h, w) or (1, C, h, w).
        padding: p, the width of a border of zeros around the search features.

    Returns:
        Response maps (B, C, H+2p-h+1, W+2p-w+1).
    """
    if search.device.type == 'cpu' and torch.is_grad_enabled() and not padding:
        return _fourier_correlation(search, template)
    template = template.expand(search.shape[0], -1, -1, -1)
    response = cross_correlation(
        search.flatten(0, 1)[:, None], template.flatten(0, 1)[:, None], padding
    )
    return response.reshape(*search.shape[:2], *response.shape[2:])


def pixelwise_correlation(search: Tensor, template: Tensor) -> Tensor:
    """Correlate with each cell of the template (Alpha-Refine, LightTrack).

    Unlike the sum over the template's cells, this keeps the position of each part of the target.

    Args:
        search: (B, C, H, W).
        template: (B, C, h, w) or (1, C, h, w).

    Returns:
        Response maps (B, h * w, H, W), the cells of the template row by row.
    """
    cells = template.flatten(2).transpose(1, 2)
    return (cells @ search.flatten(2)).unflatten(2, search.shape[2:])


def _fourier_correlation(search: Tensor, template: Tensor) -> Tensor:
    if search.dtype in (torch.half, torch.bfloat16):  # under autocast; rfft2 needs float32
        search, template = search.float(), template.float()
    height, width = search.shape[-2:]
    size = 4 * math.ceil(height / 4), 4 * math.ceil(width / 4)  # 32 is faster than 31, a prime
    spectrum = torch.fft.rfft2(search, s=size) * torch.fft.rfft2(template, s=size).conj()
    response = torch.fft.irfft2(spectrum, s=size)
    rows, columns = height - template.shape[-2] + 1, width - template.shape[-1] + 1
    return response[..., :rows, :columns]
