"""Which points of the score map are the target, and which are not (SiamBAN's ellipses)."""

from __future__ import annotations

import torch
from torch import Tensor

from siamffn_model.networks.heads import STRIDE
from siamffn_model.networks.siamese import SCORE_SIZE, SEARCH_SIZE

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1


def points(device: torch.device | str = 'cpu') -> Tensor:
    """Return (2, 25, 25): x and y of each point in pixels of the search crop, 31 + 8k."""
    first = SEARCH_SIZE // 2 - STRIDE * (SCORE_SIZE // 2)
    line = first + STRIDE * torch.arange(SCORE_SIZE, device=device, dtype=torch.float32)
    y, x = torch.meshgrid(line, line, indexing='ij')
    return torch.stack([x, y])


def point_labels(boxes: Tensor, negative: Tensor) -> Tensor:
    """Label every point of each pair.

    boxes (B, 4) as x, y, w, h in pixels of the search crop, negative (B,) bool -> (B, 25, 25):
    POSITIVE inside the ellipse with semi-axes w/4, h/4 round the target's centre, NEGATIVE outside
    w/2, h/2, IGNORED between. In a negative pair, which shows another target, all are NEGATIVE.
    """
    x, y = points(boxes.device)
    bx, by, w, h = (value[:, None, None] for value in boxes.unbind(1))
    distance = ((x - bx - w / 2) / w) ** 2 + ((y - by - h / 2) / h) ** 2
    labels = torch.full_like(distance, IGNORED, dtype=torch.long)
    labels[distance < 1 / 16] = POSITIVE
    labels[(distance > 1 / 4) | negative[:, None, None]] = NEGATIVE
    return labels


def edge_distances(boxes: Tensor) -> Tensor:
    """Return (B, 4, 25, 25): from each point to the left, top, right and bottom edge, in pixels."""
    x, y = points(boxes.device)
    bx, by, w, h = (value[:, None, None] for value in boxes.unbind(1))
    return torch.stack([x - bx, y - by, bx + w - x, by + h - y], dim=1)
