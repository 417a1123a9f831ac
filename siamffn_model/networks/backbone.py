"""What a model needs of its backbone."""

from __future__ import annotations

from torch import Tensor, nn

from siamffn_model.errors import WeightsError


class Backbone(nn.Module):
    """Maps BGR images (B, 3, H, W), 0-255, to a list of levels at stride 8.

    `channels` is the number of channels of each level. A backbone is in two parts: `lower` stays as
    it is, `upper` may learn.
    """

    channels: tuple[int, ...]

    def lower(self, image: Tensor) -> Tensor:
        """Map images to what `upper` takes."""
        raise NotImplementedError

    def upper(self, x: Tensor) -> list[Tensor]:
        """Return the levels."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the levels."""
        return self.upper(self.lower(image))

    def load_imagenet(self) -> None:
        """Take the weights that the backbone learned on ImageNet; raises `WeightsError`."""
        raise WeightsError(f'no ImageNet weights are known for {type(self).__name__}')

    def tunable(self) -> list[nn.Module]:
        """Return what training may change: the modules of `upper`."""
        return []
