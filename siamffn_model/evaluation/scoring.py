"""From trackers' result files to scores, and to frames with the boxes of several trackers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from siamffn_model.datasets.benchmarks import Benchmark
from siamffn_model.datasets.sequences import Sequence
from siamffn_model.errors import DataError
from siamffn_model.evaluation import vot
from siamffn_model.evaluation.filmstrips import strip
from siamffn_model.evaluation.metrics import Floats
from siamffn_model.evaluation.plots import tracker_colours
from siamffn_model.evaluation.raw_results import parse_boxes, read_texts
from siamffn_model.evaluation.report import write_report
from siamffn_model.evaluation.results import OnePass, Results, WithResets, one_pass
from siamffn_model.evaluation.tables import rank
from siamffn_model.imaging.sources import Image

SHOWN = 4  # sequences with a strip
DRAWN = 6  # trackers in a strip, the best: of more one cannot tell whose box is whose


def report(
    out: Path,
    benchmark: Benchmark,
    sequences: list[Sequence],
    sources: Mapping[str, Path],
    fps: Mapping[str, float] = {},
    absent_counts: bool = True,
) -> None:
    """Score trackers by name, and write the report with strips of frames where there are images.

    `fps` was measured, by tracker. Other arguments and errors are those of `score_tracker`.
    """
    results = {
        name: score_tracker(benchmark, sequences, source, fps.get(name), absent_counts)
        for name, source in tqdm(sources.items(), unit='tracker', leave=False, disable=None)
    }
    shown = all(sequence.frames for sequence in sequences)
    strips = draw_strips(benchmark, sequences, sources, results) if shown else {}
    write_report(out, benchmark, results, strips, absent_counts)


def score_tracker(
    benchmark: Benchmark,
    sequences: list[Sequence],
    source: Path,
    fps: float | None = None,
    absent_counts: bool = True,
) -> OnePass | WithResets:
    """Score the result files in a tracker's folder or zip.

    `absent_counts` is that of `Comparison.curves`; VOT has no such frames. Raises `DataError`
    naming the tracker, and the file or sequence, that is missing or does not fit.
    """
    texts = read_texts(source, [sequence.name for sequence in sequences])
    if benchmark.lengths:
        runs = {name: vot.parse_run(text, where) for name, (where, text) in texts.items()}
    else:
        boxes = {name: parse_boxes(text, where) for name, (where, text) in texts.items()}
    try:
        if benchmark.lengths:
            return vot.with_resets(sequences, runs, benchmark.lengths, fps)
        return one_pass(sequences, boxes, fps, absent_counts)
    except DataError as error:
        raise DataError(f'{source}: {error}') from error


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
