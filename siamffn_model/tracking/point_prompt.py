"""Find the object at a point of an image, such as a click, with the network of the tracker.

Squares of several sizes round the point serve as templates and are searched for in the same image.
If a square has about the size of an object, all cells of the score map inside the object predict
the same box, that of the object, and those around it score low. On a part of an object and on
background, the boxes move with the cells, or cells around score high too.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from siamffn_model.errors import BoxError, ConfigError
from siamffn_model.imaging.crop import (
    SEARCH_SIZE,
    TEMPLATE_SIZE,
    View,
    context_side,
    mean_colour,
    search_side,
)
from siamffn_model.imaging.geometry import Box, iou
from siamffn_model.imaging.image import Image, check_image
from siamffn_model.runtimes.runtime import Floats, Runtime
from siamffn_model.tracking.steadiness import overlaps

STEP = 1.5  # ratio of the sides of neighbouring squares
SMALLEST = 0.03  # side of the smallest square, as a fraction of sqrt(width * height)
COUNT = 6  # of squares
COUNT_WITH_RADIUS = 3  # the second has the given size
MIN_SIDE = 4.0  # of a square, in pixels
CROP_SIDE = TEMPLATE_SIZE / context_side(1, 1)  # of every square, in pixels of the search crop
SQUARE = Box.from_center(0, 0, CROP_SIDE, CROP_SIDE)
REPETITION = 0.1  # weight of the IoU of box and square against the agreement of the cells
MIN_QUALITY = 0.69  # of a box that is accepted
MIN_QUALITY_WITH_RADIUS = 0.5  # the size of the object is known then


class _Found(NamedTuple):
    """What the network finds for one square.

    Attributes:
        box: pixels of the image.
        quality: 1 if all cells inside the box predict this box, no cell around it scores, and the
            box is not just the square.
    """

    box: Box
    quality: float


def find_box(model: Runtime, image: Image, point: tuple[float, float], radius: float = 0.0) -> Box:
    """Return the box of the object at a point.

    Args:
        model: what `load_model` returned; it must predict sizes.
        image: BGR uint8 (H, W, 3).
        point: x and y in pixels, inside the image.
        radius: about half the size of the object in pixels; 0 if it is unknown.

    Raises:
        ImageError: `image` is no such array.
        BoxError: the point is outside the image, the radius is not allowed, or no object is found.
        ConfigError: the model does not predict sizes.
    """
    height, width = check_image(image).shape[:2]
    _check(point, radius, width, height)
    if not model.score_map.sized:
        raise ConfigError('this model predicts no sizes: give a box instead of a point')
    fill = mean_colour(image)
    sides = _sides(radius, width, height)
    templates = [model.template(View(image, *point, context_side(s, s), fill)) for s in sides]
    views = [View(image, *point, search_side(s, s), fill) for s in sides]
    cells = model.score_map.points()
    found = [
        _decode(view, candidates, cells)
        for view, candidates in zip(views, model.search(views, templates), strict=True)
    ]
    least = MIN_QUALITY_WITH_RADIUS if radius else MIN_QUALITY
    return _choose(found, point, least).clip(width, height)


def _check(point: tuple[float, float], radius: float, width: int, height: int) -> None:
    """Raise `BoxError` unless the point is in the image and the radius is allowed."""
    x, y = point
    if not (0 <= x < width and 0 <= y < height):  # also if one is not a number
        raise BoxError(
            f'point ({x:g}, {y:g}) is outside the {width}x{height} image: give x, y in pixels, '
            'counted from 0'
        )
    if radius != 0 and not 1 <= radius <= max(width, height):  # also if it is not a number
        raise BoxError(
            f'radius {radius:g} is not allowed: give about half the size of the object in pixels, '
            'or 0 if it is unknown'
        )


def _sides(radius: float, width: int, height: int) -> list[float]:
    """Return the sides of the squares in pixels, in ascending order."""
    if radius:
        smallest, count = 2 * radius / STEP, COUNT_WITH_RADIUS
    else:
        smallest, count = SMALLEST * math.sqrt(width * height), COUNT
    return [max(smallest, MIN_SIDE) * STEP**n for n in range(count)]


def _decode(view: View, candidates: Floats, cells: Floats) -> _Found:
    """Return what is found in a view.

    Args:
        view: search region of a square with the same centre.
        candidates: (5, N), see `Runtime.search`.
        cells: (2, N), see `ScoreMap.points`.
    """
    scores, boxes = candidates[0], candidates[1:].copy()
    boxes[2:] = np.maximum(boxes[2:], 1)
    distance = np.hypot(boxes[0], boxes[1]) / CROP_SIDE
    best = int(np.argmax(scores * np.exp(-distance)))
    inside = (np.abs(cells - boxes[:2, best, None]) < boxes[2:, best, None] / 2).all(axis=0)
    weights = scores * inside
    weights[best] += 1e-3  # of a box between the cells
    weights /= weights.sum()
    x, y, w, h = mean = boxes @ weights
    agreement = float(weights @ overlaps(boxes, mean))
    around = (np.abs(cells) < CROP_SIDE).all(axis=0) & ~inside
    elsewhere = float(scores[around].sum() / max(around.sum(), 1))
    repeated = float(iou(Box.from_center(x, y, w, h), SQUARE))
    scale = view.side / SEARCH_SIZE
    box = Box.from_center(view.x + scale * x, view.y + scale * y, scale * w, scale * h)
    return _Found(Box(*map(float, box)), agreement - elsewhere - REPETITION * repeated)


def _choose(found: list[_Found], point: tuple[float, float], least: float) -> Box:
    """Return the box round the point of the highest quality above `least`, or raise `BoxError`."""
    best, quality = None, least
    for box, value in found:
        if value > quality and _contains(box, point):
            best, quality = box, value
    if best is None:
        raise BoxError(
            f'no object is found at ({point[0]:g}, {point[1]:g}): point at its middle, or give a '
            'box'
        )
    return best


def _contains(box: Box, point: tuple[float, float]) -> bool:
    x, y = point
    return box.x <= x <= box.x + box.w and box.y <= y <= box.y + box.h
