"""What a model needs of its backbone."""

from __future__ import annotations

from torch import nn

from siamffn_model.errors import WeightsError


class Backbone(nn.Module):
    """Maps BGR images (B, 3, H, W), 0-255, to a list of levels at stride 8.

    `channels` is the number of channels of each level.
    """

    channels: tuple[int, ...]

    def load_imagenet(self) -> None:
        """Take the weights that the backbone learned on ImageNet; raises `WeightsError`."""
        raise WeightsError(f'no ImageNet weights are known for {type(self).__name__}')

    def tunable(self) -> list[nn.Module]:
        """Return the parts that training may change; what comes before them stays as it is."""
        return []
