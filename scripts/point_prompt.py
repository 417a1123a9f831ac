"""Measure the boxes found for clicks on the objects of sequences with ground truth.

    python scripts/point_prompt.py SEQUENCES... [--model NAME] [--weights FILE] [--runtime NAME]

Every 20th frame is clicked at the centre of the true box and at four points 0.15 of its width and
height away, in directions drawn with a fixed seed. A click for which no box is found counts as an
IoU of 0. docs/evaluation.md has the results.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from siamffn_model.datasets.sequences import Sequence, read_sequences
from siamffn_model.errors import BoxError
from siamffn_model.imaging.geometry import Box, iou, polygon_to_box
from siamffn_model.imaging.image import Image, read_image
from siamffn_model.imaging.sources import ImageFiles
from siamffn_model.networks.names import DEFAULT_MODEL
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.tracking import load_model
from siamffn_model.tracking.point_prompt import find_box

STEP = 20  # frames
DISTANCE = 0.15  # of a click from the centre, relative to the box
DIRECTIONS = 4


def measure(model: Runtime, sequence: Sequence) -> tuple[list[float], list[float], list[float]]:
    """Return the IoU of the clicks at the centre, of the others, and the seconds of each click."""
    rng = np.random.default_rng(0)
    centre, beside, seconds = [], [], []
    images = sequence.frames
    assert isinstance(images, ImageFiles)
    for path, values in list(zip(images.files, sequence.truth))[::STEP]:
        angles = rng.uniform(0, 2 * np.pi) + np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
        if np.isnan(values).any():
            continue
        truth = Box(*values) if len(values) == 4 else polygon_to_box(values)
        image = read_image(path)
        clicks = [(truth.cx, truth.cy)]
        for angle in angles:
            x = truth.cx + DISTANCE * truth.w * np.cos(angle)
            clicks.append((x, truth.cy + DISTANCE * truth.h * np.sin(angle)))
        overlaps = []
        for click in clicks:
            start = time.perf_counter()
            overlaps.append(overlap(model, image, click, truth))
            seconds.append(time.perf_counter() - start)
        centre.append(overlaps[0])
        beside += overlaps[1:]
    return centre, beside, seconds


def overlap(model: Runtime, image: Image, click: tuple[float, float], truth: Box) -> float:
    """Return the IoU of the box found for a click; 0 if there is none."""
    try:
        return float(iou(find_box(model, image, click), truth))
    except BoxError:
        return 0.0


def row(name: str, centre: list[float], beside: list[float]) -> str:
    """Return a row of the table: median and share of at least 0.5, at the centre and beside it."""
    cells = [
        f'{np.median(values):.2f} | {np.mean(np.array(values) >= 0.5):.0%}'
        for values in (centre, beside)
    ]
    return f'| {name} | {len(centre)} | {" | ".join(cells)} |'


def main() -> None:
    """Print a Markdown table with a row for each sequence, and the median time of a click."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('sequences', type=Path, nargs='+', help='folders of sequences')
    parser.add_argument('--model', default=DEFAULT_MODEL)
    parser.add_argument('--weights', type=Path)
    parser.add_argument('--runtime', default='auto')
    options = parser.parse_args()
    model = load_model(options.model, options.weights, runtime=options.runtime)
    model.warm_up()
    all_centre, all_beside, all_seconds = [], [], []
    print(
        '| sequence | frames | centre: median IoU | IoU >= 0.5 | beside: median IoU | IoU >= 0.5 |'
    )
    print('|---|---|---|---|---|---|')
    for folder in options.sequences:
        for sequence in read_sequences(folder):
            centre, beside, seconds = measure(model, sequence)
            print(row(f'`{sequence.name}`', centre, beside), flush=True)
            all_centre += centre
            all_beside += beside
            all_seconds += seconds
    print(row('all', all_centre, all_beside))
    print(f'\n{1000 * np.median(all_seconds):.0f} ms per click ({model.name})')


if __name__ == '__main__':
    main()
