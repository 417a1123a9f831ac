"""Logging of a training: log.jsonl, TensorBoard and a progress bar."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from siamffn_model.atomic_io import disk_is_full, write_text
from siamffn_model.imaging.crop import SEARCH_SIZE
from siamffn_model.imaging.drawing import contact_sheet, draw_track
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image
from siamffn_model.networks.fusion import ScaleAttention
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.training.labels import points
from siamffn_model.training.recipe import Recipe
from siamffn_model.training.sampling import Batch

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

RED = (60, 60, 230)
MAX_PAIRS = 4  # in an image of pairs
VALIDATION_KEY = '"success"'  # occurs only in the log lines of validations
MAX_DISTANCE = 4.0 * SEARCH_SIZE  # limit in pixels of drawn distances from a candidate to an edge


class TrainingLogger:
    """Writes log.jsonl and TensorBoard files; a resumed training continues the same files.

    log.jsonl has a line for every tenth step and one for every validation. It contains nothing that
    depends on the speed of the machine. TensorBoard, if it is installed, also has the speed and
    images of pairs.
    """

    def __init__(self, out: Path, recipe: Recipe, step: int, validated_step: int) -> None:
        """`step` is the last completed step, `validated_step` the step of the last validation.

        Log lines of later steps and validations are removed.
        """
        self.batch, self.steps, self.step = recipe.batch, recipe.steps, step
        self._log_path = out / 'log.jsonl'
        resumed = step and self._log_path.is_file()
        lines = self._log_path.read_text().splitlines() if resumed else []
        kept = [
            line
            for line in lines
            if _step(line) <= (validated_step if VALIDATION_KEY in line else step)
        ]
        write_text(self._log_path, ''.join(f'{line}\n' for line in kept))
        self._log = self._log_path.open('a')
        self._tensorboard = _open_tensorboard(out / 'tensorboard', step + 1)
        total = recipe.epochs * recipe.pairs
        self._bar = tqdm(total=total, initial=step * self.batch, unit='pair', mininterval=1)
        self._unreadable: set[str] = set()

    def advance(self, unreadable: list[str]) -> None:
        """Count a step and print each message about an unreadable image once."""
        self.step += 1
        self._bar.update(self.batch)
        for message in unreadable:
            if message not in self._unreadable:
                self._unreadable.add(message)
                tqdm.write(f'skipped: {message}')

    def log_scalars(self, values: Mapping[str, float]) -> None:
        """Log the losses and other values of a step; `values` must have 'loss'."""
        self._write(values, 'train')
        rate = self._bar.format_dict['rate']
        if rate:
            self._add_scalar('speed/pairs_per_second', rate)
        self._add_scalar('data/broken_images', len(self._unreadable))
        epoch = (self.step - 1) // self.steps + 1
        self._bar.set_description(f'epoch {epoch}', refresh=False)
        self._bar.set_postfix({'loss': f'{values["loss"]:.3f}'}, refresh=False)

    def log_validation(self, scores: Mapping[str, float]) -> None:
        """Log and print the scores of a validation; `scores` must have 'success'."""
        text = ', '.join(f'{name} {score:.3f}' for name, score in scores.items())
        tqdm.write(f'epoch {self.step // self.steps}: {text}')
        self._write(scores, 'validation')

    def log_image(self, image: Image) -> None:
        """Log an image from `draw_pairs` to TensorBoard."""
        if self._tensorboard:
            self._tensorboard.add_image('pairs', image[..., ::-1], self.step, dataformats='HWC')

    def close(self) -> None:
        """Close all files and the progress bar."""
        self._log.close()
        if self._tensorboard:
            self._tensorboard.close()
        self._bar.close()

    def _write(self, values: Mapping[str, float], group: str) -> None:
        self._log.write(json.dumps({'step': self.step, **values}) + '\n')
        self._log.flush()
        for name, value in values.items():
            self._add_scalar(f'{group}/{name}', value)

    def _add_scalar(self, name: str, value: float) -> None:
        if self._tensorboard:
            self._tensorboard.add_scalar(name, value, self.step)


def _open_tensorboard(folder: Path, first_step: int) -> SummaryWriter | None:
    if find_spec('tensorboard') is None:
        tqdm.write('TensorBoard is not installed: metrics are written to log.jsonl only')
        return None
    from torch.utils.tensorboard.writer import SummaryWriter

    threading.excepthook = _report_thread_error
    return SummaryWriter(str(folder), purge_step=first_step)


def _report_thread_error(arguments: threading.ExceptHookArgs) -> None:
    """Print the error of a thread, but not that of a full disk: TensorBoard also raises it here."""
    error = arguments.exc_value
    if not (isinstance(error, OSError) and disk_is_full(error)):
        threading.__excepthook__(arguments)


def _step(line: str) -> float:
    """Return the step of a log line; infinity if the line is incomplete."""
    try:
        return float(json.loads(line)['step'])
    except ValueError:
        return math.inf


@contextmanager
def record_scale_weights(model: nn.Module, enabled: bool) -> Iterator[dict[str, float]]:
    """Yield a dict that receives statistics of the model's scale attention weights, if `enabled`.

    scale0, scale1, ... are the means of the weights (Eq. 4) of each level over the pairs of the
    last forward pass; scale0_spread, ... are their standard deviations between the pairs.
    """
    scales: dict[str, float] = {}

    def record(fusion: nn.Module, inputs: tuple[list[Tensor]], _: Tensor) -> None:
        assert isinstance(fusion, ScaleAttention)
        with torch.no_grad():
            weights = fusion.weights(*inputs).float()
        spreads = weights.std(dim=0, correction=0).tolist()
        for level, (mean, spread) in enumerate(zip(weights.mean(dim=0).tolist(), spreads)):
            scales[f'scale{level}'], scales[f'scale{level}_spread'] = mean, spread

    fusions = [module for module in model.modules() if isinstance(module, ScaleAttention)]
    handles = [fusion.register_forward_hook(record) for fusion in fusions if enabled]
    try:
        yield scales
    finally:
        for handle in handles:
            handle.remove()


def draw_pairs(batch: Batch, score_map: ScoreMap, logits: Tensor, distances: Tensor) -> Image:
    """Draw the first pairs of a batch, a row each: template, search crop with boxes, score map.

    The ground-truth box is green, and not drawn for a negative pair; the predicted box with the
    highest score is red. logits (B, 2, N) and distances (B, 4, N) are the outputs of the model and
    need not be finite.
    """
    x, y = points(score_map).numpy()
    scores = logits.detach().float().softmax(1)[:, 1].nan_to_num().cpu().numpy()
    limited = distances.detach().float().nan_to_num().clamp(-MAX_DISTANCE, MAX_DISTANCE)
    edges = limited.cpu().numpy()
    cells: list[Image] = []
    for number in range(min(MAX_PAIRS, len(scores))):
        best = int(scores[number].argmax())
        left, top, right, bottom = (float(edge) for edge in edges[number, :, best])
        predicted = Box(float(x[best]) - left, float(y[best]) - top, left + right, top + bottom)
        search = batch.search[number].numpy().copy()
        if not batch.negative[number]:
            draw_track(search, Box(*batch.box[number].tolist()), '')
        draw_track(search, predicted, f'{scores[number, best]:.2f}', RED)
        heat = scores[number].reshape(-1, score_map.side, score_map.side).max(axis=0)
        cells += [batch.template[number].numpy(), search, _heat_map(heat)]
    return contact_sheet(cells, columns=3, width=SEARCH_SIZE)


def _heat_map(scores: np.ndarray) -> Image:
    grey = (255 * scores).astype(np.uint8)
    large = cv2.resize(grey, (SEARCH_SIZE, SEARCH_SIZE), interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.applyColorMap(large, cv2.COLORMAP_VIRIDIS), np.uint8)
