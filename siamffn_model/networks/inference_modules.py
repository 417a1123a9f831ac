"""The two modules that inference engines run: from uint8 crops to candidates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from siamffn_model.imaging.crop import SEARCH_SIZE, TEMPLATE_SIZE
from siamffn_model.networks.siamese import Siamese


class TemplateModule(nn.Module):
    """Maps template crops (B, 127, 127, 3), BGR uint8, to the template features of the search."""

    def __init__(self, model: Siamese) -> None:
        super().__init__()
        self.model = model

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        """Return the template features, one tensor (B, C, h, w) per level or kernel."""
        return tuple(self.model.template(_to_network_input(crops, self.model)))


class SearchModule(nn.Module):
    """Maps search crops (B, 255, 255, 3), BGR uint8, and template features to candidates.

    The candidates (B, 5, N) are float32: score in [0, 1]; x and y of the box centre relative to the
    centre of the crop; width and height. All lengths are in pixels of the crop.
    """

    points: Tensor

    def __init__(self, model: Siamese) -> None:
        super().__init__()
        self.model = model
        points = torch.tensor(model.score_map.points(), dtype=torch.float32, device=_device(model))
        self.register_buffer('points', points, persistent=False)

    def forward(self, crops: Tensor, *template: Tensor) -> Tensor:
        """Return the candidates (B, 5, N)."""
        logits, distances = self.model.search(_to_network_input(crops, self.model), template)
        score = torch.sigmoid((logits[:, 1] - logits[:, 0]).float())
        left, top, right, bottom = distances.float().unbind(1)
        x, y = self.points.unbind(0)
        center = [x + (right - left) / 2, y + (bottom - top) / 2]
        return torch.stack([score, *center, left + right, top + bottom], dim=1)


def _to_network_input(crops: Tensor, model: Siamese) -> Tensor:
    """Convert (B, H, W, 3) uint8 to (B, 3, H, W) in the precision of the model."""
    dtype = next(model.parameters()).dtype
    # The cast is the first operation because TensorRT supports uint8 at network inputs only.
    return crops.to(dtype).permute(0, 3, 1, 2)


def _device(model: Siamese) -> torch.device:
    return next(model.parameters()).device


def inference_modules(model: Siamese) -> tuple[TemplateModule, SearchModule]:
    """Return the template module and the search module of a model, in evaluation mode."""
    return TemplateModule(model).eval(), SearchModule(model).eval()


def example_inputs(model: Siamese) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return example inputs (B = 1) of the template module and of the search module."""
    template_crop, search_crop = (
        torch.zeros(1, size, size, 3, dtype=torch.uint8, device=_device(model))
        for size in (TEMPLATE_SIZE, SEARCH_SIZE)
    )
    with torch.no_grad():
        template = TemplateModule(model)(template_crop)
    return (template_crop,), (search_crop, *template)
