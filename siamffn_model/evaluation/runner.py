"""Run trackers over the sequences of a benchmark."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from siamffn_model.datasets.benchmarks import Benchmark
from siamffn_model.datasets.sequences import Sequence
from siamffn_model.errors import DataError, SiamFFNError
from siamffn_model.evaluation import vot
from siamffn_model.evaluation.jobs import Job, run_job, run_sequence, run_sequence_with_resets
from siamffn_model.evaluation.results import OPEResult, ResetResult, score_one_pass
from siamffn_model.evaluation.tracker_specs import TrackerSpec
from siamffn_model.evaluation.worker_pool import run_in_workers
from siamffn_model.tracking import TrackerProtocol


def plan(
    benchmark: Benchmark,
    sequences: Iterable[Sequence],
    trackers: Iterable[TrackerSpec],
    out: Path,
) -> list[Job]:
    """Return one job per tracker and sequence that writes to the folder `out`, longest first."""
    jobs = [
        Job(
            tracker,
            sequence,
            benchmark.eao_lengths is not None,
            results_folder(out) / tracker.name / benchmark.result_file.format(name=sequence.name),
            out / 'runs' / tracker.name / f'{sequence.name}.json',
        )
        for tracker in trackers
        for sequence in sequences
    ]
    return sorted(jobs, key=lambda job: -len(job.sequence.truth))


def results_folder(out: Path) -> Path:
    """Return the folder in `out` that has a folder with result files for each tracker."""
    return out / 'results'


def frames_per_second(jobs: Iterable[Job]) -> dict[str, float]:
    """Return the speed of each tracker by name, in frames per second.

    The speed is the mean over the sequences and excludes reading the images. Raises `DataError`
    if a job is not done.
    """
    rates: dict[str, list[float]] = {}
    for job in jobs:
        record = job.recorded()
        if record is None:
            raise DataError(
                f'{job.result}: missing or incomplete; if each machine has its own disk, copy all '
                'results/ and runs/ folders together and run again with --resume'
            )
        rates.setdefault(job.tracker.name, []).append(record['frames'] / record['seconds'])
    return {name: float(np.mean(values)) for name, values in rates.items()}


def run_all(jobs: list[Job], workers: int = 1) -> None:
    """Run the jobs in `workers` processes and show a progress bar over the frames.

    Each result is written as soon as it is complete. An error of a tracker or an image does not
    stop the other jobs; at the end the first error is raised, with the names of the tracker and
    the sequence and the number of failed jobs. Ctrl-C stops the run within one frame.
    """
    errors: list[SiamFFNError] = []
    total = sum(len(job.sequence.truth) for job in jobs)
    with tqdm(total=total, unit='frame', smoothing=0.02, disable=None) as bar:
        if workers > 1 and len(jobs) > 1:
            run_in_workers(jobs, min(workers, len(jobs)), bar, errors)
        else:
            trackers: dict[str, TrackerProtocol] = {}
            for job in jobs:
                bar.set_description(f'{job.tracker.name} {job.sequence.name}')
                try:
                    run_job(job, trackers, bar.update)
                except SiamFFNError as error:
                    errors.append(error)
    if errors:
        count = f' ({len(errors)} of {len(jobs)} runs failed)' if len(errors) > 1 else ''
        raise type(errors[0])(f'{errors[0]}{count}') from errors[0]


def track_all(tracker: TrackerProtocol, sequences: list[Sequence]) -> OPEResult:
    """Run a tracker once over each sequence in this process, write no files, and score it."""
    with _progress_bar(sequences) as bar:
        boxes = {s.name: run_sequence(tracker, s, bar.update).boxes for s in sequences}
    return score_one_pass(sequences, boxes)


def track_all_with_resets(
    tracker: TrackerProtocol, sequences: list[Sequence], lengths: tuple[int, int]
) -> ResetResult:
    """Run and score a tracker like `track_all`, but with VOT's reset-based protocol.

    `lengths` is the interval of sequence lengths for the EAO, as in `Benchmark`.
    """
    with _progress_bar(sequences) as bar:
        runs = {s.name: run_sequence_with_resets(tracker, s, bar.update).run for s in sequences}
    return vot.score_runs(sequences, runs, lengths)


def _progress_bar(sequences: Iterable[Sequence]) -> tqdm[Any]:
    total = sum(len(sequence.truth) for sequence in sequences)
    return tqdm(total=total, unit='frame', leave=False, disable=None)
