"""The neck, which maps all backbone levels to the same number of channels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class Neck(nn.Module):
    """A 1x1 convolution and batch norm per level, without ReLU (`AdjustAllLayer` in pysot)."""

    def __init__(self, inputs: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
            for width in inputs
        )

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Map levels (B, C_i, H, W) to levels (B, outputs, H, W)."""
        return [layer(level) for layer, level in zip(self.levels, levels)]


def center_crop(features: Tensor, size: int) -> Tensor:
    """Crop (B, C, H, W) to the central size x size cells, the template without its context."""
    start = (features.shape[-1] - size) // 2
    return features[..., start : start + size, start : start + size]
