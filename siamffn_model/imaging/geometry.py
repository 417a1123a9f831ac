"""Boxes: ``Box(x, y, w, h)``, top-left corner and size in pixels, as floats, counted from 0."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamffn_model.errors import BoxError

MIN_TARGET_SIDE = 2.0  # pixels
MIN_VISIBLE = 0.1  # fraction of the area of a target's box that must be inside the image


class Box(NamedTuple):
    """An axis-aligned box in pixels.

    >>> Box.from_center(10, 20, 4, 6)
    Box(x=8.0, y=17.0, w=4, h=6)
    """

    x: float
    y: float
    w: float
    h: float

    @classmethod
    def from_center(cls, cx: float, cy: float, w: float, h: float) -> Box:
        """Return the box of size (w, h) whose centre is (cx, cy)."""
        return cls(cx - w / 2, cy - h / 2, w, h)

    @classmethod
    def parse(cls, text: str) -> Box:
        """Return the box of the text 'x,y,w,h'; raises `BoxError` for any other text.

        >>> Box.parse('8,17,4,6')
        Box(x=8.0, y=17.0, w=4.0, h=6.0)
        """
        try:
            x, y, w, h = map(float, text.split(','))
        except ValueError:
            raise BoxError(
                f'{text!r} is not a box: give x,y,w,h in pixels, such as 73,25,63,88'
            ) from None
        return cls(x, y, w, h)

    @property
    def cx(self) -> float:
        """Horizontal centre."""
        return self.x + self.w / 2

    @property
    def cy(self) -> float:
        """Vertical centre."""
        return self.y + self.h / 2

    @property
    def area(self) -> float:
        """Area in square pixels."""
        return self.w * self.h

    def clip(self, width: float, height: float) -> Box:
        """Return the part inside an image of this size; its area is 0 if there is no such part."""
        if self.x >= 0 and self.y >= 0 and self.x + self.w <= width and self.y + self.h <= height:
            return self
        x1, y1 = min(max(self.x, 0.0), width), min(max(self.y, 0.0), height)
        x2 = min(max(self.x + self.w, 0.0), width)
        y2 = min(max(self.y + self.h, 0.0), height)
        return Box(x1, y1, x2 - x1, y2 - y1)

    def check(self, width: float, height: float) -> None:
        """Raise `BoxError` unless the box can be a target in an image of this size.

        It must be finite, at least 2 pixels wide and high, and 10 % of it must be in the image.
        """
        if not all(math.isfinite(value) for value in self):
            raise BoxError(f'box {tuple(self)} is not finite: give x, y, w, h as numbers in pixels')
        if self.w <= 0 or self.h <= 0:
            raise BoxError(f'box {tuple(self)} has no area: width and height must be above 0')
        if min(self.w, self.h) < MIN_TARGET_SIDE:
            raise BoxError(
                f'box {tuple(self)} is too small: a target has at least {MIN_TARGET_SIDE:g} pixels '
                'a side'
            )
        visible = self.clip(width, height).area
        if visible <= 0:
            raise BoxError(
                f'box {tuple(self)} lies outside the {width:g}x{height:g} image: '
                'x, y is the top-left corner in pixels, counted from 0'
            )
        if visible < MIN_VISIBLE * self.area:
            raise BoxError(
                f'less than {MIN_VISIBLE:.0%} of the box {tuple(self)} is inside the '
                f'{width:g}x{height:g} image: give a box round what can be seen of the target'
            )


def iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return the intersection over union (...) of boxes (..., 4) x, y, w, h.

    The shapes broadcast; where both boxes are empty, the value is 0.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    top_left = np.maximum(a[..., :2], b[..., :2])
    bottom_right = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    width, height = np.moveaxis(np.maximum(bottom_right - top_left, 0), -1, 0)
    intersection = width * height
    union = a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def corners(boxes: ArrayLike) -> NDArray[np.float64]:
    """Return the corners (N, 8), clockwise from the top left, of boxes (N, 4) x, y, w, h."""
    x, y, w, h = np.asarray(boxes, float).reshape(-1, 4).T
    return np.stack([x, y, x + w, y, x + w, y + h, x, y + h], axis=1)


def polygon_to_box(polygon: ArrayLike) -> Box:
    """Return the axis-aligned box with which PySOT and SiamBAN initialise trackers on a polygon.

    Its centre is the mean of the corners. Its size is that of the polygon's bounding box, scaled to
    the area of the polygon (computed as for a rectangle), plus one pixel; see
    `get_axis_aligned_bbox` in PySOT.

    Args:
        polygon: (8,) corners x1, y1, ..., x4, y4 in pixels.
    """
    points = np.asarray(polygon, float).reshape(4, 2)
    cx, cy = points.mean(axis=0).tolist()
    width, height = np.ptp(points, axis=0).tolist()
    area = math.dist(points[0], points[1]) * math.dist(points[1], points[2])
    scale = math.sqrt(area / (width * height)) if width * height > 0 else 1.0
    return Box.from_center(cx, cy, scale * width + 1, scale * height + 1)


def clip_point(x: float, y: float, width: float, height: float) -> tuple[float, float]:
    """Return the point of an image of this size that is nearest to (x, y)."""
    return min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))
