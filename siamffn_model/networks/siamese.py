"""Siamese networks from crop to classification and regression maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from siamffn_model.imaging.crop import TEMPLATE_SIZE
from siamffn_model.networks.backbone import Backbone
from siamffn_model.networks.correlation import (
    cross_correlation,
    depthwise_correlation,
    pixelwise_correlation,
)
from siamffn_model.networks.fusion import ScaleAttention
from siamffn_model.networks.heads import (
    BoxHead,
    MultiBAN,
    MultiRPN,
    UPChannelRPN,
    anchor_distances,
)
from siamffn_model.networks.neck import Neck, center_crop
from siamffn_model.networks.score_map import ScoreMap

MAP_25 = ScoreMap(25)
# Width and height in pixels, rounded as in SiamRPN++: ratios from 1/3 to 3, area of about 64 x 64.
ANCHORS = ((104.0, 32.0), (88.0, 40.0), (64.0, 64.0), (40.0, 80.0), (32.0, 96.0))


class Siamese(nn.Module):
    """Base class: backbone and neck with shared weights for both crops, then a comparison.

    `template` runs once per target, `search` once per frame.
    """

    score_map: ScoreMap

    def __init__(self, backbone: Backbone, neck: nn.Module, cells: int) -> None:
        """`cells` is the side of the central template features, which cover the target."""
        super().__init__()
        self.backbone, self.neck, self.cells = backbone, neck, cells

    def template(self, crop: Tensor) -> list[Tensor]:
        """Map template crops (B, 3, 127, 127), BGR 0-255, to kernels for `search`."""
        levels = self.neck(self.backbone(crop))
        return self.kernels([center_crop(level, self.cells) for level in levels])

    def search(self, crop: Tensor, template: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Map search crops (B, 3, 255, 255), BGR 0-255, and kernels to the output of `compare`."""
        return self.compare(self.neck(self.backbone(crop)), template)

    def kernels(self, template: Sequence[Tensor]) -> list[Tensor]:
        """Map template levels (B, C, cells, cells) to the kernels that `compare` takes."""
        return list(template)

    def compare(self, levels: Sequence[Tensor], kernels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Compare search levels (B, C, h, w) with kernels.

        Returns:
            Logits (B, 2, N), background first, and distances (B, 4, N) from the point of each
            candidate to the left, top, right and bottom edge of its box, in pixels of the search
            crop. The N candidates are those of `score_map`.
        """
        raise NotImplementedError


class SiamFFN(Siamese):
    """Feature fusion: scale attention fuses the response maps of all levels (paper Fig. 3)."""

    def __init__(
        self,
        backbone: Backbone,
        channels: int,
        cells: int,
        score_map: ScoreMap = MAP_25,
        padding: int = 0,
        separable: int = 0,
        residual: int = 0,
        pixelwise: bool = False,
    ) -> None:
        """`channels` is the number of channels of neck and head.

        With `padding`, the width of a border of zeros around the search features, the kernels of
        the depth-wise correlation are the central 2 * padding + 1 cells of the template, and the
        response maps have the size of the search features. If `pixelwise` is true, the pixel-wise
        correlation of the deepest level with all cells is added to the fused map. For `separable`
        and `residual` see `BoxHead`.
        """
        super().__init__(backbone, Neck(backbone.channels, channels), cells)
        self.score_map, self.padding = score_map, padding
        self.fusion = ScaleAttention(channels)
        self.pixelwise = nn.Conv2d(cells**2, channels, 1) if pixelwise else None
        if self.pixelwise is not None:
            nn.init.zeros_(self.pixelwise.weight)  # at first the fused map is that of the paper
        self.head = BoxHead(channels, separable, residual)

    def kernels(self, template: Sequence[Tensor]) -> list[Tensor]:
        """See `Siamese.kernels`; the template of the pixel-wise correlation is the last."""
        side = 2 * self.padding + 1 if self.padding else self.cells
        kernels = [center_crop(level, side) for level in template]
        return kernels if self.pixelwise is None else [*kernels, template[-1]]

    def compare(self, levels: Sequence[Tensor], kernels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """See `Siamese.compare`."""
        x, z = torch.cat(list(levels), dim=1), torch.cat(list(kernels[: len(levels)]), dim=1)
        responses = depthwise_correlation(x, z, self.padding)
        fused = self.fusion(responses.chunk(len(levels), dim=1))
        if self.pixelwise is not None:
            fused = fused + self.pixelwise(pixelwise_correlation(levels[-1], kernels[-1]))
        logits, distances = self.head(fused)
        return logits.flatten(2), distances.flatten(2)

    def rescale_scores(self, scale: float, shift: float) -> None:
        """Change the output layer so that all log odds become scale * log odds + shift."""
        output = self.head.cls[-1]
        assert isinstance(output, nn.Conv2d)
        assert output.bias is not None
        with torch.no_grad():
            output.weight.mul_(scale)
            output.bias.mul_(scale)
            output.bias[1] += shift


class SiamBAN(Siamese):
    """Anchor-free result fusion (Chen et al. 2020), the baseline of the paper."""

    score_map = MAP_25

    def __init__(self, backbone: Backbone, channels: int, cells: int) -> None:
        """`channels` is the number of channels of neck and head."""
        super().__init__(backbone, Neck(backbone.channels, channels), cells)
        self.head = MultiBAN(channels, len(backbone.channels))

    def kernels(self, template: Sequence[Tensor]) -> list[Tensor]:
        """See `Siamese.kernels`."""
        return self.head.kernels(template)

    def compare(self, levels: Sequence[Tensor], kernels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """See `Siamese.compare`."""
        logits, distances = self.head(levels, kernels)
        return logits.flatten(2), distances.flatten(2)


class _AnchorBased(Siamese):
    """Base class of models with anchors; converts offsets to distances."""

    anchors: Tensor

    def __init__(
        self, backbone: Backbone, neck: nn.Module, cells: int, head: MultiRPN | UPChannelRPN
    ) -> None:
        super().__init__(backbone, neck, cells)
        self.head = head
        self.register_buffer('anchors', torch.tensor(self.score_map.anchors), persistent=False)

    def kernels(self, template: Sequence[Tensor]) -> list[Tensor]:
        """See `Siamese.kernels`."""
        return self.head.kernels(template)

    def compare(self, levels: Sequence[Tensor], kernels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """See `Siamese.compare`."""
        logits, offsets = self.head(levels, kernels)
        distances = anchor_distances(offsets.unflatten(1, (4, -1)), self.anchors)
        return logits.unflatten(1, (2, -1)).flatten(2), distances.flatten(2)


class SiamRPNpp(_AnchorBased):
    """Result fusion with anchors (Li et al. 2019)."""

    score_map = ScoreMap(25, ANCHORS)

    def __init__(self, backbone: Backbone, channels: int, cells: int) -> None:
        """`channels` is the number of channels of neck and head."""
        neck = Neck(backbone.channels, channels)
        head = MultiRPN(channels, len(backbone.channels), len(ANCHORS))
        super().__init__(backbone, neck, cells, head)


class SiamRPN(_AnchorBased):
    """Region proposals with kernels from the template, on one level (Li et al. 2018)."""

    score_map = ScoreMap(17, ANCHORS)

    def __init__(self, backbone: Backbone, cells: int) -> None:
        head = UPChannelRPN(backbone.channels[-1], len(ANCHORS))
        super().__init__(backbone, nn.Identity(), cells, head)


class SiamFC(Siamese):
    """Cross-correlation on one level, without box regression (Bertinetto et al. 2016)."""

    score_map = ScoreMap(17, sized=False)

    def __init__(self, backbone: Backbone, cells: int) -> None:
        super().__init__(backbone, nn.Identity(), cells)
        self.gain = nn.Parameter(torch.tensor(1e-3))
        self.bias = nn.Parameter(torch.tensor(0.0))

    def compare(self, levels: Sequence[Tensor], kernels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """See `Siamese.compare`; all boxes are squares of half the template crop's side."""
        response = cross_correlation(levels[-1], kernels[-1]).flatten(2)
        score = self.gain * response + self.bias
        logits = torch.cat([torch.zeros_like(score), score], dim=1)
        return logits, torch.full_like(logits.float(), TEMPLATE_SIZE / 4).repeat(1, 2, 1)
