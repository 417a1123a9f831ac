"""Folding of batch norm into the preceding convolution."""

from __future__ import annotations

from torch import nn
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
