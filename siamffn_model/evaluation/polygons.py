"""Polygons with four corners: their overlap as in VOT.

The overlap is counted in pixels, by the rules of the tool kit of PySOT, which are those of VOT's
libtrax (region.c); exact areas do not reproduce published scores.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from siamffn_model.evaluation.metrics import Floats

CHUNK = 64  # frames processed at once; limits the memory
# Larger than the rounding error of the x of an edge, and smaller than the distance of any exact x
# that is not a whole number to the next whole number.
EPSILON = 1e-6


def polygon_overlap(a: ArrayLike, b: ArrayLike, size: tuple[int, int]) -> Floats:
    """Return the overlap (N,) of pairs of convex polygons, in [0, 1].

    The corners are rounded to whole pixels, halves up. In each row of pixels from its first to its
    last, a polygon covers the pixels from its left to its right edge, both rounded down and
    included. Pixels outside the image do not count. The overlap is 0 if the bounding boxes, in
    whole pixels and clipped to the image, touch at most, and if a value is NaN or infinite.

    Args:
        a: (N, 8) corners x1, y1, ..., x4, y4 in pixels, in the order of the outline.
        b: (N, 8) corners of the other polygons.
        size: (width, height) of the images.
    """
    pairs = np.stack([np.asarray(p, float).reshape(-1, 4, 2) for p in (a, b)], axis=1)
    last = np.array(size, float) - 1
    low = np.floor(pairs.min(axis=2)).clip(0)
    high = np.minimum(np.ceil(pairs.max(axis=2)), last)
    intersect = (low.max(axis=1) < high.min(axis=1)).all(axis=1) & np.isfinite(pairs).all((1, 2, 3))
    top, bottom = low[..., 1].min(axis=1), high[..., 1].max(axis=1)
    order = np.flatnonzero(intersect)
    order = order[np.argsort((bottom - top)[order])]  # similar heights in a chunk: few unused rows
    overlap = np.zeros(len(pairs))
    for start in range(0, len(order), CHUNK):
        chunk = order[start : start + CHUNK]
        rows = top[chunk, None] + np.arange((bottom - top)[chunk[-1]] + 1)
        rows[rows > last[1]] = np.nan  # crosses no edge
        overlap[chunk] = _overlap(np.floor(pairs[chunk] + 0.5), rows, last[0])
    return overlap


def _overlap(pairs: Floats, rows: Floats, last: float) -> Floats:
    """Return the overlap (N,) of pairs (N, 2, 4, 2) of rounded corners in the pixel rows (N, M)."""
    left_a, right_a = _spans(pairs[:, 0], rows, last)
    left_b, right_b = _spans(pairs[:, 1], rows, last)
    shared = _pixels(np.maximum(left_a, left_b), np.minimum(right_a, right_b))
    union = _pixels(left_a, right_a) + _pixels(left_b, right_b) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _spans(polygons: Floats, rows: Floats, last: float) -> tuple[Floats, Floats]:
    """Return the first and last pixel (N, M) of polygons (N, 4, 2) by row; none if last < first."""
    left, right = np.full_like(rows, np.inf), np.full_like(rows, -np.inf)
    for edge in range(4):
        x1, y1 = polygons[:, edge - 1, :, None].swapaxes(0, 1)
        x2, y2 = polygons[:, edge, :, None].swapaxes(0, 1)
        slope = (x2 - x1) / np.where(
            y1 == y2, 1, y2 - y1
        )  # horizontal: its ends belong to the next edges
        x = x1 + (rows - y1) * slope
        crossed = (rows >= np.minimum(y1, y2)) & (rows <= np.maximum(y1, y2))
        np.minimum(left, np.where(crossed, x, np.inf), out=left)
        np.maximum(right, np.where(crossed, x, -np.inf), out=right)
    left, right = np.floor(left + EPSILON), np.floor(right + EPSILON)
    return np.maximum(left, 0), np.minimum(right, last)


def _pixels(left: Floats, right: Floats) -> Floats:
    return np.maximum(right - left + 1, 0).sum(axis=1)
