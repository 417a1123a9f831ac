"""The training loop, on one device or on several."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from siamffn_model.datasets.sequences import Sequence
from siamffn_model.distributed import World, init_distributed
from siamffn_model.errors import ConfigError
from siamffn_model.networks.siamese import Siamese
from siamffn_model.networks.zoo import create_model, load_weights, save_weights
from siamffn_model.signals import catch_signals
from siamffn_model.training.checkpoint import (
    read_checkpoint,
    remove_checkpoint,
    write_checkpoint,
)
from siamffn_model.training.distillation import open_distillation
from siamffn_model.training.feature_store import FeatureBatch, FeatureStore
from siamffn_model.training.features import frozen_features, trainable_features
from siamffn_model.training.forward import FeatureFunction, ForwardModule
from siamffn_model.training.gradient import accumulate_gradient
from siamffn_model.training.labels import edge_distances, labels
from siamffn_model.training.loading import open_batches
from siamffn_model.training.logger import TrainingLogger, draw_pairs, record_scale_weights
from siamffn_model.training.losses import count_samples
from siamffn_model.training.pair_sources import open_sources
from siamffn_model.training.recipe import Recipe
from siamffn_model.training.sampling import Batch
from siamffn_model.training.schedule import make_optimizer, set_epoch
from siamffn_model.training.sync_batch_norm import convert_sync_batchnorm
from siamffn_model.training.validation import open_validation, validate, validate_pairs

MAX_GRADIENT_NORM = 10.0  # gradients are clipped to this norm (SiamBAN's code)
LOG_STEPS, IMAGE_STEPS = 10, 500
CHECKPOINT_SECONDS = 300
MAX_SKIPPED_STEPS = 10  # consecutive steps that may be skipped because of a non-finite gradient


def train(
    recipe: Recipe,
    data: Mapping[str, Path],
    out: Path,
    device: str = 'auto',
    workers: int = 1,
    resume: bool = False,
    weights: Path | None = None,
    teacher: Path | None = None,
) -> Path:
    """Train a model according to the recipe; return the weight file `out`/MODEL.safetensors.

    `data` maps the name of each data set in the recipe to its folder. The optional name
    'validation' is a folder of sequences that the model is validated on after each epoch;
    best.safetensors holds the weights with the highest success. `weights` is a weight file to
    start from instead of the backbone's ImageNet weights. `teacher` has the files of the teacher of
    a recipe that has one, see `load_teacher`.

    Training writes log.jsonl, TensorBoard files and, while it runs, checkpoint.pt. With `resume`,
    it continues from the checkpoint with the same result as an uninterrupted run. SIGINT,
    SIGTERM and SIGHUP end it after the current step with a checkpoint (`KeyboardInterrupt`).
    Processes that torchrun starts train together; after a failure of one, torchrun restarts all of
    them and they continue from the checkpoint.

    Raises `ConfigError` if the number of processes does not divide the batch size, if an
    unfinished checkpoint exists without `resume` or belongs to another training, if the device has
    too little memory, or if too many consecutive gradients are not finite; `DataError` for data
    or a checkpoint that is missing or damaged; `WeightsError` for `weights` and `teacher`.
    """
    folders = dict(data)
    validation_folder = folders.pop('validation', None)
    with init_distributed(device) as world, catch_signals() as stop_requested:
        if recipe.batch % world.size:
            raise ConfigError(
                f'a batch of {recipe.batch} pairs cannot be divided evenly among {world.size} '
                'processes: set batch to a multiple of the number of processes'
            )
        sources = open_sources(recipe, folders)
        validation_set = open_validation(validation_folder, sources)
        trainer = Trainer(recipe, out, world, weights, teacher)
        trainer.load_checkpoint(resume)
        candidates = trainer.model.score_map.candidates
        drawn = recipe.model_copy(update={'epochs': 1}) if recipe.repeat else recipe
        loader = open_batches(drawn, sources, candidates, world, trainer.step, workers)
        with trainer.logging(), loader as batches:
            trainer.end_epoch(validation_set)
            for batch in trainer.prepare(batches):
                if _train_step(trainer, batch, stop_requested()):
                    raise KeyboardInterrupt
                trainer.end_epoch(validation_set)
        return trainer.finish()


def _train_step(trainer: Trainer, batch: Batch | FeatureBatch, stop: bool) -> bool:
    """Call `Trainer.train_step`; raises `ConfigError` if the device runs out of memory."""
    try:
        return trainer.train_step(batch, stop)
    except torch.OutOfMemoryError:
        pairs = min(trainer.recipe.micro_batch or len(batch.box), len(batch.box))
        raise ConfigError(
            f'{trainer.world.device} has too little memory for {pairs} pairs at once: reduce the '
            f'number of pairs in a forward pass, such as --set micro_batch={max(pairs // 2, 1)}'
        ) from None


class Trainer:
    """The state of a training: model, averaged model, optimizer, step and best score."""

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        world: World,
        weights: Path | None = None,
        teacher: Path | None = None,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.out, self.world = recipe, out, world
        self.step = 0
        self.skipped_steps = 0  # consecutive steps with a non-finite gradient
        self.validated_step = 0  # the step after which the model was last validated
        self.best_success = -1.0
        self.checkpoint_time = time.monotonic()
        self.logger: TrainingLogger | None = None
        model = create_model(recipe.model)
        if weights:
            load_weights(model, recipe.model, weights)
            start = f'SHA-256 {hashlib.sha256(weights.read_bytes()).hexdigest()}'
        else:
            model.backbone.load_imagenet()
            start = 'ImageNet'
        if world.size > 1:
            convert_sync_batchnorm(model)
        self.model: Siamese = model.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged_model: AveragedModel | None = None
        if recipe.ema:
            average = get_ema_multi_avg_fn(recipe.ema)
            self.averaged_model = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)
        self.distillation = open_distillation(recipe, teacher, self.model)
        self.origin = {'start': start}  # recorded in the weight file
        if self.distillation:
            self.origin['teacher'] = self.distillation.teacher.card
        self.projection = self.distillation.projection if self.distillation else nn.Identity()
        self.optimizer = make_optimizer(self.model, recipe, self.projection.parameters())
        self.forward_module: nn.Module | None = None
        self.backbone_trained: bool | None = None  # what `features` was created for
        self.features: FeatureFunction
        self.store: FeatureStore | None = None
        if recipe.repeat:
            source = self.distillation.teacher if self.distillation else None
            self.store = FeatureStore(out, recipe, world, self.model, source)

    @property
    def result(self) -> Siamese:
        """The model to validate and save: the averaged one if the recipe averages weights."""
        if self.averaged_model is None:
            return self.model
        assert isinstance(self.averaged_model.module, Siamese)
        return self.averaged_model.module

    # --- steps

    def prepare(self, batches: Iterable[Batch]) -> Iterable[Batch | FeatureBatch]:
        """Return the batches after the present step, given those that are drawn.

        If the recipe repeats pairs, these are the batches of the first epoch.
        """
        return self.store.batches(self.step, batches) if self.store else batches

    def train_step(self, batch: Batch | FeatureBatch, stop: bool) -> bool:
        """Train on a batch; return whether any process requested a stop.

        Before it returns True, it writes a checkpoint. Every process must call it.
        """
        if self.forward_module is None or self.step % self.recipe.steps == 0:
            self._start_epoch()
        device, score_map = self.world.device, self.model.score_map
        batch = batch.map(lambda tensor: tensor.to(device, non_blocking=True))
        if self.distillation:
            batch = self.distillation.teach(batch)
        boxes = self.distillation.boxes(batch) if self.distillation else batch.box
        targets = labels(score_map, boxes, batch.negative, batch.sampling_priority[:, 0])
        reduced = self.world.all_reduce(
            torch.cat([count_samples(targets), targets.new_tensor([stop])])
        )
        log_step = (self.step + 1) % LOG_STEPS == 0
        with record_scale_weights(self.model, log_step) as scales:
            losses = self._backward(batch, targets, edge_distances(score_map, boxes), reduced[:2])
        self._optimizer_step()
        if self.logger:
            self.logger.advance(batch.unreadable)
            if log_step:
                rate = self.optimizer.param_groups[-1]['lr']
                self.logger.log_scalars({**_floats(losses), 'rate': rate, **scales})
        stop = bool(reduced[2])
        checkpoint_due = time.monotonic() > self.checkpoint_time + CHECKPOINT_SECONDS
        if stop or (checkpoint_due and not self.skipped_steps):
            self.save_checkpoint()
        return stop

    def _start_epoch(self) -> None:
        epoch = self.step // self.recipe.steps
        backbone_trained = set_epoch(self.model, self.optimizer, self.recipe, epoch)
        if backbone_trained != self.backbone_trained:
            self.features = self._create_features(backbone_trained)
            self.backbone_trained = backbone_trained
        self.forward_module = ForwardModule(
            self.model, self.features, self.recipe.bf16, self.projection
        )
        if self.world.size > 1:
            self.forward_module = DistributedDataParallel(
                self.forward_module, broadcast_buffers=False
            )

    def _create_features(self, backbone_trained: bool) -> FeatureFunction:
        if self.store:
            return self.model.backbone.trainable_stages
        create_features = trainable_features if backbone_trained else frozen_features
        return create_features(self.model.backbone)

    def _backward(
        self,
        batch: Batch | FeatureBatch,
        targets: Tensor,
        target_distances: Tensor,
        counts: Tensor,
    ) -> dict[str, Tensor]:
        """Accumulate the gradient of a batch; return its losses, reduced over all processes.

        targets, target_distances and counts are those of `accumulate_gradient`.
        """
        assert self.forward_module is not None
        self.optimizer.zero_grad()
        losses, outputs = accumulate_gradient(
            self.recipe,
            self.world,
            self.forward_module,
            self.distillation,
            batch,
            targets,
            target_distances,
            counts,
        )
        if self.logger and self.step % IMAGE_STEPS == 0 and isinstance(batch, Batch):
            last_part = batch.map(lambda tensor: tensor[-len(outputs.logits) :].cpu())
            self.logger.log_image(draw_pairs(last_part, self.model.score_map, *outputs[:2]))
        return losses

    def _optimizer_step(self) -> None:
        """Clip the gradient and update the weights; skip the update if it is not finite."""
        groups = self.optimizer.param_groups
        parameters = [p for group in groups for p in group['params'] if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
        self.step += 1
        if torch.isfinite(norm):
            self.skipped_steps = 0
            self.optimizer.step()
            if self.averaged_model:
                self.averaged_model.update_parameters(self.model)
            return
        self.skipped_steps += 1
        finite_buffers = all(buffer.isfinite().all() for buffer in self.model.buffers())
        if self.skipped_steps > MAX_SKIPPED_STEPS or not finite_buffers:
            raise ConfigError(
                f'the gradient is not finite at step {self.step}: continue from the last '
                f'checkpoint in {self.out} with --resume and a lower learning rate, such as '
                f'--set rate.peak={self.recipe.rate.peak / 2:g}'
            )

    # --- epochs

    def end_epoch(self, validation_set: list[Sequence]) -> None:
        """Validate at the end of an epoch, save the best weights and a checkpoint.

        A checkpoint is also saved before the validation, which may take long: if it is
        interrupted, a resumed training repeats only the validation. Does nothing between epochs
        and where the step has been validated.
        """
        if self.step == self.validated_step or self.step % self.recipe.steps:
            return
        self.save_checkpoint()
        self.validated_step = self.step
        if self.logger:
            scores = validate(self.result, validation_set, self.world.device)
            pairs = validate_pairs(self.result, validation_set, self.world.device)
            self.logger.log_validation(
                {'success': scores.success, 'precision': scores.precision, **pairs._asdict()}
            )
            if scores.success > self.best_success:
                self.best_success = scores.success
                self._save_weights(self.out / 'best.safetensors')
            self.save_checkpoint()
        self.world.barrier()

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Open the logger in the main process, and close it at the end of the context."""
        if self.world.is_main:
            self.logger = TrainingLogger(self.out, self.recipe, self.step, self.validated_step)
        try:
            yield
        finally:
            if self.logger:
                self.logger.close()

    # --- files

    def load_checkpoint(self, resume: bool) -> None:
        """Restore the state if `resume` is set or torchrun restarted the processes.

        Raises the errors of `read_checkpoint`.
        """
        state = read_checkpoint(self.out, self.recipe, self.origin, self.world, resume)
        if state is None:
            return
        self.step, self.validated_step = state['step'], state['validated']
        self.best_success = state['best']
        self.model.load_state_dict(state['model'])
        if self.averaged_model:
            self.averaged_model.load_state_dict(state['average'])
        self.projection.load_state_dict(state['projection'])
        self.optimizer.load_state_dict(state['optimizer'])
        torch.set_rng_state(state['random'].cpu())

    def save_checkpoint(self) -> None:
        """Write the state in the main process.

        Learning rates, trainable parameters and the next pairs follow from the step.
        """
        if not self.world.is_main:
            return
        state: dict[str, Any] = {
            'recipe': self.recipe.model_dump(),
            'origin': self.origin,
            'step': self.step,
            'validated': self.validated_step,
            'best': self.best_success,
            'model': self.model.state_dict(),
            'average': self.averaged_model.state_dict() if self.averaged_model else {},
            'projection': self.projection.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'random': torch.get_rng_state(),
        }
        write_checkpoint(self.out, state)
        self.checkpoint_time = time.monotonic()

    def finish(self) -> Path:
        """Write the weight file, remove the checkpoint and return the path of the weights."""
        path = self.out / f'{self.recipe.model}.safetensors'
        if self.world.is_main:
            self._save_weights(path)
            remove_checkpoint(self.out)
        if self.store:
            self.store.remove()
        return path

    def _save_weights(self, path: Path) -> None:
        metadata = {'recipe': self.recipe.model_dump(), **self.origin, 'step': self.step}
        save_weights(self.result, self.recipe.model, path, metadata)


def _floats(values: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in values.items()}
