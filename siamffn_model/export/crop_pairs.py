"""Pairs of a template and a search region, as in tracking, for calibration and comparison."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from siamffn_model.datasets.sequences import Sequence
from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.errors import DataError
from siamffn_model.imaging.crop import View, context_side, mean_colour, search_side
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image, read_image
from siamffn_model.imaging.sources import ImageFiles

# The search region is off the target, as it is in tracking, where it follows from the last box.
MAX_SHIFT = 0.1  # of its centre, in each direction, as a fraction of its side
MAX_LOG_SCALE = 0.1  # of its side: logarithm of the factor

Pair = tuple[View, View]  # template, search region


def sequence_pairs(sequences: list[Sequence], count: int) -> Iterator[Pair]:
    """Yield pairs from frames that are spread evenly over the sequences.

    The template is from the first frame of the sequence; the search region is around the annotated
    box, with a random shift and scale as in tracking. Frames without the target are skipped. The
    result is the same for the same arguments.

    Args:
        sequences: sequences with images and annotations.
        count: maximum number of pairs.

    Raises `DataError` if there is no suitable frame.
    """
    rng = np.random.default_rng(0)
    frames = [
        (sequence, number)
        for sequence in sequences
        for number in range(1, len(sequence.truth))
        if np.isfinite(sequence.truth[number]).all()
    ]
    if not frames:
        raise DataError(
            'the sequences have no frame after the first that shows the target: give other '
            'sequences'
        )
    indices = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    for sequence, number in (frames[index] for index in indices):
        assert isinstance(sequence.frames, ImageFiles)
        first, image = (read_image(sequence.frames.files[n]) for n in (0, number))
        x, y, w, h = sequence.truth[number].tolist()
        box = Box(x - sequence.origin, y - sequence.origin, w, h)
        yield _pair(first, sequence.first, image, box, rng)


def rendered_pairs(count: int) -> Iterator[Pair]:
    """Yield `count` pairs from a rendered scene, with search regions as in `sequence_pairs`."""
    rng = np.random.default_rng(0)
    images, boxes = render_scene(count + 1)
    for image, box in zip(images[1:], boxes[1:], strict=True):
        yield _pair(images[0], boxes[0], image, box, rng)


def _pair(first: Image, first_box: Box, image: Image, box: Box, rng: np.random.Generator) -> Pair:
    fill = mean_colour(first)
    template_side = context_side(first_box.w, first_box.h)
    template = View(first, first_box.cx, first_box.cy, template_side, fill)
    side = search_side(box.w, box.h) * math.exp(rng.uniform(-MAX_LOG_SCALE, MAX_LOG_SCALE))
    dx, dy = rng.uniform(-MAX_SHIFT * side, MAX_SHIFT * side, 2).tolist()
    return template, View(image, box.cx + dx, box.cy + dy, side, fill)
