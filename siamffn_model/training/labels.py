"""Classification labels and regression targets of a model's candidates."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from siamffn_model.imaging.crop import SEARCH_SIZE
from siamffn_model.networks.score_map import ScoreMap

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1
ANCHOR_POSITIVE, ANCHOR_NEGATIVE = 0.6, 0.3  # thresholds of the IoU with the target (SiamRPN)
DISTRACTORS = 16  # negative candidates in a negative pair
DISTRACTOR_RADIUS = 24  # pixels around the centre that anchors of a negative pair are from


@lru_cache(maxsize=8)
def points(score_map: ScoreMap, device: torch.device | str = 'cpu') -> Tensor:
    """Return (2, N): x and y of each candidate in pixels of the search crop."""
    return torch.tensor(score_map.points(), dtype=torch.float32, device=device) + SEARCH_SIZE // 2


def edge_distances(score_map: ScoreMap, boxes: Tensor) -> Tensor:
    """Return (B, 4, N): distances in pixels from each candidate to a box's edges.

    The edges are left, top, right and bottom; boxes (B, 4) are x, y, w, h in pixels of the search
    crop.
    """
    x, y = points(score_map, boxes.device)
    bx, by, w, h = (value[:, None] for value in boxes.unbind(1))
    return torch.stack([x - bx, y - by, bx + w - x, by + h - y], dim=1)


def intersection_and_union(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return the areas (...) of the intersection and the union of boxes around the same points.

    The boxes are distances (..., 4) from a point to their edges, as from `edge_distances`.
    """
    left, top, right, bottom = torch.minimum(one, other).unbind(-1)
    intersection = (left + right).clamp(min=0) * (top + bottom).clamp(min=0)
    return intersection, _area(one) + _area(other) - intersection


def _area(distances: Tensor) -> Tensor:
    left, top, right, bottom = distances.unbind(-1)
    return (left + right) * (top + bottom)


def labels(
    score_map: ScoreMap, boxes: Tensor, negative: Tensor, sampling_priority: Tensor
) -> Tensor:
    """Return (B, N): POSITIVE, NEGATIVE or IGNORED for every candidate of each pair.

    boxes (B, 4) are x, y, w, h in pixels of the search crop, negative (B,) is bool, and
    sampling_priority (B, N) are random numbers. Anchors are labelled by their IoU with the target
    (SiamRPN), points by two ellipses (SiamBAN). A negative pair shows another target: the 16
    candidates near its centre with the highest priority are NEGATIVE, all others are IGNORED.
    """
    if score_map.anchors:
        result = _anchor_labels(score_map, boxes)
        x, y = _center_offsets(score_map, boxes)
        central = (x.abs() <= DISTRACTOR_RADIUS) & (y.abs() <= DISTRACTOR_RADIUS)
    else:
        result = _ellipse_labels(score_map, boxes)
        central = result == POSITIVE
    distractors = torch.full_like(result, IGNORED)
    distractors[sample(central, sampling_priority, DISTRACTORS)] = NEGATIVE
    return torch.where(negative[:, None], distractors, result)


def sample(mask: Tensor, sampling_priority: Tensor, count: int) -> Tensor:
    """Return a mask (B, N) of the `count` True entries with the highest priority in each row."""
    priority = sampling_priority.masked_fill(~mask, -torch.inf)
    indices = priority.topk(min(count, sampling_priority.shape[1]), dim=1).indices
    return torch.zeros_like(mask).scatter(1, indices, True) & mask


def _center_offsets(score_map: ScoreMap, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return (B, N) and (B, N): x and y of each candidate relative to the box's centre."""
    x, y = points(score_map, boxes.device)
    bx, by, w, h = (value[:, None] for value in boxes.unbind(1))
    return x - bx - w / 2, y - by - h / 2


def _ellipse_labels(score_map: ScoreMap, boxes: Tensor) -> Tensor:
    """Label points: POSITIVE within semi-axes w/4, h/4 of the centre, NEGATIVE outside w/2, h/2.

    The point nearest to the centre is always POSITIVE: between points at stride 16, a thin target
    would have none. At stride 8 it is within the inner ellipse of any target inside the map with
    16 / w**2 + 16 / h**2 < 1 / 16, such as 17 x 65 or 23 x 23 pixels.
    """
    x, y = _center_offsets(score_map, boxes)
    w, h = boxes[:, 2:3], boxes[:, 3:4]
    distance = (x / w) ** 2 + (y / h) ** 2
    result = _to_labels(distance < 1 / 16, distance > 1 / 4)
    nearest = (x**2 + y**2).argmin(1, keepdim=True)
    return result.scatter(1, nearest, POSITIVE)


def _anchor_labels(score_map: ScoreMap, boxes: Tensor) -> Tensor:
    """Label anchors: POSITIVE if the IoU with the target is above 0.6, NEGATIVE if below 0.3."""
    anchors = torch.tensor(score_map.anchors, device=boxes.device)
    halves = anchors.repeat_interleave(score_map.side**2, dim=0).repeat(1, 2) / 2  # (N, 4)
    intersection, union = intersection_and_union(
        edge_distances(score_map, boxes).transpose(1, 2), halves
    )
    iou = intersection / union
    return _to_labels(iou > ANCHOR_POSITIVE, iou < ANCHOR_NEGATIVE)


def _to_labels(positive: Tensor, negative: Tensor) -> Tensor:
    result = torch.full_like(positive, IGNORED, dtype=torch.long)
    result[positive] = POSITIVE
    result[negative] = NEGATIVE
    return result
