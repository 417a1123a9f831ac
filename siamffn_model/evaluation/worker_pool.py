"""A pool of processes that run the jobs of an evaluation."""

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
import torch
from tqdm import tqdm

from siamffn_model.errors import ProcessError, SiamFFNError
from siamffn_model.evaluation.jobs import Job, run_job

LOOK = 0.5  # seconds between two looks at how far the workers are
STOP = -1  # number of frames by which the workers are told to stop

_worker: dict[str, Any] = {}  # of this process, where it is a worker: its trackers and the counter


class _StoppedError(Exception):
    pass


def run_in_workers(
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
            raise ProcessError(
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

    run_job(job, _worker['trackers'], tick)
