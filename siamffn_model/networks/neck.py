"""The neck: each backbone level to the same number of channels by a 1x1 convolution and BN."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class Neck(nn.Module):
    """One 1x1 convolution and batch norm a level, no ReLU (as in SiamRPN++ and SiamBAN)."""

    def __init__(self, inputs: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
            for width in inputs
        )

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Map the levels (B, C_i, H, W) to (B, outputs, H, W) each."""
        return [layer(level) for layer, level in zip(self.levels, levels)]


def center_crop(features: Tensor, size: int) -> Tensor:
    """Keep the middle (size x size) cells of (B, C, H, W): a template without its context."""
    start = (features.shape[-1] - size) // 2
    return features[..., start : start + size, start : start + size]
