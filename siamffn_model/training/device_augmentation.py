"""Augmentation of many crops at once, as tensor operations; see `augmentation`.

Crops of one size are (3, n, H, W), float32 from 0 to 255: the planes blue, green and red.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from siamffn_model.training.augmentation import line_kernel
from siamffn_model.training.device_rendering import EVEN_BYTES

Floats = NDArray[np.float64]
GREY = (0.114, 0.587, 0.299)  # weights of blue, green and red
# Quantisation of brightness and colour at quality 50 (JPEG standard, annex K), row after row
BRIGHTNESS_TABLE = (
    '16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 '
    '62 18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 '
    '98 112 100 103 99'
)
COLOUR_TABLE = (
    '17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 '
    '99' + ' 99' * 32
)


def planes(pixels: Tensor) -> Tensor:
    """Return pixels (n, H, W), int32, as planes (3, n, H, W), float32."""
    result = torch.empty((3, *pixels.shape), device=pixels.device)
    for channel, plane in enumerate(result):
        plane.copy_((pixels >> (8 * channel)).bitwise_and_(255))
    return result


def change_levels(crops: Tensor, levels: Tensor) -> None:
    """Change the levels of crops in place: levels (n, 3, 4) are gain, offset, minimum, maximum."""
    for plane, values in zip(crops, levels[..., None, None].unbind(1)):
        gain, offset, low, high = values.unbind(1)
        plane.mul_(gain).add_(offset).clamp_(low, high)


def greyscale(crops: Tensor) -> Tensor:
    """Return crops in greyscale, with equal planes."""
    blue, green, red = (weight * plane for weight, plane in zip(GREY, crops))
    return (blue + green + red).expand_as(crops)


def blur_line(pixels: Tensor, length: float, angle: float) -> Tensor:
    """Blur pixels (n, H, W), int32, along a line of this length and direction in radians.

    The line is the one that `augmentation.motion_blur` draws.
    """
    count = max(int(length), 1)
    taps = np.argwhere(line_kernel(count, angle)).tolist()
    before = count // 2
    height, width = pixels.shape[1:]
    halves = torch.stack([pixels & EVEN_BYTES, (pixels >> 8).bitwise_and_(EVEN_BYTES)])
    rows = _mirrored(height, before, count - 1 - before, pixels.device)
    columns = _mirrored(width, before, count - 1 - before, pixels.device)
    halves = halves.index_select(2, rows).index_select(3, columns)
    total = torch.zeros((2, *pixels.shape), dtype=torch.int32, device=pixels.device)
    for y, x in taps:
        total += halves[:, :, y : y + height, x : x + width]
    low = (total & 0xFFFF).float().mul_(1 / len(taps)).add_(0.5).int()
    high = (total >> 16).bitwise_and_(0xFFFF).float().mul_(1 / len(taps)).add_(0.5).int()
    even, odd = low.bitwise_or_(high.bitwise_left_shift_(16))
    return even.bitwise_or_(odd.bitwise_left_shift_(8))


def _mirrored(size: int, before: int, after: int, device: torch.device) -> Tensor:
    """Return indices of `size` elements with a mirrored margin."""
    index = torch.arange(-before, size + after, device=device).abs_()
    return torch.minimum(index, 2 * (size - 1) - index).clamp_(0, size - 1)


def add_noise(crops: Tensor, deviation: Tensor, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise with a standard deviation (n,) to crops."""
    noise = torch.randn(crops.shape, generator=generator, device=crops.device)
    return noise.mul_(deviation[:, None, None]).add_(crops).clamp_(0, 255).floor_()


def compress(crops: Tensor, quality: Tensor) -> Tensor:
    """Return crops as JPEG with a quality (n,) from 1 to 100 shows them.

    Colour has half the resolution of brightness, and is enlarged without interpolation.
    """
    height, width = crops.shape[2:]
    down, right = -height % 16, -width % 16
    blue, green, red = functional.pad(crops, (0, right, 0, down), mode='replicate')
    bright = (0.114 * blue).add_(green, alpha=0.587).add_(red, alpha=0.299)
    colour = torch.stack([blue.sub_(bright).mul_(0.564), red.sub_(bright).mul_(0.713)])
    colour = _quantise(functional.avg_pool2d(colour, 2), quality, COLOUR_TABLE)
    bright = _quantise(bright.sub_(128)[None], quality, BRIGHTNESS_TABLE)[0].add_(128)
    # The planes of blue - bright and red - bright
    difference = colour.repeat_interleave(2, dim=3).repeat_interleave(2, dim=2)
    result = torch.empty((3, *bright.shape), device=crops.device)
    torch.add(bright, difference[0], alpha=1.772, out=result[0])
    torch.add(bright, difference[1], alpha=1.402, out=result[2])
    torch.add(bright, difference[0], alpha=-0.344, out=result[1])
    result[1].sub_(difference[1], alpha=0.714)
    return result.clamp_(0, 255)[:, :, :height, :width]


def _quantise(values: Tensor, quality: Tensor, table: str) -> Tensor:
    """Quantise the cosine transform of each 8x8 block of planes (c, n, H, W)."""
    c, n, height, width = values.shape
    blocks = values.view(c, n, height // 8, 8, width // 8, 8).transpose(3, 4)
    transform, base = _tables(table, values.device)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    steps = (base * scale[:, None] + 50).div_(100).floor_().clamp_(1, 255)[:, None]
    coefficients = blocks.reshape(c, n, -1, 64) @ transform
    coefficients.mul_(1 / steps).round_().mul_(steps)
    blocks = (coefficients @ transform.T).view(blocks.shape)
    return blocks.transpose(3, 4).reshape(values.shape)


@lru_cache(maxsize=8)
def _tables(table: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the cosine transform (64, 64) of a block as a row, and the table (64,)."""
    wave = np.cos(np.pi / 8 * np.outer(np.arange(8), np.arange(8) + 0.5)) / 2
    wave[0] *= np.sqrt(0.5)
    transform = np.kron(wave, wave).T
    return (
        torch.tensor(transform, dtype=torch.float32, device=device),
        torch.tensor([float(value) for value in table.split()], device=device),
    )


def enlarge(crops: Tensor, size: int) -> Tensor:
    """Return crops as (n, size, size, 3) uint8, enlarged with bilinear interpolation."""
    _, n, height, width = crops.shape
    pixels = torch.empty((n, height, width, 3), dtype=torch.uint8, device=crops.device)
    pixels.copy_(crops.round().permute(1, 2, 3, 0))
    if height == size:
        return pixels
    channels_last = pixels.permute(0, 3, 1, 2)
    if pixels.is_cuda:  # PyTorch has fast kernels for uint8 on CPUs only
        channels_last = channels_last.float()
    enlarged = functional.interpolate(channels_last, (size, size), mode='bilinear')
    return (enlarged.round() if pixels.is_cuda else enlarged).to(torch.uint8).permute(0, 2, 3, 1)
