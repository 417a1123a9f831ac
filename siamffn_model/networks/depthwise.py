"""Depth-wise convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DepthwiseConv2d(nn.Conv2d):
    """A convolution of each channel, in single precision under CPU autocast.

    The backward pass of a depth-wise convolution in bfloat16 is five times slower on a CPU.
    """

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        """The output size is H / stride; there is no bias."""
        padding = (kernel - 1) // 2
        super().__init__(channels, channels, kernel, stride, padding, groups=channels, bias=False)

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if x.device.type != 'cpu' or not torch.is_autocast_enabled('cpu'):
            return super()._conv_forward(x, weight, bias)
        with torch.autocast('cpu', enabled=False):
            return super()._conv_forward(x.float(), weight, bias)
