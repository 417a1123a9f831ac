"""Pairs of a template and a search region, as in tracking, for calibration and comparison."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from siamffn_model.datasets.sequences import Sequence
from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.errors import DataError
from siamffn_model.imaging.crop import Image, View, context_side, mean_colour, search_side
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import ImageFiles, read_image

SHIFT = 0.1  # of the search's side, each way: how far off its middle a target is when searched
RESIZE = 0.1  # logarithm of how far off its size may be

Pair = tuple[View, View]  # what a template is made of, and a search for it


def sequence_pairs(sequences: list[Sequence], count: int) -> Iterator[Pair]:
    """Yield views of `count` frames (or all there are) spread evenly over the sequences.

    Each is searched round the true box, as far off as in tracking, for what the first frame of its
    sequence shows. Frames without the target are passed over. The same arguments give the same
    views. Raises `DataError` where there is no frame.
    """
    rng = np.random.default_rng(0)
    frames = [
        (sequence, number)
        for sequence in sequences
        for number in range(1, len(sequence.truth))
        if np.isfinite(sequence.truth[number]).all()
    ]
    if not frames:
        raise DataError('the sequences have no frame after the first that shows the target')
    chosen = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    for sequence, number in (frames[index] for index in chosen):
        assert isinstance(sequence.frames, ImageFiles)
        first, image = (read_image(sequence.frames.files[n]) for n in (0, number))
        x, y, w, h = sequence.truth[number].tolist()
        box = Box(x - sequence.origin, y - sequence.origin, w, h)
        yield _pair(first, sequence.first, image, box, rng)


def rendered_pairs(count: int) -> Iterator[Pair]:
    """Yield pairs of a rendered scene."""
    rng = np.random.default_rng(0)
    images, boxes = render_scene(count + 1)
    for image, box in zip(images[1:], boxes[1:], strict=True):
        yield _pair(images[0], boxes[0], image, box, rng)


def _pair(first: Image, learned: Box, image: Image, box: Box, rng: np.random.Generator) -> Pair:
    fill = mean_colour(first)
    template = View(first, learned.cx, learned.cy, context_side(learned.w, learned.h), fill)
    side = search_side(box.w, box.h) * math.exp(rng.uniform(-RESIZE, RESIZE))
    x, y = rng.uniform(-SHIFT * side, SHIFT * side, 2).tolist()
    return template, View(image, box.cx + x, box.cy + y, side, fill)
