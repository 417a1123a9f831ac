"""The head behind the fused response map: what is where, and how large."""

from __future__ import annotations

import math

from torch import Tensor, nn

STRIDE = 8  # pixels of the search crop between neighbouring cells of the score map


def _branch(channels: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, outputs, 3, padding=1),
    )


class BoxHead(nn.Module):
    """One classification and one regression branch, free of anchors (paper Fig. 3).

    A branch is a 3x3 convolution, BN, ReLU and a 3x3 output convolution: the layout whose count
    meets the paper's parameters and operations.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cls = _branch(channels, 2)
        self.reg = _branch(channels, 4)
        output = self.reg[-1]
        assert isinstance(output, nn.Conv2d)
        assert output.bias is not None
        nn.init.normal_(output.weight, std=0.01)
        nn.init.constant_(output.bias, math.log(4 * STRIDE))  # half of a usual target

    def forward(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, 2, H, W), background first, and distances (B, 4, H, W).

        Distances run from the cell's point to the left, top, right and bottom edge of the box, in
        pixels of the search crop.
        """
        return self.cls(fused), self.reg(fused).exp()
