"""Which candidates of a model are the target, and which are not."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from siamffn_model.imaging.crop import SEARCH_SIZE
from siamffn_model.networks.score_map import STRIDE, ScoreMap

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1
ANCHOR_POSITIVE, ANCHOR_NEGATIVE = 0.6, 0.3  # IoU with the target (SiamRPN)
DISTRACTORS = 16  # candidates that count in a pair that shows another target
NEAR = 3 * STRIDE  # pixels from its centre within which anchors count there (pysot)


@lru_cache(maxsize=8)
def points(score_map: ScoreMap, device: torch.device | str = 'cpu') -> Tensor:
    """Return (2, N): x and y of each candidate in pixels of the search crop, 31 + 8k."""
    return torch.tensor(score_map.points(), dtype=torch.float32, device=device) + SEARCH_SIZE // 2


def edge_distances(score_map: ScoreMap, boxes: Tensor) -> Tensor:
    """Return (B, 4, N): from each candidate to a box's left, top, right and bottom edge, in pixels.

    boxes (B, 4) as x, y, w, h in pixels of the search crop.
    """
    x, y = points(score_map, boxes.device)
    bx, by, w, h = (value[:, None] for value in boxes.unbind(1))
    return torch.stack([x - bx, y - by, bx + w - x, by + h - y], dim=1)


def overlap(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return the areas (...) of intersection and of union of boxes around the same points.

    The boxes are given as distances (..., 4) from a point to their edges, as in `edge_distances`.
    """
    left, top, right, bottom = torch.minimum(one, other).unbind(-1)
    shared = (left + right).clamp(min=0) * (top + bottom).clamp(min=0)
    return shared, _area(one) + _area(other) - shared


def _area(distances: Tensor) -> Tensor:
    left, top, right, bottom = distances.unbind(-1)
    return (left + right) * (top + bottom)


def labels(
    score_map: ScoreMap, boxes: Tensor, negative: Tensor, sampling_priority: Tensor
) -> Tensor:
    """Return (B, N): POSITIVE, NEGATIVE or IGNORED for every candidate of each pair.

    boxes (B, 4) as x, y, w, h in pixels of the search crop, negative (B,) bool,
    sampling_priority (B, N) random numbers. Anchors are judged by their IoU with the target
    (SiamRPN), points by two ellipses (SiamBAN). In a negative pair, which shows another target, the
    16 candidates with the highest priority in the middle of that target are NEGATIVE, and all
    others are IGNORED.
    """
    if score_map.anchors:
        found = _by_overlap(score_map, boxes)
        x, y = _from_centre(score_map, boxes)
        middle = (x.abs() <= NEAR) & (y.abs() <= NEAR)
    else:
        found = _by_ellipses(score_map, boxes)
        middle = found == POSITIVE
    distractors = torch.full_like(found, IGNORED)
    distractors[sample(middle, sampling_priority, DISTRACTORS)] = NEGATIVE
    return torch.where(negative[:, None], distractors, found)


def sample(mask: Tensor, sampling_priority: Tensor, count: int) -> Tensor:
    """Return a mask (B, N): in each row the `count` places of `mask` with the highest priority."""
    ranked = sampling_priority.masked_fill(~mask, -torch.inf)
    places = ranked.topk(min(count, sampling_priority.shape[1]), dim=1).indices
    return torch.zeros_like(mask).scatter(1, places, True) & mask


def _from_centre(score_map: ScoreMap, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return (B, N) and (B, N): how far each candidate is right of and below the box's centre."""
    x, y = points(score_map, boxes.device)
    bx, by, w, h = (value[:, None] for value in boxes.unbind(1))
    return x - bx - w / 2, y - by - h / 2


def _by_ellipses(score_map: ScoreMap, boxes: Tensor) -> Tensor:
    """POSITIVE within semi-axes w/4, h/4 round the target's centre, NEGATIVE outside w/2, h/2."""
    x, y = _from_centre(score_map, boxes)
    w, h = boxes[:, 2:3], boxes[:, 3:4]
    distance = (x / w) ** 2 + (y / h) ** 2
    return _between(distance < 1 / 16, distance > 1 / 4)


def _by_overlap(score_map: ScoreMap, boxes: Tensor) -> Tensor:
    """POSITIVE where the anchor's IoU with the target is above .6, NEGATIVE where below .3."""
    anchors = torch.tensor(score_map.anchors, device=boxes.device)
    halves = anchors.repeat_interleave(score_map.side**2, dim=0).repeat(1, 2) / 2  # (N, 4)
    shared, union = overlap(edge_distances(score_map, boxes).transpose(1, 2), halves)
    iou = shared / union
    return _between(iou > ANCHOR_POSITIVE, iou < ANCHOR_NEGATIVE)


def _between(positive: Tensor, negative: Tensor) -> Tensor:
    found = torch.full_like(positive, IGNORED, dtype=torch.long)
    found[positive] = POSITIVE
    found[negative] = NEGATIVE
    return found
