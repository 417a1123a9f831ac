"""Data loading: batches that worker processes prepare."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from siamffn_model.distributed import World
from siamffn_model.networks.zoo import create_model
from siamffn_model.signals import END_SIGNALS
from siamffn_model.training.device_pairs import open_device_pairs
from siamffn_model.training.pair_sources import open_sources
from siamffn_model.training.recipe import Recipe
from siamffn_model.training.sampling import Batch, PairDataset, PairSource, collate


def open_batches(
    recipe: Recipe,
    sources: Sequence[PairSource],
    candidates: int,
    world: World,
    step: int,
    workers: int,
) -> AbstractContextManager[Iterable[Batch]]:
    """Return a context with the batches of a training after a step, in order.

    They are computed on the device if the recipe says so, otherwise loaded by workers.
    """
    if recipe.data_device:
        return nullcontext(open_device_pairs(recipe, sources, candidates, world, step))
    return load_batches(PairDataset(recipe, sources, candidates), world, step, workers)


@contextmanager
def load_batches(
    dataset: PairDataset, world: World, step: int, workers: int
) -> Iterator[Iterable[Batch]]:
    """Yield a loader of this process's part of every batch after `step`, in order.

    The contents of a batch do not depend on the number of workers. Within the context OpenCV uses
    a single thread, here and in the workers. A forked worker cannot set this itself: it would wait
    forever for the threads of the parent process, which do not exist after a fork.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield DataLoader(
            dataset,
            batch_sampler=_batch_indices(dataset.recipe, world, step),
            num_workers=workers,
            collate_fn=collate,
            worker_init_fn=_init_worker,
            pin_memory=world.device.type == 'cuda',
        )
    finally:
        cv2.setNumThreads(threads)


def pairs_per_second(
    recipe: Recipe, data: Mapping[str, Path], workers: int, seconds: float
) -> float:
    """Measure the throughput of the workers without training, in pairs per second.

    The measurement starts after the batches that the workers prefetch and takes at least `seconds`.
    With `data.device`, it measures pairs that are computed on the CPU. Raises the errors of
    `open_sources`.
    """
    with torch.device('meta'):  # only the number of candidates is needed, not the weights
        candidates = create_model(recipe.model).score_map.candidates
    long_recipe = recipe.model_copy(update={'epochs': 1000})
    sources, world = open_sources(recipe, data), World(0, 1, 'cpu')
    prefetched, count = 2 * workers + 1, 0  # batches
    start = time.perf_counter()
    with open_batches(long_recipe, sources, candidates, world, 0, workers) as loader:
        for number, batch in enumerate(loader):
            if number < prefetched:
                start = time.perf_counter()
                continue
            count += len(batch.box)
            if time.perf_counter() - start >= seconds:
                break
    return count / (time.perf_counter() - start)


def _batch_indices(recipe: Recipe, world: World, step: int) -> Iterable[Any]:
    """Return the indices of this process's pairs in each batch after `step`."""
    size = recipe.batch // world.size
    first = step * recipe.batch + world.rank * size
    starts = range(first, recipe.epochs * recipe.pairs, recipe.batch)
    return [range(start, start + size) for start in starts]


def _init_worker(_: int) -> None:
    for number in (signal.SIGINT, *END_SIGNALS):
        signal.signal(number, signal.SIG_IGN)  # the parent process decides when to stop
    torch.set_num_threads(1)
