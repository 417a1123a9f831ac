"""The tracker's network: backbone, neck, correlation, fusion and head, top to bottom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor, nn

from siamffn_model.networks.correlation import depthwise_correlation
from siamffn_model.networks.fusion import ScaleAttention
from siamffn_model.networks.heads import BoxHead
from siamffn_model.networks.neck import Neck, center_crop

TEMPLATE_SIZE = 127  # pixels of the template crop's side
SEARCH_SIZE = 255  # pixels of the search crop's side
SCORE_SIZE = 25  # cells of the score map's side


class Network(Protocol):
    """What tracks: the template once a target, one search a frame (see `SiamFFN`)."""

    def template(self, crop: Tensor) -> list[Tensor]:
        """Map template crops to features."""

    def search(self, crop: Tensor, template: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Map search crops to logits and distances."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return the weights: they tell the device."""


class SiamFFN(nn.Module):
    """Siamese Feature Fusion Network (Bao et al. 2023, Fig. 3) on any backbone of three levels.

    The template is computed once a target, by `template`; each frame costs one `search`.
    """

    def __init__(
        self, backbone: nn.Module, widths: Sequence[int], channels: int, cells: int
    ) -> None:
        """Build on a `backbone` whose levels have `widths` channels.

        `channels` is the width of neck and head, `cells` the side of the template's features.
        """
        super().__init__()
        self.cells = cells
        self.backbone = backbone
        self.neck = Neck(widths, channels)
        self.fusion = ScaleAttention(channels)
        self.head = BoxHead(channels)

    def template(self, crop: Tensor) -> list[Tensor]:
        """Map template crops (B, 3, 127, 127), BGR 0-255, to features (B, C, cells, cells)."""
        return [center_crop(level, self.cells) for level in self.neck(self.backbone(crop))]

    def search(self, crop: Tensor, template: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Map search crops (B, 3, 255, 255), BGR 0-255, to logits and distances (see `BoxHead`)."""
        levels = self.neck(self.backbone(crop))
        responses = [depthwise_correlation(x, z) for x, z in zip(levels, template)]
        logits, distances = self.head(self.fusion(responses))
        return logits, distances
