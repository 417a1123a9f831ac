"""AlexNet without padding (Krizhevsky et al. 2012), as SiamFC and SiamRPN use it."""

from __future__ import annotations

from torch import Tensor, nn

from siamffn_model.networks.backbone import Backbone


class AlexNet(Backbone):
    """Map BGR images (B, 3, H, W), 0-255, to one level (256 channels).

    255 px give 22x22 cells, 127 px give 6x6. As in pysot, no convolution is in two groups: so
    SiamRPN has the parameters of the paper's Table 2.
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

    def frozen_stages(self, image: Tensor) -> Tensor:
        """See `Backbone.frozen_stages`: all of it."""
        features: Tensor = self.layers(image)
        return features

    def trainable_stages(self, x: Tensor) -> list[Tensor]:
        """Return the only level."""
        return [x]
