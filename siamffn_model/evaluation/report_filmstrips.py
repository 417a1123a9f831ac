"""The filmstrips of the report: of the sequences on which the trackers differ most."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from siamffn_model.datasets.benchmarks import Benchmark
from siamffn_model.datasets.sequences import Sequence
from siamffn_model.evaluation import vot
from siamffn_model.evaluation.filmstrips import strip
from siamffn_model.evaluation.metrics import Floats
from siamffn_model.evaluation.plots import tracker_colours
from siamffn_model.evaluation.raw_results import parse_boxes, read_texts
from siamffn_model.evaluation.results import OnePass, Results
from siamffn_model.evaluation.tables import rank
from siamffn_model.imaging.sources import Image

SHOWN = 4  # sequences with a strip
DRAWN = 6  # trackers in a strip, the best: of more one cannot tell whose box is whose


def draw_strips(
    benchmark: Benchmark,
    sequences: list[Sequence],
    sources: Mapping[str, Path],
    results: Mapping[str, Results],
) -> dict[str, Image]:
    """Return by name a strip of frames of those sequences on which the trackers differ most.

    `sources` are the trackers' folders or zips, which `score_tracker` gave `results` of; the
    sequences have images.
    """
    colours, best = tracker_colours(results), rank(results)[:DRAWN]
    spread = {s.name: np.ptp([_value(r, s.name) for r in results.values()]) for s in sequences}
    shown = sorted(sequences, key=lambda sequence: -spread[sequence.name])[:SHOWN]
    texts = {name: read_texts(sources[name], [s.name for s in sequences]) for name in best}
    strips = {}
    for sequence in shown:
        assert sequence.frames is not None
        boxes = {name: _boxes(benchmark, sequence, *texts[name][sequence.name]) for name in best}
        truth = sequence.truth if sequence.truth.shape[1] == 4 else _upright(sequence.truth)
        truth = truth - _origin(sequence)
        strips[sequence.name] = strip(sequence.frames, boxes, truth, colours)
    return strips


def _value(result: Results, name: str) -> float:
    if isinstance(result, OnePass):
        return result.per_sequence[name].scores.success
    return -result.per_sequence[name][1]


def _boxes(benchmark: Benchmark, sequence: Sequence, where: str, text: str) -> Floats:
    """Return a tracker's boxes (M, 4), 0-based; NaN where there is none."""
    if benchmark.lengths:
        return _upright(vot.parse_run(text, where).regions)
    return parse_boxes(text, where) - _origin(sequence)


def _origin(sequence: Sequence) -> Floats:
    return np.array([sequence.origin, sequence.origin, 0, 0], float)


def _upright(corners: Floats) -> Floats:
    """Turn polygons (N, 8) into the boxes round them."""
    x, y = corners[:, 0::2], corners[:, 1::2]
    return np.stack([x.min(1), y.min(1), np.ptp(x, 1), np.ptp(y, 1)], axis=1)
