"""The training loop, on one device or on many."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from siamffn_model import distributed
from siamffn_model.datasets import sequences
from siamffn_model.distributed import World
from siamffn_model.errors import ConfigError
from siamffn_model.networks.siamese import Siamese
from siamffn_model.networks.zoo import create_model, load_weights, save_weights
from siamffn_model.training.checkpoint import (
    read_checkpoint,
    remove_checkpoint,
    write_checkpoint,
)
from siamffn_model.training.features import Features, frozen_features, trainable_features
from siamffn_model.training.forward import ForwardModule
from siamffn_model.training.labels import edge_distances, labels
from siamffn_model.training.loading import load
from siamffn_model.training.logger import TrainingLogger, picture_of, watch_scales
from siamffn_model.training.losses import LOSSES, SampledLosses, costs, sampled
from siamffn_model.training.pair_sources import open_sources
from siamffn_model.training.recipe import Recipe
from siamffn_model.training.sampling import Batch, Pairs
from siamffn_model.training.schedule import make_optimizer, set_epoch
from siamffn_model.training.validation import open_validation, validate

CLIP = 10.0  # norm of the gradient (SiamBAN's code)
LOG_STEPS, PICTURE_STEPS = 10, 500
CHECKPOINT_SECONDS = 300
BAD_STEPS = 10  # in a row that are left out for a gradient that is not finite


def train(
    recipe: Recipe,
    data: Mapping[str, Path],
    out: Path,
    device: str = 'auto',
    workers: int = 1,
    resume: bool = False,
    weights: Path | None = None,
) -> Path:
    """Train as the recipe says; return the weight file `out`/MODEL.safetensors.

    `data` says where each set lies that the recipe draws from, and under 'validation', if it is
    there, a folder of sequences to validate on after each epoch; best.safetensors has the weights
    that did best. Leaves log.jsonl and TensorBoard's files and, while it runs, checkpoint.pt, from
    which `resume` goes on as if nothing had happened. SIGINT and SIGTERM end it after the step at
    hand, with a checkpoint. Started by torchrun, all processes train together, and go on by
    themselves where one had died.

    Raises `ConfigError` for a batch that the processes cannot share, a checkpoint that is in the
    way or of another recipe, too little memory, and gradients that stay beyond numbers; `DataError`
    for data or a checkpoint that is missing or damaged; `WeightsError` for `weights`.
    """
    folders = dict(data)
    validation = folders.pop('validation', None)
    with distributed.init_distributed(device) as world, _stop_on_signal() as stopped:
        if recipe.batch % world.size:
            raise ConfigError(
                f'a batch of {recipe.batch} pairs cannot be shared evenly by {world.size} '
                'processes: set batch to a multiple'
            )
        sources = open_sources(recipe, folders)
        tracked = open_validation(validation, sources)
        run = Trainer(recipe, out, world, weights)
        run.begin(resume)
        pairs = Pairs(recipe, sources, run.model.score_map.candidates)
        with run.monitored(), load(pairs, world, run.step, workers) as batches:
            run.end_epoch(tracked)
            for batch in batches:
                if _take(run, batch, stopped()):
                    raise KeyboardInterrupt
                run.end_epoch(tracked)
        return run.finish()


def _take(run: Trainer, batch: Batch, stop: bool) -> bool:
    """Take a step; raises `ConfigError` where the device has too little memory for it."""
    try:
        return run.take(batch, stop)
    except torch.OutOfMemoryError:
        pairs = min(run.recipe.micro_batch or len(batch.box), len(batch.box))
        raise ConfigError(
            f'{run.world.device} has too little memory for {pairs} pairs at once: let fewer pass '
            f'the network together, such as --set micro_batch={max(pairs // 2, 1)}'
        ) from None


class Trainer:
    """The state of a training: model, averaged model, optimiser, step, and best score so far."""

    def __init__(
        self, recipe: Recipe, out: Path, world: World, weights: Path | None = None
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.out, self.world = recipe, out, world
        self.step, self.bad, self.best = 0, 0, -1.0
        self.validated = 0  # the step at which it was last validated
        self.saved = time.monotonic()
        self.monitor: TrainingLogger | None = None
        model = create_model(recipe.model)
        if weights:
            load_weights(model, recipe.model, weights)
            self.start = f'SHA-256 {hashlib.sha256(weights.read_bytes()).hexdigest()}'
        else:
            model.backbone.load_imagenet()
            self.start = 'ImageNet'
        if world.size > 1:
            distributed.share_batch_norm(model)
        self.model: Siamese = model.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average: AveragedModel | None = None
        if recipe.ema:
            average = get_ema_multi_avg_fn(recipe.ema)
            self.average = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)
        self.optimizer = make_optimizer(self.model, recipe)
        self.network: nn.Module | None = None
        self.tuned: bool | None = None  # whether `features` are those of a backbone that learns
        self.features: Features

    @property
    def result(self) -> Siamese:
        """The model as it will be used: averaged, where the recipe averages."""
        if self.average is None:
            return self.model
        assert isinstance(self.average.module, Siamese)
        return self.average.module

    # --- steps

    def take(self, batch: Batch, stop: bool) -> bool:
        """Take one step; return whether to stop, for which there is a checkpoint then."""
        if self.network is None or self.step % self.recipe.steps == 0:
            self._enter_epoch()
        device, score_map = self.world.device, self.model.score_map
        batch = batch.each(lambda tensor: tensor.to(device, non_blocking=True))
        wanted = labels(score_map, batch.box, batch.negative, batch.sampling_priority[:, 0])
        shared = self.world.all_reduce(torch.cat([sampled(wanted), wanted.new_tensor([stop])]))
        told = (self.step + 1) % LOG_STEPS == 0
        with watch_scales(self.model, told) as scales:
            values = self._learn(batch, wanted, shared[:2])
        self._update()
        if self.monitor:
            self.monitor.advance(batch.broken)
            if told:
                rate = self.optimizer.param_groups[-1]['lr']
                self.monitor.scalars({**_floats(values), 'rate': rate, **scales})
        stop = bool(shared[2])
        late = time.monotonic() > self.saved + CHECKPOINT_SECONDS
        if stop or (late and not self.bad):
            self.checkpoint()
        return stop

    def _enter_epoch(self) -> None:
        epoch = self.step // self.recipe.steps
        tuned = set_epoch(self.model, self.optimizer, self.recipe, epoch)
        if tuned != self.tuned:
            self.features = (trainable_features if tuned else frozen_features)(self.model.backbone)
            self.tuned = tuned
        self.network = ForwardModule(self.model, self.features, self.recipe.bf16)
        if self.world.size > 1:
            self.network = DistributedDataParallel(self.network, broadcast_buffers=False)

    def _learn(self, batch: Batch, wanted: Tensor, counts: Tensor) -> dict[str, Tensor]:
        """Collect the gradient of a batch, in parts; return its losses, summed over processes."""
        assert self.network is not None
        recipe, score_map = self.recipe, self.model.score_map
        targets = edge_distances(score_map, batch.box)
        self.optimizer.zero_grad()
        share = len(batch.box)
        size = min(recipe.micro_batch or share, share)
        sums = torch.zeros(4, device=self.world.device)
        for start in range(0, share, size):
            part = slice(start, start + size)
            with self._last_part(start + size >= share):
                logits, distances = self.network(batch.template[part], batch.search[part])
                found = costs(
                    logits,
                    distances,
                    wanted[part],
                    targets[part],
                    batch.sampling_priority[part],
                    recipe.hard,
                )._replace(counts=counts)
                loss = LOSSES[recipe.loss](found)
                (self.world.size * loss).backward()  # DDP divides by the number of processes
            sums += torch.stack([loss.detach(), *_sums(found)])
        if self.monitor and (self.step % PICTURE_STEPS == 0):
            shown = batch.each(lambda tensor: tensor[part].cpu())
            self.monitor.picture(picture_of(shown, score_map, logits, distances))
        loss, positive, overlap, negative = self.world.all_reduce(sums)
        positives, negatives = counts.clamp(min=1)
        return {
            'loss': loss,
            'positive': positive / positives,
            'overlap': overlap / positives,
            'negative': negative / negatives,
        }

    def _last_part(self, last: bool) -> Any:
        """Let the processes exchange gradients in the last part of a batch only."""
        if isinstance(self.network, DistributedDataParallel) and not last:
            return self.network.no_sync()
        return nullcontext()

    def _update(self) -> None:
        """Change the weights by the gradient; leave a step out whose gradient is not finite."""
        learned = [p for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(learned, CLIP)
        self.step += 1
        if torch.isfinite(norm):
            self.bad = 0
            self.optimizer.step()
            if self.average:
                self.average.update_parameters(self.model)
            return
        self.bad += 1
        if self.bad > BAD_STEPS or not all(b.isfinite().all() for b in self.model.buffers()):
            raise ConfigError(
                f'the gradient is not finite at step {self.step}: go on from the last checkpoint '
                f'in {self.out} with --resume and a smaller rate, such as --set rate.peak='
                f'{self.recipe.rate.peak / 2:g}'
            )

    # --- epochs and files

    def end_epoch(self, tracked: list[sequences.Sequence]) -> None:
        """At the end of an epoch, validate, keep the best weights, and write a checkpoint.

        There is one before too, since validation may take long: what it ends, the next start does.
        """
        if self.step == self.validated or self.step % self.recipe.steps:
            return
        self.checkpoint()
        self.validated = self.step
        if self.monitor:
            scores = validate(self.result, tracked, self.world.device)
            self.monitor.validation(scores.success, scores.precision)
            if scores.success > self.best:
                self.best = scores.success
                self._save(self.out / 'best.safetensors')
            self.checkpoint()
        self.world.barrier()

    @contextmanager
    def monitored(self) -> Iterator[None]:
        """Write log and progress, in the first process."""
        if self.world.is_main:
            self.monitor = TrainingLogger(self.out, self.recipe, self.step, self.validated)
        try:
            yield
        finally:
            if self.monitor:
                self.monitor.close()

    def begin(self, resume: bool) -> None:
        """Go on from the checkpoint if asked to, or if torchrun restarts; see `read_checkpoint`."""
        state = read_checkpoint(self.out, self.recipe, self.world, resume)
        if state is None:
            return
        self.step, self.validated, self.best = state['step'], state['validated'], state['best']
        self.model.load_state_dict(state['model'])
        if self.average:
            self.average.load_state_dict(state['average'])
        self.optimizer.load_state_dict(state['optimizer'])
        torch.set_rng_state(state['random'].cpu())

    def checkpoint(self) -> None:
        """Write, from the first process, all that `begin` needs.

        Learning rates, what learns and which pairs come next follow from the step.
        """
        if not self.world.is_main:
            return
        state = {
            'recipe': self.recipe.model_dump(),
            'step': self.step,
            'validated': self.validated,
            'best': self.best,
            'model': self.model.state_dict(),
            'average': self.average.state_dict() if self.average else {},
            'optimizer': self.optimizer.state_dict(),
            'random': torch.get_rng_state(),
        }
        write_checkpoint(self.out, state)
        self.saved = time.monotonic()

    def finish(self) -> Path:
        """Write the weights and drop the checkpoint."""
        path = self.out / f'{self.recipe.model}.safetensors'
        if self.world.is_main:
            self._save(path)
            remove_checkpoint(self.out)
        return path

    def _save(self, path: Path) -> None:
        card = {'recipe': self.recipe.model_dump(), 'start': self.start, 'step': self.step}
        save_weights(self.result, self.recipe.model, path, card)


def _sums(found: SampledLosses) -> list[Tensor]:
    return [cost.detach().sum() for cost in (found.positive, found.overlap, found.negative)]


def _floats(values: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in values.items()}


@contextmanager
def _stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Note the first SIGINT or SIGTERM instead of dying of it; a second one ends all at once."""
    received: list[int] = []

    def note(number: int, _: object) -> None:
        received.append(number)
        for other, handler in before.items():
            signal.signal(other, handler)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
