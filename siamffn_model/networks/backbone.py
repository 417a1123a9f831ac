"""The interface of backbones."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from siamffn_model.errors import WeightsError


class Backbone(nn.Module):
    """Base class: maps BGR images (B, 3, H, W), 0-255, to levels (B, C_i, h, w).

    `channels` lists C_i. The weights of `frozen_stages` are never trained; those of
    `trainable_stages` can be.
    """

    channels: tuple[int, ...]

    def frozen_stages(self, image: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) to the inputs of `trainable_stages`."""
        raise NotImplementedError

    def trainable_stages(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """Map the outputs of `frozen_stages` to the levels."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) to the levels."""
        return self.trainable_stages(self.frozen_stages(image))

    def load_imagenet(self) -> None:
        """Load weights pretrained on ImageNet; raise `WeightsError` if they are not available."""
        raise WeightsError(
            f'there are no ImageNet weights for {type(self).__name__}: start from a weight file'
        )

    def merge_convolutions(self) -> None:
        """Merge convolutions with nothing between them once batch norm is folded, in place."""

    def trainable(self) -> list[nn.Module]:
        """Return the modules of `trainable_stages` that training may change."""
        return []
