"""The data loader: batches for any number of workers and processes, from any step."""

from __future__ import annotations

import cv2
import pytest
import torch

from siamffn_model.distributed import World
from siamffn_model.training.loading import load_batches, pairs_per_second
from siamffn_model.training.pair_sources import SceneSource
from siamffn_model.training.recipe import Recipe
from siamffn_model.training.sampling import Batch, PairDataset

pytestmark = pytest.mark.slow

RECIPE = Recipe.model_validate(
    {
        'model': 'siamffn_lite0',
        'loss': 'csrl',
        'data': {'rendered': {'pairs': 13, 'range': 8}},
        'epochs': 2,
        'batch': 4,
        'optimizer': 'sgd',
        'rate': {'warmup': 0},
    }
)


def batches(workers: int, step: int = 0, rank: int = 0, size: int = 1) -> list[Batch]:
    pairs = PairDataset(RECIPE, [SceneSource(8)], 9)
    with load_batches(pairs, World(rank, size, 'cpu'), step, workers) as loader:
        return list(loader)


def equal(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one[:5], other[:5], strict=True))


@pytest.mark.parametrize('workers', [1, 2])
def test_batches_do_not_depend_on_the_number_of_workers(workers: int) -> None:
    cv2.setNumThreads(2)  # threads that do not exist in a forked worker
    cv2.GaussianBlur(torch.zeros(2000, 2000).numpy(), (9, 9), 0)
    expected, result = batches(0), batches(workers)
    assert len(result) == 2 * 3, 'complete batches of two epochs'
    assert all(map(equal, result, expected))
    assert cv2.getNumThreads() == 2


def test_batches_from_a_later_step_equal_those_of_a_complete_run() -> None:
    assert all(map(equal, batches(0, step=4), batches(0)[4:]))


def test_each_batch_is_divided_among_the_processes() -> None:
    first, second = batches(0, rank=0, size=2), batches(0, rank=1, size=2)
    for batch, left, right in zip(batches(0), first, second, strict=True):
        assert torch.equal(batch.search, torch.cat([left.search, right.search]))
        assert torch.equal(
            batch.sampling_priority, torch.cat([left.sampling_priority, right.sampling_priority])
        )


def test_the_throughput_of_the_loader_is_measured() -> None:
    assert pairs_per_second(RECIPE, {}, workers=0, seconds=0.1) > 0
