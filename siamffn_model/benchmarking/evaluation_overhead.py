"""Measure the overhead of the evaluation runner and the time of scoring.

Run it with `python -m siamffn_model.benchmarking.evaluation_overhead`.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from siamffn_model.datasets.benchmarks import BENCHMARKS
from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.evaluation.raw_results import find_trackers
from siamffn_model.evaluation.runner import frames_per_second, plan, run_all
from siamffn_model.evaluation.scoring import score_tracker
from siamffn_model.evaluation.tracker_specs import TrackerSpec
from siamffn_model.networks.names import DEFAULT_MODEL
from siamffn_model.runtimes.selection import load_model
from siamffn_model.tracking import Tracker
from siamffn_model.training.validation import synthetic_sequence

RAW_RESULTS = Path('../shared/data/bench_uav20l')
FRAMES = 300


def main() -> None:
    """Print both measurements; scoring is omitted if `RAW_RESULTS` does not exist."""
    _measure_runner()
    _measure_scoring(RAW_RESULTS)


def _measure_runner() -> None:
    tracker = Tracker(load_model(device='cpu'))
    sequence = synthetic_sequence('scene', render_scene(FRAMES, (1280, 720)))
    spec = TrackerSpec(DEFAULT_MODEL, lambda: tracker, {})
    with tempfile.TemporaryDirectory() as folder:
        jobs = plan(BENCHMARKS['sequences'], [sequence], [spec], Path(folder))
        start = time.perf_counter()
        run_all(jobs)
        total = time.perf_counter() - start
        (rate,) = frames_per_second(jobs).values()
    tracking = FRAMES / rate
    print(
        f'evaluate, {FRAMES} images of 1280x720 in memory: the tracker takes {tracking:.2f} s, '
        f'the runner adds {100 * (total - tracking) / tracking:.2f} % to it'
    )


def _measure_scoring(folder: Path) -> None:
    if not folder.is_dir():
        print(f'score: not measured, because {folder} does not exist')
        return
    start = time.perf_counter()
    benchmark = BENCHMARKS['uav20l']
    sequences = benchmark.read(folder, False)
    sources = find_trackers([folder / 'results'], [sequence.name for sequence in sequences])
    for source in sources.values():
        score_tracker(benchmark, sequences, source)
    seconds = time.perf_counter() - start
    print(f'score, {len(sources)} trackers on UAV20L, including its annotations: {seconds:.2f} s')


if __name__ == '__main__':
    main()
