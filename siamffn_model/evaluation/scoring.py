"""Score the result files of trackers and write the report."""

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
from siamffn_model.evaluation.report_filmstrips import draw_filmstrips
from siamffn_model.evaluation.results import OPEResult, ResetResult, score_one_pass


def report(
    out: Path,
    benchmark: Benchmark,
    sequences: list[Sequence],
    sources: Mapping[str, Path],
    fps: Mapping[str, float] = {},
    absent_counts: bool = True,
) -> None:
    """Score trackers and write the report, with filmstrips if the sequences have images.

    Args:
        out: folder of the report.
        benchmark: the benchmark that the results belong to.
        sequences: its sequences, each followed by its parts if there are several starts.
        sources: folder or zip file with the result files, by tracker.
        fps: measured frames per second by tracker; may be empty.
        absent_counts: see `Comparison.curves`.

    Raises:
        DataError: see `score_tracker` and `write_report`.
    """
    results = {
        name: score_tracker(benchmark, sequences, source, fps.get(name), absent_counts)
        for name, source in tqdm(sources.items(), unit='tracker', leave=False, disable=None)
    }
    has_images = all(sequence.frames for sequence in sequences)
    complete = [sequence for sequence in sequences if sequence.start == 0]
    filmstrips = draw_filmstrips(benchmark, complete, sources, results) if has_images else {}
    write_report(out, benchmark, results, filmstrips, absent_counts)


def score_tracker(
    benchmark: Benchmark,
    sequences: list[Sequence],
    source: Path,
    fps: float | None = None,
    absent_counts: bool = True,
) -> OPEResult | ResetResult:
    """Score the result files in the folder or zip file of a tracker.

    `absent_counts` is described in `Comparison.curves`; it has no effect on VOT.

    Raises:
        DataError: a file is missing or does not match its sequence; the message names the tracker
            and the file or sequence.
    """
    texts = read_texts(source, [sequence.name for sequence in sequences])
    if benchmark.eao_lengths:
        runs = {name: vot.parse_run(text, path) for name, (path, text) in texts.items()}
    else:
        boxes = {name: parse_boxes(text, path) for name, (path, text) in texts.items()}
    try:
        if benchmark.eao_lengths:
            return vot.score_runs(sequences, runs, benchmark.eao_lengths, fps)
        return score_one_pass(sequences, boxes, fps, absent_counts)
    except DataError as error:
        raise DataError(f'{source}: {error}') from error
