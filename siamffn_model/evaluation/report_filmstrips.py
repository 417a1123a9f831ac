"""Select the sequences whose frames the report shows, and draw their filmstrips."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from siamffn_model.datasets.benchmarks import Benchmark
from siamffn_model.datasets.sequences import Sequence
from siamffn_model.evaluation import vot
from siamffn_model.evaluation.filmstrips import draw_filmstrip
from siamffn_model.evaluation.metrics import Floats
from siamffn_model.evaluation.plots import tracker_colours
from siamffn_model.evaluation.raw_results import parse_boxes, read_texts
from siamffn_model.evaluation.results import OPEResult, Results
from siamffn_model.evaluation.tables import rank_trackers
from siamffn_model.imaging.image import Image

MAX_FILMSTRIPS = 4
MAX_TRACKERS = 6  # in one filmstrip; the boxes of more trackers cannot be distinguished


def draw_filmstrips(
    benchmark: Benchmark,
    sequences: list[Sequence],
    sources: Mapping[str, Path],
    results: Mapping[str, Results],
) -> dict[str, Image]:
    """Return filmstrips, by name, of the sequences on which the scores of the trackers differ most.

    Args:
        benchmark: the benchmark that the results belong to.
        sequences: its sequences, with images.
        sources: folder or zip file with the result files, by tracker.
        results: the results of `score_tracker` for `sources`.
    """
    colours, best = tracker_colours(results), rank_trackers(results)[:MAX_TRACKERS]
    spread = {s.name: np.ptp([_score(r, s.name) for r in results.values()]) for s in sequences}
    selected = sorted(sequences, key=lambda sequence: -spread[sequence.name])[:MAX_FILMSTRIPS]
    texts = {name: read_texts(sources[name], [s.name for s in sequences]) for name in best}
    filmstrips = {}
    for sequence in selected:
        assert sequence.frames is not None
        boxes = {name: _boxes(benchmark, sequence, *texts[name][sequence.name]) for name in best}
        is_box = sequence.truth.shape[1] == 4
        truth = sequence.truth if is_box else _bounding_boxes(sequence.truth)
        truth = truth - _origin(sequence)
        filmstrips[sequence.name] = draw_filmstrip(sequence.frames, boxes, truth, colours)
    return filmstrips


def _score(result: Results, name: str) -> float:
    if isinstance(result, OPEResult):
        return result.per_sequence[name].scores.success
    return -result.per_sequence[name][1]


def _boxes(benchmark: Benchmark, sequence: Sequence, path: str, text: str) -> Floats:
    """Return the boxes (M, 4) of a tracker, 0-based; NaN where a row has no box."""
    if benchmark.eao_lengths:
        return _bounding_boxes(vot.parse_run(text, path).regions)
    return parse_boxes(text, path) - _origin(sequence)


def _origin(sequence: Sequence) -> Floats:
    return np.array([sequence.origin, sequence.origin, 0, 0], float)


def _bounding_boxes(corners: Floats) -> Floats:
    """Return the bounding boxes (N, 4) of polygons (N, 8)."""
    x, y = corners[:, 0::2], corners[:, 1::2]
    return np.stack([x.min(1), y.min(1), np.ptp(x, 1), np.ptp(y, 1)], axis=1)
