"""The training loop: everything behind a frozen backbone, on one device."""

from __future__ import annotations

import copy
import json
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from siamffn_model.datasets.pack import Pack
from siamffn_model.errors import DataError
from siamffn_model.files import whole
from siamffn_model.networks.fusion import ScaleAttention
from siamffn_model.networks.neck import center_crop
from siamffn_model.networks.siamese import Siamese
from siamffn_model.networks.zoo import choose_device, create_model, save_weights
from siamffn_model.training.features import Features, Replay, frozen_features
from siamffn_model.training.labels import edge_distances, labels
from siamffn_model.training.losses import LOSSES, costs
from siamffn_model.training.sampling import PackPairs, Pair


@dataclass(frozen=True)
class Recipe:
    """How to train; AdamW with a warm-up and a cosine decay to zero."""

    model: str = 'siamffn_lite0'
    loss: str = 'csrl'  # one of LOSSES
    steps: int = 4000
    batch: int = 32
    fresh: int = 12  # new pairs a step; the rest of a batch's worth is replayed
    capacity: int = 6000  # pairs kept for replay
    negative: float = 0.15  # share of pairs whose template is of another target
    lr: float = 1e-3
    weight_decay: float = 1e-4
    warmup: int = 200  # steps
    clip: float = 10.0  # norm of the gradient
    ema: float = 0.998
    seed: int = 0


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    device: str = 'auto',
    workers: int = 1,
    resume: bool = False,
) -> Path:
    """Train on the pack in `data`; return the weight file `out`/MODEL.safetensors.

    Leaves log.jsonl (a line every 50 steps) and, while it runs, checkpoint.pt, from which `resume`
    goes on (the replay fills anew). SIGINT and SIGTERM end it after the step at hand, with a
    checkpoint. Raises `DataError` for an incomplete pack or a checkpoint of another recipe.
    """
    out.mkdir(parents=True, exist_ok=True)
    run = _Run(recipe, out, choose_device(device))
    if resume:
        run.restore()
    pairs = PackPairs(Pack.read(data), recipe.steps * recipe.fresh, recipe.seed)
    rest = Subset(pairs, range(run.step * recipe.fresh, len(pairs)))
    loader = DataLoader(
        rest,
        recipe.fresh,
        num_workers=workers,
        collate_fn=run.encode,
        worker_init_fn=_start_worker,
    )
    with (
        _stop_on_signal() as stopped,
        (out / 'log.jsonl').open('a' if resume else 'w') as log,
        tqdm(total=recipe.steps, initial=run.step, unit='step', mininterval=2) as bar,
    ):
        for fresh in loader:
            losses = run.train_step(fresh)
            bar.update()
            if run.step % 50 == 0:
                log.write(json.dumps({'step': run.step, **losses}) + '\n')
                log.flush()
                bar.set_postfix({k: f'{v:.3f}' for k, v in losses.items()}, refresh=False)
            if run.step % 500 == 0 or stopped():
                run.checkpoint()
            if stopped():
                raise KeyboardInterrupt
    return run.finish()


class _Run:
    """The state of a training run: model, averaged model, optimiser and step."""

    def __init__(self, recipe: Recipe, out: Path, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.out, self.device, self.step = recipe, out, device, 0
        self.model = create_model(recipe.model).to(device).train()
        self.model.backbone.load_imagenet()
        self.model.backbone.eval().requires_grad_(False)
        self.encode = _Encode(copy.deepcopy(self.model.backbone).cpu(), self.model.cells)
        self.replay = Replay(recipe.capacity)
        average = get_ema_multi_avg_fn(recipe.ema)
        self.ema = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)
        self.scales = _watch_scales(self.model)
        self.learned = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.learned, recipe.lr, weight_decay=recipe.weight_decay
        )

    def train_step(self, fresh: list[Tensor]) -> dict[str, float]:
        """Take one step; return the losses, and each scale's mean weight where there is one."""
        self.replay.add(fresh)
        *levels, boxes = (column.to(self.device) for column in self.replay.draw(self.recipe.batch))
        z, x = levels[: len(levels) // 2], levels[len(levels) // 2 :]
        swapped = round(self.recipe.negative * len(boxes))
        z = [torch.cat([level[:swapped].roll(1, 0), level[swapped:]]) for level in z]
        negative = torch.arange(len(boxes), device=self.device) < swapped

        for group in self.optimizer.param_groups:
            group['lr'] = self.recipe.lr * _rate(self.step, self.recipe)
        score_map = self.model.score_map
        logits, distances = respond(self.model, z, x)
        candidates = labels(score_map, boxes, negative)
        parts = costs(logits, distances, candidates, edge_distances(score_map, boxes))
        total = LOSSES[self.recipe.loss](parts)
        if not torch.isfinite(total):
            raise DataError(
                f'the loss is not finite at step {self.step}: resume with a smaller rate'
            )
        self.optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(self.learned, self.recipe.clip)
        self.optimizer.step()
        self.ema.update_parameters(self.model)
        self.step += 1
        means = {name: cost.mean().item() for name, cost in parts._asdict().items() if len(cost)}
        return {'total': total.item(), **means, **self.scales}

    def checkpoint(self) -> None:
        """Write all that `restore` needs, atomically."""
        state = {
            'recipe': asdict(self.recipe),
            'step': self.step,
            'model': self.model.state_dict(),
            'ema': self.ema.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'rng': torch.get_rng_state(),
        }
        with whole(self.out / 'checkpoint.pt') as partial:
            torch.save(state, partial)

    def restore(self) -> None:
        """Go on where the checkpoint in the output folder stopped; raises `DataError`."""
        path = self.out / 'checkpoint.pt'
        if not path.is_file():
            raise DataError(
                f'{path} is missing, so there is nothing to resume: start without --resume'
            )
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state['recipe'] != asdict(self.recipe):
            raise DataError(
                f'{path} is of another recipe ({state["recipe"]}): give the same options, '
                'or start in another folder'
            )
        self.step = state['step']
        self.model.load_state_dict(state['model'])
        self.ema.load_state_dict(state['ema'])
        self.optimizer.load_state_dict(state['optimizer'])
        torch.set_rng_state(state['rng'].cpu())

    def finish(self) -> Path:
        """Write the averaged weights as a weight file and drop the checkpoint."""
        self.model.load_state_dict(self.ema.module.state_dict())
        path = self.out / f'{self.recipe.model}.safetensors'
        save_weights(self.model, self.recipe.model, path, {'recipe': asdict(self.recipe)})
        (self.out / 'checkpoint.pt').unlink(missing_ok=True)
        return path


def respond(model: Siamese, z: list[Tensor], x: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Map backbone levels to logits and distances.

    Template cells and search cells pass the neck together, so that its batch norm learns from one
    set of statistics, the one it will use in tracking.
    """
    cells = z[0].shape[-2] * z[0].shape[-1]
    together = model.neck(
        [torch.cat([a.flatten(2), b.flatten(2)], dim=2)[:, :, None] for a, b in zip(z, x)]
    )
    template = [level[..., :cells].squeeze(2).unflatten(2, z[0].shape[2:]) for level in together]
    search = [level[..., cells:].squeeze(2).unflatten(2, x[0].shape[2:]) for level in together]
    return model.compare(search, model.kernels(template))


def _watch_scales(model: nn.Module) -> dict[str, float]:
    """Return a dict that always holds the mean weight of each scale in the last batch, if any."""
    scales: dict[str, float] = {}

    def note(fusion: nn.Module, inputs: tuple[list[Tensor]], _: Tensor) -> None:
        assert isinstance(fusion, ScaleAttention)
        with torch.no_grad():
            means = fusion.weights(*inputs).mean(dim=0).tolist()
        scales.update({f'scale{level}': mean for level, mean in enumerate(means)})

    for module in model.modules():
        if isinstance(module, ScaleAttention):
            module.register_forward_hook(note)
    return scales


def _rate(step: int, recipe: Recipe) -> float:
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(recipe.steps - recipe.warmup, 1)
    return (1 + math.cos(math.pi * done)) / 2


class _Encode:
    """Turns pairs into the columns of `Replay`, in half precision, in the loader's own process."""

    def __init__(self, backbone: nn.Module, cells: int) -> None:
        self.backbone, self.cells = backbone, cells
        self.features: Features | None = None

    def __call__(self, pairs: list[Pair]) -> list[Tensor]:
        """Return template levels (B, C, cells, cells), search levels and boxes (B, 4)."""
        self.features = self.features or frozen_features(self.backbone)
        templates, searches, boxes = (np.stack(column) for column in zip(*pairs))
        z = [center_crop(level, self.cells) for level in self.features(templates)]
        return [column.half() for column in (*z, *self.features(searches))] + [
            torch.from_numpy(boxes)
        ]


def _start_worker(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


@contextmanager
def _stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Note SIGINT and SIGTERM instead of dying of them."""
    received: list[int] = []
    before = {
        number: signal.signal(number, lambda n, _: received.append(n))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
