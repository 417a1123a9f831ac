"""Folding of batch norm into the preceding convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(module: nn.Module) -> None:
    """Fold every batch norm that follows a convolution in an `nn.Sequential`, in place.

    The module must be in evaluation mode. Each folded batch norm is replaced by `nn.Identity`, so
    parameter names do not change.
    """
    for child in module.modules():
        if isinstance(child, nn.Sequential):
            for index in range(len(child) - 1):
                first, second = child[index], child[index + 1]
                if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                    child[index] = fuse_conv_bn_eval(first, second)
                    child[index + 1] = nn.Identity()


def run_folded(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Return layers(x); if gradients are enabled, batch norm in evaluation mode is folded.

    Up to rounding, this changes neither the result nor the gradients, but saves the passes of the
    batch norm over its input, forward and backward.
    """
    if not torch.is_grad_enabled():
        result: Tensor = layers(x)
        return result
    folded = False
    for layer, following in zip(layers, [*list(layers)[1:], None]):
        if folded:
            folded = False
        elif isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
            folded = not following.training
            x = _convolve(layer, following, x) if folded else layer(x)
        else:
            x = layer(x)
    return x


def _convolve(layer: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    mean = norm.running_mean if layer.bias is None else norm.running_mean - layer.bias
    weight = layer.weight * scale[:, None, None, None]
    return layer._conv_forward(x, weight, norm.bias - mean * scale)
