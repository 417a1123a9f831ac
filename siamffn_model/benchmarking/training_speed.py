"""The throughput of training, with and without the preparation of its data.

Run it with `python -m siamffn_model.benchmarking.training_speed --help`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from pathlib import Path

import torch

from siamffn_model.atomic_io import write_text
from siamffn_model.datasets.training_set import parse_folder
from siamffn_model.distributed import World, init_distributed
from siamffn_model.imaging.crop import SEARCH_SIZE, TEMPLATE_SIZE
from siamffn_model.networks.zoo import create_model, save_weights
from siamffn_model.training.loading import open_batches
from siamffn_model.training.pair_sources import open_sources
from siamffn_model.training.recipe import Recipe
from siamffn_model.training.recipe_reader import read_recipe
from siamffn_model.training.sampling import Batch
from siamffn_model.training.trainer import Trainer

WARM_UP_STEPS = {'cuda': 5, 'cpu': 1}
CPU_BATCH = 4  # on a CPU a step of a larger batch of a large model takes minutes


def measure_training(
    recipe: Recipe, data: Mapping[str, Path], device: str, workers: int, seconds: float
) -> Iterator[dict[str, float]]:
    """Measure complete training steps with trainable backbone; yield pairs per second by name.

    `data` and `workers` are those of `train`. Weights are random. Half of `seconds` each is for
    'fixed_batch', steps with a batch that stays on the device, and for 'with_data', steps as in
    training. The results so far are yielded after each. Raises the errors of `train`.
    """
    with init_distributed(device) as world, tempfile.TemporaryDirectory() as folder:
        batch = min(recipe.batch, CPU_BATCH) if world.device.type == 'cpu' else recipe.batch
        recipe = recipe.model_copy(update={'epochs': 1000, 'unfreeze': 0, 'batch': batch})
        weights = Path(folder) / 'random.safetensors'
        save_weights(create_model(recipe.model), recipe.model, weights, {})
        trainer = Trainer(recipe, Path(folder), world, weights)
        candidates = trainer.model.score_map.candidates
        fixed = repeat(_random_batch(recipe.batch, candidates, world.device))
        result = {'batch': batch, 'fixed_batch': _pairs_per_second(trainer, fixed, seconds / 2)}
        yield result
        sources, alone = open_sources(recipe, data), World(0, 1, world.device_name)
        with open_batches(recipe, sources, candidates, alone, 0, workers) as batches:
            yield {**result, 'with_data': _pairs_per_second(trainer, batches, seconds / 2)}


def _pairs_per_second(trainer: Trainer, batches: Iterable[Batch], seconds: float) -> float:
    """Return the rate of at least one step, after a warm-up that is a part of `seconds`."""
    device, end = trainer.world.device, time.perf_counter() + seconds
    iterator = iter(batches)
    for _ in range(WARM_UP_STEPS[device.type]):
        trainer.train_step(next(iterator), False)
    _synchronise(device)
    start, pairs = time.perf_counter(), 0
    while not pairs or time.perf_counter() < end:
        batch = next(iterator)
        trainer.train_step(batch, False)
        pairs += len(batch.box)
    _synchronise(device)
    return pairs / (time.perf_counter() - start)


def _synchronise(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def _random_batch(pairs: int, candidates: int, device: torch.device) -> Batch:
    """Return pairs of noise on the device, with a target in the middle of each search crop."""
    generator = torch.Generator().manual_seed(0)

    def noise(side: int) -> torch.Tensor:
        shape = (pairs, side, side, 3)
        return torch.randint(256, shape, generator=generator, dtype=torch.uint8)

    middle = SEARCH_SIZE / 2
    box = torch.tensor([middle - 32, middle - 32, 64.0, 64.0]).repeat(pairs, 1)
    priority = torch.rand(pairs, 2, candidates, generator=generator)
    negative = torch.zeros(pairs, dtype=torch.bool)
    batch = Batch(noise(TEMPLATE_SIZE), noise(SEARCH_SIZE), box, negative, priority, [])
    return batch.map(lambda tensor: tensor.to(device))


def main() -> None:
    """Measure and write a JSON file."""
    parser = argparse.ArgumentParser(description='Measure the throughput of training.')
    parser.add_argument('--config', type=Path, required=True, help='the recipe')
    parser.add_argument('--set', dest='changes', action='append', default=[], metavar='KEY=VALUE')
    parser.add_argument('--pairs-of', type=Path, help='a recipe to take data and augmentation from')
    parser.add_argument('--data', action='append', default=[], metavar='NAME=DIR')
    parser.add_argument('--device', default='auto')
    parser.add_argument('--workers', type=int, default=1)
    parser.add_argument('--seconds', type=float, default=20)
    parser.add_argument('--json', type=Path, required=True, help='the file to write')
    options = parser.parse_args()
    recipe = read_recipe(options.config, options.changes)
    if options.pairs_of:
        other = read_recipe(options.pairs_of)
        same = {key: getattr(other, key) for key in ('data', 'data_device', 'augmentation')}
        recipe = recipe.model_copy(update=same)
    folders = dict(map(parse_folder, options.data))
    for result in measure_training(
        recipe, folders, options.device, options.workers, options.seconds
    ):
        write_text(options.json, json.dumps({'model': recipe.model, **result}))


if __name__ == '__main__':
    main()
