"""From trackers' result files to scores, and to frames with the boxes of several trackers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from siamffn_model.datasets.benchmarks import Benchmark
from siamffn_model.datasets.sequences import Sequence
from siamffn_model.errors import DataError
from siamffn_model.evaluation import vot
from siamffn_model.evaluation.raw_results import parse_boxes, read_texts
from siamffn_model.evaluation.report import write_report
from siamffn_model.evaluation.report_filmstrips import draw_strips
from siamffn_model.evaluation.results import OnePass, WithResets, one_pass


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
