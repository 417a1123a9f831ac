"""Batches, prepared by worker processes."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from siamffn_model.distributed import World
from siamffn_model.networks.zoo import create_model
from siamffn_model.training.pair_sources import open_sources
from siamffn_model.training.recipe import Recipe
from siamffn_model.training.sampling import Batch, Pairs, collate


@contextmanager
def load(pairs: Pairs, world: World, step: int, workers: int) -> Iterator[Iterable[Batch]]:
    """Give this process's share of every batch after `step`, in order.

    What a batch holds does not depend on the number of workers. In the meantime OpenCV computes in
    one thread, here and in the workers: a forked worker cannot set that itself, for it would wait
    for ever for the threads that it left behind.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield DataLoader(
            pairs,
            batch_sampler=_shares(pairs.recipe, world, step),
            num_workers=workers,
            collate_fn=collate,
            worker_init_fn=_start_worker,
            pin_memory=world.device.type == 'cuda',
        )
    finally:
        cv2.setNumThreads(threads)


def pairs_per_second(
    recipe: Recipe, data: Mapping[str, Path], workers: int, seconds: float
) -> float:
    """Measure what the workers give by themselves, for at least `seconds` after the first batches.

    Raises the errors of `open_sources`.
    """
    with torch.device('meta'):  # its weights are not wanted
        candidates = create_model(recipe.model).score_map.candidates
    endless = recipe.model_copy(update={'epochs': 1000})
    pairs = Pairs(endless, open_sources(recipe, data), candidates)
    ahead, count = 2 * workers + 1, 0  # batches that are fetched before anybody asks
    start = time.perf_counter()
    with load(pairs, World(0, 1, torch.device('cpu')), 0, workers) as batches:
        for number, batch in enumerate(batches):
            if number < ahead:
                start = time.perf_counter()
                continue
            count += len(batch.box)
            if time.perf_counter() - start >= seconds:
                break
    return count / (time.perf_counter() - start)


def _shares(recipe: Recipe, world: World, step: int) -> Iterable[Any]:
    """Return the indices of this process's share of each batch from a step on."""
    share = recipe.batch // world.size
    first = step * recipe.batch + world.rank * share
    starts = range(first, recipe.epochs * recipe.pairs, recipe.batch)
    return [range(start, start + share) for start in starts]


def _start_worker(_: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent decides when to stop
    torch.set_num_threads(1)
