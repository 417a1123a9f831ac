"""Keep the network's noise out of the box: average candidates, and damp changes that are noise."""

from __future__ import annotations

import math

import numpy as np

from siamffn_model.imaging.geometry import Box, iou
from siamffn_model.runtimes.runtime import Floats

SHARPNESS = 40.0  # of the weights of candidates; at 20 and below, boxes become less accurate
MIN_WEIGHT = 0.01  # candidates with less are left out
MIN_OVERLAP = 0.5  # IoU with the best candidate
POSITION_NOISE = 0.01  # displacement that is halved, as a fraction of the box's side
SIZE_NOISE = 0.03  # relative change of the size that is halved


def mean_candidate(candidates: Floats, pscore: Floats, best: int) -> Floats:
    """Return the mean (4) of the best candidate and those that rank near it and overlap it.

    Scores saturate at 1, so that noise decides which of several candidates with different boxes is
    the best; their mean is steady.

    Args:
        candidates: (4, N), x and y of the centre, width and height.
        pscore: (N), penalised scores.
        best: index of the best candidate.
    """
    weights = np.exp(SHARPNESS * (pscore - pscore[best]))
    near = np.flatnonzero(weights > MIN_WEIGHT)
    boxes, weights = candidates[:, near], weights[near]
    weights *= overlaps(boxes, candidates[:, best]) >= MIN_OVERLAP
    weights[near == best] = 1  # even if it has no area
    mean: Floats = boxes @ weights / weights.sum()
    return mean


def overlaps(candidates: Floats, candidate: Floats) -> Floats:
    """Return the IoU (N) of candidates (4, N) with one (4), all as centre and size."""
    return iou(_to_boxes(candidates).T, _to_boxes(candidate))


def _to_boxes(candidates: Floats) -> Floats:
    size = np.maximum(candidates[2:], 0)
    return np.concatenate([candidates[:2] - size / 2, size])


def damped(change: float, noise: float) -> float:
    """Return the factor in [0, 1) for a change: 1/2 at `noise`, near 1 far above, 0 far below."""
    return change**2 / (change**2 + noise**2)


def displacement_factor(dx: float, dy: float, box: Box) -> float:
    """Return the factor for a displacement in pixels of a target with this last box."""
    return damped(math.hypot(dx, dy) / math.sqrt(box.area), POSITION_NOISE)


def size_factor(w: float, h: float, box: Box) -> float:
    """Return the factor for a change of the size of `box` to (w, h)."""
    changes = (math.log(max(new, 1e-3) / old) for new, old in ((w, box.w), (h, box.h)))
    return damped(max(map(abs, changes)), SIZE_NOISE)
