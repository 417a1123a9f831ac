"""Running trackers over a benchmark's sequences, with their answers on disk as they come."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from tqdm import tqdm

from siamffn_model.atomic_io import write_text
from siamffn_model.datasets.benchmarks import Benchmark
from siamffn_model.datasets.sequences import Sequence
from siamffn_model.errors import DataError, SiamFFNError
from siamffn_model.evaluation import vot
from siamffn_model.evaluation.metrics import Floats
from siamffn_model.evaluation.raw_results import format_boxes
from siamffn_model.evaluation.results import OnePass, WithResets, one_pass
from siamffn_model.evaluation.tracker_specs import TrackerSpec
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import Image
from siamffn_model.tracking import TrackerProtocol

LOOK = 0.5  # seconds between two looks at how far the workers are
STOP = -1  # number of frames by which the workers are told to stop


class TrackerOutput(NamedTuple):
    """What a tracker answered: boxes (N, 4) as x, y, w, h, the first as given; its own seconds."""

    boxes: Floats
    seconds: float


class Job(NamedTuple):
    """One tracker on one sequence, and the files of the answer."""

    contestant: TrackerSpec
    sequence: Sequence
    resets: bool
    result: Path  # in the benchmark's text format
    record: Path  # what it depends on, number of frames and seconds; written last

    def identity(self) -> dict[str, str]:
        """Return what the answer depends on."""
        truth = hashlib.sha256(self.sequence.truth.tobytes()).hexdigest()
        return {**self.contestant.identity, 'truth': truth, 'resets': str(self.resets)}

    def done(self) -> bool:
        """Whether the answer is there, whole, and of this very tracker and sequence."""
        return self.recorded() is not None

    def recorded(self) -> dict[str, Any] | None:
        """Return the record of an answer that is done, else None."""
        try:
            record: dict[str, Any] = json.loads(self.record.read_text())
        except (OSError, ValueError):
            return None
        done = self.result.is_file() and record.get('identity') == self.identity()
        return record if done else None


def run(tracker: TrackerProtocol, images: Iterable[Image], first: Box) -> TrackerOutput:
    """Follow one target through `images` (at least one), starting from its box in the first."""
    boxes = [first]
    seconds = 0.0
    for number, image in enumerate(images):
        start = time.perf_counter()
        if number == 0:
            tracker.init(image, first)
        else:
            boxes.append(tracker.update(image).box)
        seconds += time.perf_counter() - start
    return TrackerOutput(np.array(boxes, float), seconds)


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
            _run_in_workers(jobs, min(workers, len(jobs)), bar, errors)
        else:
            trackers: dict[str, TrackerProtocol] = {}
            for job in jobs:
                bar.set_description(f'{job.contestant.name} {job.sequence.name}')
                try:
                    _run_job(job, trackers, bar.update)
                except SiamFFNError as error:
                    errors.append(error)
    if errors:
        others = f' ({len(errors)} of {len(jobs)} runs failed)' if len(errors) > 1 else ''
        raise type(errors[0])(f'{errors[0]}{others}') from errors[0]


def _run_job(job: Job, trackers: dict[str, TrackerProtocol], tick: Callable[[], object]) -> None:
    """Run one job; `trackers` keeps those made, by name; `tick` is called with each image."""
    name, sequence = job.contestant.name, job.sequence
    if name not in trackers:
        trackers[name] = job.contestant.make()
    try:
        text, frames, seconds = _answer(job, trackers[name], tick)
    except SiamFFNError as error:
        raise type(error)(f'{name}, {sequence.name}: {error}') from error
    write_text(job.result, text)
    record = {'identity': job.identity(), 'frames': frames, 'seconds': seconds}
    write_text(job.record, json.dumps(record) + '\n')


def _answer(
    job: Job, tracker: TrackerProtocol, tick: Callable[[], object]
) -> tuple[str, int, float]:
    """Return the answer as text, and how many frames the tracker got in how many seconds."""
    if job.resets:
        answer = _follow_with_resets(tracker, job.sequence, tick)
        return vot.format_run(answer.run), answer.frames, answer.seconds
    boxes, seconds = _follow(tracker, job.sequence, tick)
    return format_boxes(boxes), len(boxes), seconds


def _follow(
    tracker: TrackerProtocol, sequence: Sequence, tick: Callable[[], object]
) -> TrackerOutput:
    """Run it in one pass; the boxes count pixels as the sequence does."""
    boxes, seconds = run(tracker, _images(sequence, tick), sequence.first)
    boxes[1:, :2] += sequence.origin
    boxes[0] = sequence.truth[0]
    return TrackerOutput(boxes, seconds)


def _follow_with_resets(
    tracker: TrackerProtocol, sequence: Sequence, tick: Callable[[], object]
) -> vot.Followed:
    assert sequence.size is not None
    return vot.follow(tracker, _images(sequence, tick), sequence.truth, sequence.size)


def _images(sequence: Sequence, tick: Callable[[], object]) -> Iterator[Image]:
    assert sequence.frames is not None
    for image in sequence.frames:
        tick()
        yield image


def track_all(tracker: TrackerProtocol, sequences: list[Sequence]) -> OnePass:
    """Run a tracker over the sequences in this process, without files, and score it."""
    with _bar(sequences) as bar:
        boxes = {s.name: _follow(tracker, s, bar.update).boxes for s in sequences}
    return one_pass(sequences, boxes)


def track_all_with_resets(
    tracker: TrackerProtocol, sequences: list[Sequence], lengths: tuple[int, int]
) -> WithResets:
    """Do the same in VOT's protocol; `lengths` are those of `Benchmark`."""
    with _bar(sequences) as bar:
        runs = {s.name: _follow_with_resets(tracker, s, bar.update).run for s in sequences}
    return vot.with_resets(sequences, runs, lengths)


def _bar(sequences: Iterable[Sequence]) -> tqdm[Any]:
    total = sum(len(sequence.truth) for sequence in sequences)
    return tqdm(total=total, unit='frame', leave=False, disable=None)


# --- in worker processes

_worker: dict[str, Any] = {}  # of this process, where it is a worker: its trackers and the counter


class _StoppedError(Exception):
    pass


def _run_in_workers(
    jobs: list[Job], workers: int, bar: tqdm[Any], errors: list[SiamFFNError]
) -> None:
    context = multiprocessing.get_context('spawn')
    frames, number = context.Value('q', 0), context.Value('i', 0)
    with ProcessPoolExecutor(
        workers, context, initializer=_become_worker, initargs=(frames, number, workers)
    ) as pool:
        pending: dict[Future[None], Job] = {pool.submit(_work, job): job for job in jobs}
        try:
            while pending:
                done, _ = wait(pending, LOOK, FIRST_COMPLETED)
                bar.update(frames.value - bar.n)
                for future in done:
                    job = pending.pop(future)
                    bar.set_description(f'{job.contestant.name} {job.sequence.name} done')
                    try:
                        future.result()
                    except SiamFFNError as error:
                        errors.append(error)
        except BrokenProcessPool:
            raise SiamFFNError(
                'a worker process died, perhaps for want of memory: run it with fewer --workers '
                'and --resume'
            ) from None
        finally:
            frames.value = STOP
            pool.shutdown(cancel_futures=True)


def _become_worker(frames: Any, number: Any, workers: int) -> None:
    """Take a share of the cores, leave Ctrl-C to the parent, and end when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with number.get_lock():
        place, number.value = number.value, number.value + 1
    if sys.platform == 'linux':
        cores = sorted(os.sched_getaffinity(0))
        share = cores[place::workers] or cores
        os.sched_setaffinity(0, share)  # OpenVINO takes the cores that it finds
        torch.set_num_threads(len(share))
        cv2.setNumThreads(len(share))
    _worker.update(trackers={}, frames=frames)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(job: Job) -> None:
    frames = _worker['frames']

    def tick() -> None:
        with frames.get_lock():
            if frames.value == STOP:
                raise _StoppedError
            frames.value += 1

    _run_job(job, _worker['trackers'], tick)
