"""Running trackers over a benchmark's sequences, with their answers on disk as they come."""

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
from siamffn_model.evaluation.results import OnePass, WithResets, one_pass
from siamffn_model.evaluation.tracker_specs import TrackerSpec
from siamffn_model.evaluation.worker_pool import run_in_workers
from siamffn_model.tracking import TrackerProtocol


def plan(
    benchmark: Benchmark,
    sequences: Iterable[Sequence],
    contestants: Iterable[TrackerSpec],
    out: Path,
) -> list[Job]:
    """Return what is to be run for results in the folder `out`, the longest first."""
    jobs = [
        Job(
            contestant,
            sequence,
            benchmark.lengths is not None,
            results_folder(out) / contestant.name / benchmark.file.format(name=sequence.name),
            out / 'runs' / contestant.name / f'{sequence.name}.json',
        )
        for contestant in contestants
        for sequence in sequences
    ]
    return sorted(jobs, key=lambda job: -len(job.sequence.truth))


def results_folder(out: Path) -> Path:
    """Return where in `out` the trackers' result files lie, a folder for each."""
    return out / 'results'


def frames_per_second(jobs: Iterable[Job]) -> dict[str, float]:
    """Return by tracker the mean over its sequences, without the reading of images.

    Raises `DataError` where a job is not done.
    """
    rates: dict[str, list[float]] = {}
    for job in jobs:
        record = job.recorded()
        if record is None:
            raise DataError(
                f'{job.result}: not there or not whole; where machines have disks of their own, '
                'bring all results/ and runs/ together and go on with --resume'
            )
        rates.setdefault(job.contestant.name, []).append(record['frames'] / record['seconds'])
    return {name: float(np.mean(values)) for name, values in rates.items()}


def run_all(jobs: list[Job], workers: int = 1) -> None:
    """Run the jobs in so many processes, with a progress bar over the frames.

    Each answer is on disk as soon as it is whole. Where a tracker or an image fails, the others are
    run all the same; then the first error is raised, with the sequence's name and how many there
    were. Ctrl-C ends it within a frame.
    """
    errors: list[SiamFFNError] = []
    total = sum(len(job.sequence.truth) for job in jobs)
    with tqdm(total=total, unit='frame', smoothing=0.02, disable=None) as bar:
        if workers > 1 and len(jobs) > 1:
            run_in_workers(jobs, min(workers, len(jobs)), bar, errors)
        else:
            trackers: dict[str, TrackerProtocol] = {}
            for job in jobs:
                bar.set_description(f'{job.contestant.name} {job.sequence.name}')
                try:
                    run_job(job, trackers, bar.update)
                except SiamFFNError as error:
                    errors.append(error)
    if errors:
        others = f' ({len(errors)} of {len(jobs)} runs failed)' if len(errors) > 1 else ''
        raise type(errors[0])(f'{errors[0]}{others}') from errors[0]


def track_all(tracker: TrackerProtocol, sequences: list[Sequence]) -> OnePass:
    """Run a tracker over the sequences in this process, without files, and score it."""
    with _bar(sequences) as bar:
        boxes = {s.name: run_sequence(tracker, s, bar.update).boxes for s in sequences}
    return one_pass(sequences, boxes)


def track_all_with_resets(
    tracker: TrackerProtocol, sequences: list[Sequence], lengths: tuple[int, int]
) -> WithResets:
    """Do the same in VOT's protocol; `lengths` are those of `Benchmark`."""
    with _bar(sequences) as bar:
        runs = {s.name: run_sequence_with_resets(tracker, s, bar.update).run for s in sequences}
    return vot.with_resets(sequences, runs, lengths)


def _bar(sequences: Iterable[Sequence]) -> tqdm[Any]:
    total = sum(len(sequence.truth) for sequence in sequences)
    return tqdm(total=total, unit='frame', leave=False, disable=None)
