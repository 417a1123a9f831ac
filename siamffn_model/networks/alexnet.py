"""AlexNet without padding, the backbone of SiamFC and SiamRPN (Krizhevsky et al. 2012)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from siamffn_model.networks.backbone import Backbone


class AlexNet(Backbone):
    """Map BGR images (B, 3, H, W), 0-255, to one level with 256 channels.

    The level has 22x22 cells for 255 px and 6x6 for 127 px. As in pysot, convolutions are not
    grouped, which gives SiamRPN the number of parameters in Table 2 of the paper.
    """

    channels = (256,)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 96, 11, stride=2),
            nn.BatchNorm2d(96),
            nn.MaxPool2d(3, stride=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(96, 256, 5),
            nn.BatchNorm2d(256),
            nn.MaxPool2d(3, stride=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 384, 3),
            nn.BatchNorm2d(384),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 384, 3),
            nn.BatchNorm2d(384),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3),
            nn.BatchNorm2d(256),
        )

    def frozen_stages(self, image: Tensor) -> list[Tensor]:
        """See `Backbone.frozen_stages`; includes all layers."""
        return [self.layers(image)]

    def trainable_stages(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """Return the only level (B, 256, h, w)."""
        return list(stages)
