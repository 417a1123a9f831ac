"""The heads: from search features and template features to what is where, and how large.

Each gives logits (B, 2 * anchors, H, W), all of the background first, and 4 * anchors values a cell
for the boxes, which `distances` and `anchor_distances` turn into pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from siamffn_model.imaging.crop import SEARCH_SIZE
from siamffn_model.networks.correlation import cross_correlation, depthwise_correlation
from siamffn_model.networks.score_map import STRIDE

MAX_LOG = math.log(4 * SEARCH_SIZE)  # beyond it, an untrained network would overflow
TYPICAL_LOG = math.log(4 * STRIDE)  # half of a usual target


def distances(logs: Tensor) -> Tensor:
    """Map logarithms to pixels of the search crop, in single precision also under autocast."""
    return logs.float().clamp(max=MAX_LOG).exp()


def anchor_distances(offsets: Tensor, anchors: Tensor) -> Tensor:
    """Turn offsets from anchors into distances from the cell's point to the box's edges.

    offsets (B, 4, K, H, W): shift of the centre in sides of the anchor, logarithm of the side's
    change (SiamRPN); anchors (K, 2): widths and heights -> (B, 4, K, H, W) in pixels.
    """
    sides = anchors.T[:, :, None, None]
    shift = offsets[:, :2].float() * sides
    half = offsets[:, 2:].float().clamp(max=MAX_LOG).exp() * sides / 2
    return torch.cat([half - shift, half + shift], dim=1)


def _start_at_a_usual_size(output: nn.Module) -> None:
    assert isinstance(output, nn.Conv2d)
    assert output.bias is not None
    nn.init.normal_(output.weight, std=0.01)
    nn.init.constant_(output.bias, TYPICAL_LOG)


def _branch(channels: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, outputs, 3, padding=1),
    )


class BoxHead(nn.Module):
    """One classification and one regression branch behind the fused map (SiamFFN, Fig. 3).

    A branch is a 3x3 convolution, BN, ReLU and a 3x3 output convolution: the layout whose count
    meets the paper's parameters and operations.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cls = _branch(channels, 2)
        self.reg = _branch(channels, 4)
        _start_at_a_usual_size(self.reg[-1])

    def forward(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, 2, H, W), background first, and distances (B, 4, H, W).

        Distances run from the cell's point to the left, top, right and bottom edge of the box, in
        pixels of the search crop.
        """
        return self.cls(fused), distances(self.reg(fused))


class DepthwiseBranch(nn.Module):
    """Depth-wise correlation between two small networks (SiamRPN++, Fig. 5c)."""

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
        """Map search features and what `kernel` made of the template's to (B, outputs, H, W)."""
        return self.output(depthwise_correlation(self.embed(level), kernel))


class ResultFusion(nn.Module):
    """A pair of branches a level, whose results are averaged by learned weights (SiamRPN++)."""

    def __init__(self, channels: int, levels: int, anchors: int) -> None:
        super().__init__()
        self.cls = nn.ModuleList(DepthwiseBranch(channels, 2 * anchors) for _ in range(levels))
        self.reg = nn.ModuleList(DepthwiseBranch(channels, 4 * anchors) for _ in range(levels))
        self.cls_weight = nn.Parameter(torch.ones(levels))
        self.reg_weight = nn.Parameter(torch.ones(levels))

    def kernels(self, template: Sequence[Tensor]) -> list[Tensor]:
        """Embed the template's levels: first for classification, then for regression."""
        branches = [*self.cls, *self.reg]
        return [branch.kernel(z) for branch, z in zip(branches, [*template, *template])]

    def forward(self, levels: Sequence[Tensor], kernels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the averaged logits (B, 2 * anchors, H, W) and values (B, 4 * anchors, H, W)."""
        cls = [branch(x, z) for branch, x, z in zip(self.cls, levels, kernels)]
        reg = [branch(x, z) for branch, x, z in zip(self.reg, levels, kernels[len(levels) :])]
        reg = [self.decode(values, level) for level, values in enumerate(reg)]
        return _weighted(cls, self.cls_weight), _weighted(reg, self.reg_weight)

    def decode(self, values: Tensor, _level: int) -> Tensor:
        """Return a level's values as they are to be averaged."""
        return values


class DistanceFusion(ResultFusion):
    """The same free of anchors: distances are averaged (SiamBAN)."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__(channels, levels, anchors=1)
        self.scale = nn.Parameter(torch.ones(levels))
        for branch in self.reg:
            assert isinstance(branch, DepthwiseBranch)
            _start_at_a_usual_size(branch.output[-1])

    def decode(self, values: Tensor, level: int) -> Tensor:
        """Return a level's distances in pixels."""
        return distances(self.scale[level] * values)


def _weighted(maps: Sequence[Tensor], weights: Tensor) -> Tensor:
    shares = weights.softmax(0).view(-1, 1, 1, 1, 1)
    return (shares * torch.stack(list(maps))).sum(0)


class UpChannelHead(nn.Module):
    """The template becomes the kernels of the last layer (SiamRPN, Fig. 2).

    It sees the deepest level only.
    """

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        self.cls_kernel = nn.Conv2d(channels, channels * 2 * anchors, 3)
        self.reg_kernel = nn.Conv2d(channels, channels * 4 * anchors, 3)
        self.cls_embed = nn.Conv2d(channels, channels, 3)
        self.reg_embed = nn.Conv2d(channels, channels, 3)
        self.reg_adjust = nn.Conv2d(4 * anchors, 4 * anchors, 1)

    def kernels(self, template: Sequence[Tensor]) -> list[Tensor]:
        """Return the kernels of classification and of regression."""
        return [self.cls_kernel(template[-1]), self.reg_kernel(template[-1])]

    def forward(self, levels: Sequence[Tensor], kernels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits (B, 2 * anchors, H, W) and offsets (B, 4 * anchors, H, W)."""
        cls, reg = kernels
        logits = cross_correlation(self.cls_embed(levels[-1]), cls)
        return logits, self.reg_adjust(cross_correlation(self.reg_embed(levels[-1]), reg))
