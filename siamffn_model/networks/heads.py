"""Heads, which decode template and search features to classification and regression maps.

Each head returns logits (B, 2 * K, H, W) for K anchors, all K of the background first, and 4 * K
regression values per cell, which `distances` or `anchor_distances` convert to pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from siamffn_model.imaging.crop import SEARCH_SIZE
from siamffn_model.networks.correlation import cross_correlation, depthwise_correlation
from siamffn_model.networks.depthwise import DepthwiseConv2d

MAX_LOG_DISTANCE = math.log(4 * SEARCH_SIZE)  # keeps untrained networks from overflowing
INITIAL_LOG_DISTANCE = math.log(32)  # pixels: half the side of a typical target


def distances(logs: Tensor) -> Tensor:
    """Convert logarithms to pixels of the search crop, in single precision also under autocast."""
    return logs.float().clamp(max=MAX_LOG_DISTANCE).exp()


def anchor_distances(offsets: Tensor, anchors: Tensor) -> Tensor:
    """Convert offsets from anchors to distances from the point of a cell to the edges of its box.

    Args:
        offsets: (B, 4, K, H, W): shift of the centre in units of the anchor's width and height,
            logarithm of the ratio of width and height to the anchor's (SiamRPN).
        anchors: (K, 2): width and height in pixels.

    Returns:
        Distances (B, 4, K, H, W) to the left, top, right and bottom edge in pixels.
    """
    sides = anchors.T[:, :, None, None]
    shift = offsets[:, :2].float() * sides
    half = offsets[:, 2:].float().clamp(max=MAX_LOG_DISTANCE).exp() * sides / 2
    return torch.cat([half - shift, half + shift], dim=1)


def _init_distance_output(output: nn.Module) -> None:
    """Initialise the last layer of a regression branch to predict boxes of a typical size."""
    assert isinstance(output, nn.Conv2d)
    assert output.bias is not None
    nn.init.normal_(output.weight, std=0.01)
    nn.init.constant_(output.bias, INITIAL_LOG_DISTANCE)


def _branch(channels: int, outputs: int, separable: int, residual: int) -> nn.Sequential:
    hidden: list[nn.Module] = []
    for _ in range(separable):
        hidden += [*_separable(channels), nn.ReLU(inplace=True)]
    if not separable:
        first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        hidden += [first, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
    hidden += [ResidualBlock(channels) for _ in range(residual)]
    return nn.Sequential(*hidden, nn.Conv2d(channels, outputs, 3, padding=1))


def _separable(channels: int) -> tuple[nn.Module, ...]:
    pointwise = nn.Conv2d(channels, channels, 1, bias=False)
    return DepthwiseConv2d(channels, 3), pointwise, nn.BatchNorm2d(channels)


class ResidualBlock(nn.Module):
    """A separable convolution with a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_separable(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return torch.relu(x + self.layers(x))


class BoxHead(nn.Module):
    """One classification and one regression branch on the fused response map (paper Fig. 3).

    Each branch is a 3x3 convolution, BN, ReLU and a 3x3 output convolution. The paper does not
    describe them; this layout has its number of parameters and operations (Table 2). A lighter
    head has several separable convolutions instead of the first one.
    """

    def __init__(self, channels: int, separable: int = 0, residual: int = 0) -> None:
        """Each branch has `separable` separable convolutions, then `residual` residual blocks."""
        super().__init__()
        self.cls = _branch(channels, 2, separable, residual)
        self.reg = _branch(channels, 4, separable, residual)
        _init_distance_output(self.reg[-1])

    def forward(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, H, W) to logits (B, 2, H, W), background first, and distances (B, 4, H, W).

        Distances are from the point of the cell to the left, top, right and bottom edge of the box,
        in pixels of the search crop.
        """
        return self.cls(fused), distances(self.reg(fused))


class DepthwiseXCorr(nn.Module):
    """Depth-wise correlation of embedded features (SiamRPN++, Fig. 5c; the same name in pysot)."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.kernel = self._embed(channels)
        self.embed = self._embed(channels)
        self.output = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, outputs, 1),
        )

    @staticmethod
    def _embed(channels: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(channels, channels, 3, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, level: Tensor, kernel: Tensor) -> Tensor:
        """Map search features (B, C, h, w) and a kernel to (B, outputs, H, W)."""
        return self.output(depthwise_correlation(self.embed(level), kernel))


class MultiRPN(nn.Module):
    """Result fusion: two branches per level, averaged with learned weights (SiamRPN++; pysot)."""

    def __init__(self, channels: int, levels: int, anchors: int) -> None:
        super().__init__()
        self.cls = nn.ModuleList(DepthwiseXCorr(channels, 2 * anchors) for _ in range(levels))
        self.reg = nn.ModuleList(DepthwiseXCorr(channels, 4 * anchors) for _ in range(levels))
        self.cls_weight = nn.Parameter(torch.ones(levels))
        self.reg_weight = nn.Parameter(torch.ones(levels))

    def kernels(self, template: Sequence[Tensor]) -> list[Tensor]:
        """Embed template levels (B, C, 7, 7): first for classification, then for regression."""
        branches = [*self.cls, *self.reg]
        return [branch.kernel(z) for branch, z in zip(branches, [*template, *template])]

    def forward(self, levels: Sequence[Tensor], kernels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the averaged logits (B, 2 * K, H, W) and values (B, 4 * K, H, W) of K anchors."""
        cls = [branch(x, z) for branch, x, z in zip(self.cls, levels, kernels)]
        reg = [branch(x, z) for branch, x, z in zip(self.reg, levels, kernels[len(levels) :])]
        reg = [self.decode(values, level) for level, values in enumerate(reg)]
        return _weighted(cls, self.cls_weight), _weighted(reg, self.reg_weight)

    def decode(self, values: Tensor, _level: int) -> Tensor:
        """Convert the regression output of a level before averaging; unchanged here."""
        return values


class MultiBAN(MultiRPN):
    """Anchor-free result fusion: averages distances in pixels (SiamBAN; the same name there)."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__(channels, levels, anchors=1)
        self.scale = nn.Parameter(torch.ones(levels))
        for branch in self.reg:
            assert isinstance(branch, DepthwiseXCorr)
            _init_distance_output(branch.output[-1])

    def decode(self, values: Tensor, level: int) -> Tensor:
        """Convert the regression output of a level to distances in pixels."""
        return distances(self.scale[level] * values)


def _weighted(maps: Sequence[Tensor], weights: Tensor) -> Tensor:
    normalised = weights.softmax(0).view(-1, 1, 1, 1, 1)
    return (normalised * torch.stack(list(maps))).sum(0)


class UPChannelRPN(nn.Module):
    """Up-channel correlation: kernels are computed from the template (SiamRPN, Fig. 2; pysot).

    It uses the deepest level only.
    """

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        self.cls_kernel = nn.Conv2d(channels, channels * 2 * anchors, 3)
        self.reg_kernel = nn.Conv2d(channels, channels * 4 * anchors, 3)
        self.cls_embed = nn.Conv2d(channels, channels, 3)
        self.reg_embed = nn.Conv2d(channels, channels, 3)
        self.reg_adjust = nn.Conv2d(4 * anchors, 4 * anchors, 1)

    def kernels(self, template: Sequence[Tensor]) -> list[Tensor]:
        """Return the correlation kernels of classification and of regression."""
        return [self.cls_kernel(template[-1]), self.reg_kernel(template[-1])]

    def forward(self, levels: Sequence[Tensor], kernels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits (B, 2 * K, H, W) and offsets (B, 4 * K, H, W) for K anchors."""
        cls, reg = kernels
        logits = cross_correlation(self.cls_embed(levels[-1]), cls)
        return logits, self.reg_adjust(cross_correlation(self.reg_embed(levels[-1]), reg))
