"""A pool of worker processes that run the jobs of an evaluation."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import cv2
from tqdm import tqdm

from siamffn_model.errors import ProcessError, SiamFFNError
from siamffn_model.evaluation.jobs import Job, run_job

POLL_INTERVAL = 0.5  # seconds between two updates of the progress bar
STOP = -1  # value of the frame counter that makes the workers stop

_worker: dict[str, Any] = {}  # state of a worker process: its trackers and the frame counter


class _StoppedError(Exception):
    """The parent process has asked the workers to stop."""


def run_in_workers(
    jobs: list[Job], workers: int, bar: tqdm[Any], errors: list[SiamFFNError]
) -> None:
    """Run the jobs in worker processes, show their progress and append their errors to `errors`.

    Raises:
        ProcessError: a worker process died.
    """
    context = multiprocessing.get_context('spawn')
    frames, next_index = context.Value('q', 0), context.Value('i', 0)
    with ProcessPoolExecutor(
        workers, context, initializer=_init_worker, initargs=(frames, next_index, workers)
    ) as pool:
        pending: dict[Future[None], Job] = {pool.submit(_run_in_worker, job): job for job in jobs}
        try:
            while pending:
                done, _ = wait(pending, POLL_INTERVAL, FIRST_COMPLETED)
                bar.update(frames.value - bar.n)
                for future in done:
                    job = pending.pop(future)
                    bar.set_description(f'{job.tracker.name} {job.sequence.name} done')
                    try:
                        future.result()
                    except SiamFFNError as error:
                        errors.append(error)
        except BrokenProcessPool:
            raise ProcessError(
                'a worker process died, possibly because the memory ran out; run again with fewer '
                '--workers and with --resume'
            ) from None
        finally:
            frames.value = STOP
            pool.shutdown(cancel_futures=True)


def _init_worker(frames: Any, next_index: Any, workers: int) -> None:
    """Pin the worker to its part of the cores, ignore Ctrl-C, and exit when the parent exits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    with next_index.get_lock():
        index, next_index.value = next_index.value, next_index.value + 1
    if sys.platform == 'linux':
        cores = sorted(os.sched_getaffinity(0))
        own_cores = cores[index::workers] or cores
        os.sched_setaffinity(0, own_cores)  # OpenVINO uses all cores of the affinity mask
        os.environ['OMP_NUM_THREADS'] = str(len(own_cores))  # for PyTorch, if it is imported
        cv2.setNumThreads(len(own_cores))
    _worker.update(trackers={}, frames=frames)


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run_in_worker(job: Job) -> None:
    frames = _worker['frames']

    def count_frame() -> None:
        with frames.get_lock():
            if frames.value == STOP:
                raise _StoppedError
            frames.value += 1

    run_job(job, _worker['trackers'], count_frame)
