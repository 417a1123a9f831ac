"""The gradient of a batch, accumulated over its parts and reduced over all processes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from siamffn_model.distributed import World
from siamffn_model.training.distillation import Distillation
from siamffn_model.training.feature_store import FeatureBatch
from siamffn_model.training.forward import Outputs
from siamffn_model.training.losses import LOSSES, sample_losses
from siamffn_model.training.recipe import Recipe
from siamffn_model.training.sampling import Batch


def accumulate_gradient(
    recipe: Recipe,
    world: World,
    forward_module: nn.Module,
    distillation: Distillation | None,
    batch: Batch | FeatureBatch,
    targets: Tensor,
    target_distances: Tensor,
    counts: Tensor,
) -> tuple[dict[str, Tensor], Outputs]:
    """Accumulate the gradient of a batch in parts of `recipe.micro_batch` pairs.

    targets (B, N) are the labels of the candidates, target_distances (B, 4, N) those to the edges
    of their boxes; counts (2,) are the numbers of positive and negative samples of all processes.
    Returns the losses, reduced over all processes, and the outputs for the last part.
    """
    pairs = len(batch.box)
    size = min(recipe.micro_batch or pairs, pairs)
    sums: dict[str, Tensor] = {}
    for start in range(0, pairs, size):
        part = slice(start, start + size)
        batch_part = batch.map(lambda tensor, part=part: tensor[part])  # type: ignore[misc]
        with _gradient_sync(forward_module, start + size >= pairs):
            outputs: Outputs = forward_module(batch_part.template, batch_part.search)
            losses = sample_losses(
                outputs.logits,
                outputs.distances,
                targets[part],
                target_distances[part],
                batch_part.sampling_priority,
                recipe.hard,
            )._replace(counts=counts)
            taught = distillation.losses(batch_part, outputs) if distillation else {}
            loss = LOSSES[recipe.loss](losses) + sum(taught.values())
            (world.size * loss).backward()  # DDP divides by the number of processes
        positives, negatives = counts.clamp(min=1)
        values = {
            'loss': loss,
            'positive': losses.positive.sum() / positives,
            'overlap': losses.overlap.sum() / positives,
            'negative': losses.negative.sum() / negatives,
            **{f'teacher_{name}': value for name, value in taught.items()},
        }
        sums = {name: sums.get(name, 0) + value.detach() for name, value in values.items()}
    reduced = world.all_reduce(torch.stack(list(sums.values())))
    return dict(zip(sums, reduced)), outputs


def _gradient_sync(forward_module: nn.Module, enabled: bool) -> AbstractContextManager[None]:
    """Return a context in which DDP reduces gradients over the processes only if `enabled`."""
    if isinstance(forward_module, DistributedDataParallel) and not enabled:
        return forward_module.no_sync()
    return nullcontext()
