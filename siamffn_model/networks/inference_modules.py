"""The two halves of a model as every runtime computes them: from pixels to plain numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from siamffn_model.imaging.crop import SEARCH_SIZE, TEMPLATE_SIZE
from siamffn_model.networks.siamese import Siamese


class TemplateModule(nn.Module):
    """Template crops (B, 127, 127, 3), BGR uint8, to the tensors that the search takes."""

    def __init__(self, model: Siamese) -> None:
        super().__init__()
        self.model = model

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        """See above."""
        return tuple(self.model.template(_pixels(crops, self.model)))


class SearchModule(nn.Module):
    """Search crops (B, 255, 255, 3), BGR uint8, and templates to candidates (B, 5, N).

    A candidate is its score, the x and y of its box's centre from the crop's, width and height, in
    pixels of the crop and in single precision.
    """

    points: Tensor

    def __init__(self, model: Siamese) -> None:
        super().__init__()
        self.model = model
        points = torch.tensor(model.score_map.points(), dtype=torch.float32, device=_device(model))
        self.register_buffer('points', points, persistent=False)

    def forward(self, crops: Tensor, *template: Tensor) -> Tensor:
        """See above."""
        logits, distances = self.model.search(_pixels(crops, self.model), template)
        score = torch.sigmoid((logits[:, 1] - logits[:, 0]).float())
        left, top, right, bottom = distances.float().unbind(1)
        x, y = self.points.unbind(0)
        center = [x + (right - left) / 2, y + (bottom - top) / 2]
        return torch.stack([score, *center, left + right, top + bottom], dim=1)


def _pixels(crops: Tensor, model: Siamese) -> Tensor:
    kind = next(model.parameters()).dtype
    # Converted before anything else: TensorRT takes bytes at a network's inputs only.
    return crops.to(kind).permute(0, 3, 1, 2)


def _device(model: Siamese) -> torch.device:
    return next(model.parameters()).device


def stages(model: Siamese) -> tuple[TemplateModule, SearchModule]:
    """Return both halves of a model in evaluation mode."""
    return TemplateModule(model).eval(), SearchModule(model).eval()


def example_inputs(model: Siamese) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return what the two stages take for one target, as their graphs are made with."""
    template_crop, search_crop = (
        torch.zeros(1, size, size, 3, dtype=torch.uint8, device=_device(model))
        for size in (TEMPLATE_SIZE, SEARCH_SIZE)
    )
    with torch.no_grad():
        template = TemplateModule(model)(template_crop)
    return (template_crop,), (search_crop, *template)
