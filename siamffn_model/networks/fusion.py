"""Scale attention and fusion of the three response maps (paper section 3.1, Eq. 1-5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ScaleAttention(nn.Module):
    """Weight the response map of each level by its semantic importance and average the maps."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.score = nn.Conv2d(channels, 1, 1)
        # The ReLU of Eq. 2 and the hard sigmoid of Eq. 4 have a gradient only for scores between
        # 0 and 1. The initial scores are close to 0.5, the middle of this range.
        nn.init.normal_(self.score.weight, std=1e-3)
        assert self.score.bias is not None
        nn.init.constant_(self.score.bias, 0.5)

    def weights(self, responses: Sequence[Tensor]) -> Tensor:
        """Return weights (B, L) in [0.5, 1] for L response maps (B, C, H, W) (Eq. 2-4)."""
        pooled = [response.mean(dim=(2, 3), keepdim=True) for response in responses]
        scores = torch.stack([torch.relu(self.score(p)).flatten(1) for p in pooled], dim=1)
        return ((scores + 1) / 2).clamp(0, 1).squeeze(2)

    def forward(self, responses: Sequence[Tensor]) -> Tensor:
        """Return the mean (B, C, H, W) of the weighted response maps (B, C, H, W) (Eq. 5)."""
        weights = self.weights(responses)
        total = torch.zeros_like(responses[0])
        for response, weight in zip(responses, weights.unbind(1)):
            total = total + response * weight[:, None, None, None]
        return total / len(responses)
