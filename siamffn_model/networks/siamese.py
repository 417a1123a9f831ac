"""The trackers' networks, each from backbone to candidates, top to bottom."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from siamffn_model.imaging.crop import TEMPLATE_SIZE
from siamffn_model.networks.backbone import Backbone
from siamffn_model.networks.correlation import cross_correlation, depthwise_correlation
from siamffn_model.networks.fusion import ScaleAttention
from siamffn_model.networks.heads import (
    BoxHead,
    DistanceFusion,
    ResultFusion,
    UpChannelHead,
    anchor_distances,
)
from siamffn_model.networks.neck import Neck, center_crop
from siamffn_model.networks.score_map import ScoreMap

# Widths and heights at ratios 1/3 to 3 round a square of 64 px, with SiamRPN++'s rounding.
ANCHORS = ((104.0, 32.0), (88.0, 40.0), (64.0, 64.0), (40.0, 80.0), (32.0, 96.0))


class Siamese(nn.Module):
    """A backbone and a neck that see template and search crop alike, and a comparison of the two.

    The template is computed once a target, by `template`; each frame costs one `search`.
    """

    score_map: ScoreMap

    def __init__(self, backbone: Backbone, neck: nn.Module, cells: int) -> None:
        """`cells` is the side of the template's features that is kept, the target's part."""
        super().__init__()
        self.backbone, self.neck, self.cells = backbone, neck, cells

    def template(self, crop: Tensor) -> list[Tensor]:
        """Map template crops (B, 3, 127, 127), BGR 0-255, to what `search` takes."""
        levels = self.neck(self.backbone(crop))
        return self.kernels([center_crop(level, self.cells) for level in levels])

    def search(self, crop: Tensor, template: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Map search crops (B, 3, 255, 255), BGR 0-255, to what `compare` gives."""
        return self.compare(self.neck(self.backbone(crop)), template)

    def kernels(self, template: Sequence[Tensor]) -> list[Tensor]:
        """Do once what the comparison does with the template's features alone."""
        return list(template)

    def compare(self, levels: Sequence[Tensor], kernels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits (B, 2, N), background first, and distances (B, 4, N).

        The N candidates are those of `score_map`. Distances run from a candidate's point to the
        left, top, right and bottom edge of its box, in pixels of the search crop.
        """
        raise NotImplementedError


class SiamFFN(Siamese):
    """Feature fusion: response maps are fused by scale attention, then decoded (Fig. 3)."""

    score_map = ScoreMap(25)

    def __init__(self, backbone: Backbone, channels: int, cells: int) -> None:
        """`channels` is the width of neck and head."""
        super().__init__(backbone, Neck(backbone.channels, channels), cells)
        self.fusion = ScaleAttention(channels)
        self.head = BoxHead(channels)

    def compare(self, levels: Sequence[Tensor], kernels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """See `Siamese.compare`."""
        responses = [depthwise_correlation(x, z) for x, z in zip(levels, kernels)]
        logits, distances = self.head(self.fusion(responses))
        return logits.flatten(2), distances.flatten(2)

    def rescale_scores(self, scale: float, shift: float) -> None:
        """Turn the log odds of all scores into scale * log odds + shift."""
        output = self.head.cls[-1]
        assert isinstance(output, nn.Conv2d)
        assert output.bias is not None
        with torch.no_grad():
            output.weight.mul_(scale)
            output.bias.mul_(scale)
            output.bias[1] += shift


class SiamBAN(Siamese):
    """Result fusion free of anchors (Chen et al. 2020): the paper's baseline."""

    score_map = ScoreMap(25)

    def __init__(self, backbone: Backbone, channels: int, cells: int) -> None:
        """`channels` is the width of neck and head."""
        super().__init__(backbone, Neck(backbone.channels, channels), cells)
        self.head = DistanceFusion(channels, len(backbone.channels))

    def kernels(self, template: Sequence[Tensor]) -> list[Tensor]:
        """See `Siamese.kernels`."""
        return self.head.kernels(template)

    def compare(self, levels: Sequence[Tensor], kernels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """See `Siamese.compare`."""
        logits, distances = self.head(levels, kernels)
        return logits.flatten(2), distances.flatten(2)


class _Anchored(Siamese):
    """What models with anchors share: their offsets become distances."""

    anchors: Tensor

    def __init__(
        self, backbone: Backbone, neck: nn.Module, cells: int, head: ResultFusion | UpChannelHead
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


class SiamRPNpp(_Anchored):
    """Result fusion over anchors (Li et al. 2019)."""

    score_map = ScoreMap(25, ANCHORS)

    def __init__(self, backbone: Backbone, channels: int, cells: int) -> None:
        """`channels` is the width of neck and head."""
        neck = Neck(backbone.channels, channels)
        head = ResultFusion(channels, len(backbone.channels), len(ANCHORS))
        super().__init__(backbone, neck, cells, head)


class SiamRPN(_Anchored):
    """One level, whose template becomes the kernels of a region proposal (Li et al. 2018)."""

    score_map = ScoreMap(17, ANCHORS)

    def __init__(self, backbone: Backbone, cells: int) -> None:
        head = UpChannelHead(backbone.channels[-1], len(ANCHORS))
        super().__init__(backbone, nn.Identity(), cells, head)


class SiamFC(Siamese):
    """The first: where the template fits best, of whatever size it was (Bertinetto et al. 2016)."""

    score_map = ScoreMap(17, sized=False)

    def __init__(self, backbone: Backbone, cells: int) -> None:
        super().__init__(backbone, nn.Identity(), cells)
        self.gain = nn.Parameter(torch.tensor(1e-3))
        self.bias = nn.Parameter(torch.tensor(0.0))

    def compare(self, levels: Sequence[Tensor], kernels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """See `Siamese.compare`; the boxes are squares as large as the usual template."""
        response = cross_correlation(levels[-1], kernels[-1]).flatten(2)
        score = self.gain * response + self.bias
        logits = torch.cat([torch.zeros_like(score), score], dim=1)
        return logits, torch.full_like(logits.float(), TEMPLATE_SIZE / 4).repeat(1, 2, 1)
