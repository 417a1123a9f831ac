"""Polygons of four corners: their overlap as VOT counts it, and the upright box of the same area.

Overlap is counted in pixels, by the rules of the tool kit that came with PySOT, which are those of
VOT's libtrax (region.c); with exact areas published figures are not met.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from siamffn_model.evaluation.metrics import Floats
from siamffn_model.imaging.geometry import Box

CHUNK = 64  # frames at a time: bounds the memory
TINY = 1e-6  # above the error of an edge's x, below what a fraction of pixels can miss a whole by


def to_box(polygon: ArrayLike) -> Box:
    """Return the upright box from which PySOT and SiamBAN start trackers on a polygon (8).

    Its centre is the mean of the corners; it has the shape of the polygon's bounding box, shrunk to
    the area of the polygon taken as a rectangle, and a pixel more (`get_axis_aligned_bbox` there).
    """
    points = np.asarray(polygon, float).reshape(4, 2)
    cx, cy = points.mean(axis=0).tolist()
    width, height = np.ptp(points, axis=0).tolist()
    area = math.dist(points[0], points[1]) * math.dist(points[1], points[2])
    scale = math.sqrt(area / (width * height)) if width * height > 0 else 1.0
    return Box.from_center(cx, cy, scale * width + 1, scale * height + 1)


def polygon_overlap(a: ArrayLike, b: ArrayLike, size: tuple[int, int]) -> Floats:
    """Return the overlaps (N), in [0, 1], of convex polygons frame by frame.

    The corners are rounded to whole pixels, halves up. In each row of pixels a polygon takes all
    from its left to its right edge, both rounded down and included; its first and last row count.
    Pixels outside the image do not. Polygons whose bounding boxes, in whole pixels and inside the
    image, at most touch have overlap 0, and so has NaN or infinity.

    Args:
        a, b: (N, 8) corners x1, y1, ..., x4, y4 in pixels, in the order of the outline.
        size: (width, height) of the images.
    """
    pairs = np.stack([np.asarray(p, float).reshape(-1, 4, 2) for p in (a, b)], axis=1)
    last = np.array(size, float) - 1
    low = np.floor(pairs.min(axis=2)).clip(0)
    high = np.minimum(np.ceil(pairs.max(axis=2)), last)
    meet = (low.max(axis=1) < high.min(axis=1)).all(axis=1) & np.isfinite(pairs).all((1, 2, 3))
    top, bottom = low[..., 1].min(axis=1), high[..., 1].max(axis=1)
    order = np.flatnonzero(meet)
    order = order[np.argsort((bottom - top)[order])]  # alike in a chunk: few rows in vain
    overlap = np.zeros(len(pairs))
    for start in range(0, len(order), CHUNK):
        chunk = order[start : start + CHUNK]
        rows = top[chunk, None] + np.arange((bottom - top)[chunk[-1]] + 1)
        rows[rows > last[1]] = np.nan  # meets no edge
        overlap[chunk] = _overlap(np.floor(pairs[chunk] + 0.5), rows, last[0])
    return overlap


def _overlap(pairs: Floats, rows: Floats, last: float) -> Floats:
    """Return (N) for pairs (N, 2, 4, 2) of whole corners; `rows` (N, M) hold all their pixels."""
    left_a, right_a = _spans(pairs[:, 0], rows, last)
    left_b, right_b = _spans(pairs[:, 1], rows, last)
    shared = _pixels(np.maximum(left_a, left_b), np.minimum(right_a, right_b))
    union = _pixels(left_a, right_a) + _pixels(left_b, right_b) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _spans(polygons: Floats, rows: Floats, last: float) -> tuple[Floats, Floats]:
    """Return the first and last pixel (N, M) of each polygon (N, 4, 2); last below first: none."""
    left, right = np.full_like(rows, np.inf), np.full_like(rows, -np.inf)
    for edge in range(4):
        x1, y1 = polygons[:, edge - 1, :, None].swapaxes(0, 1)
        x2, y2 = polygons[:, edge, :, None].swapaxes(0, 1)
        slope = (x2 - x1) / np.where(y1 == y2, 1, y2 - y1)  # level: the next edges give its ends
        x = x1 + (rows - y1) * slope
        met = (rows >= np.minimum(y1, y2)) & (rows <= np.maximum(y1, y2))
        np.minimum(left, np.where(met, x, np.inf), out=left)
        np.maximum(right, np.where(met, x, -np.inf), out=right)
    left, right = np.floor(left + TINY), np.floor(right + TINY)
    return np.maximum(left, 0), np.minimum(right, last)


def _pixels(left: Floats, right: Floats) -> Floats:
    return np.maximum(right - left + 1, 0).sum(axis=1)
