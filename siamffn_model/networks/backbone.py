"""What a model needs of its backbone."""

from __future__ import annotations

from torch import Tensor, nn

from siamffn_model.errors import WeightsError


class Backbone(nn.Module):
    """Maps BGR images (B, 3, H, W), 0-255, to a list of levels at stride 8.

    `channels` is the number of channels of each level. A backbone has two parts: `frozen_stages`
    never learns, `trainable_stages` may.
    """

    channels: tuple[int, ...]

    def frozen_stages(self, image: Tensor) -> Tensor:
        """Map images to what `trainable_stages` takes."""
        raise NotImplementedError

    def trainable_stages(self, x: Tensor) -> list[Tensor]:
        """Return the levels."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the levels."""
        return self.trainable_stages(self.frozen_stages(image))

    def load_imagenet(self) -> None:
        """Take the weights that the backbone learned on ImageNet; raises `WeightsError`."""
        raise WeightsError(f'no ImageNet weights are known for {type(self).__name__}')

    def trainable(self) -> list[nn.Module]:
        """Return what training may change: the modules of `trainable_stages`."""
        return []
