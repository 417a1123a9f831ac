"""What a training tells about itself: log.jsonl, TensorBoard and a progress bar."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard.writer import SummaryWriter
from tqdm import tqdm

from siamffn_model.atomic_io import write_text
from siamffn_model.imaging.crop import SEARCH_SIZE
from siamffn_model.imaging.drawing import contact_sheet, draw_track
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import Image
from siamffn_model.networks.fusion import ScaleAttention
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.training.labels import points
from siamffn_model.training.recipe import Recipe
from siamffn_model.training.sampling import Batch

RED = (60, 60, 230)
SHOWN = 4  # pairs in a picture
VALIDATED = '"success"'  # what only lines of validations hold
FAR = 4.0 * SEARCH_SIZE  # pixels from a candidate to which an edge of its box is drawn, at most


class TrainingLogger:
    """Writes what happens; a training that goes on continues the same files.

    log.jsonl holds only what does not depend on the machine's speed: a line each so many steps and
    one each validation. TensorBoard has the same and the speed, and pictures.
    """

    def __init__(self, out: Path, recipe: Recipe, step: int, validated: int) -> None:
        """`step` was taken last, and `validated` is the step of the last validation.

        What the log says of later ones is dropped.
        """
        self.batch, self.steps, self.step = recipe.batch, recipe.steps, step
        self._log_file = out / 'log.jsonl'
        there = step and self._log_file.is_file()
        lines = self._log_file.read_text().splitlines() if there else []
        kept = [line for line in lines if _step(line) <= (validated if VALIDATED in line else step)]
        write_text(self._log_file, ''.join(f'{line}\n' for line in kept))
        self._log = self._log_file.open('a')
        self._board = SummaryWriter(str(out / 'tensorboard'), purge_step=step + 1)
        total = recipe.epochs * recipe.pairs
        self._bar = tqdm(total=total, initial=step * self.batch, unit='pair', mininterval=1)
        self._broken: set[str] = set()

    def advance(self, broken: list[str]) -> None:
        """Count a step, and tell of images that could not be read, each once."""
        self.step += 1
        self._bar.update(self.batch)
        for message in broken:
            if message not in self._broken:
                self._broken.add(message)
                tqdm.write(f'left out: {message}')

    def scalars(self, values: Mapping[str, float]) -> None:
        """Write the losses and whatever else the step gave."""
        self._write(values, 'train')
        rate = self._bar.format_dict['rate']
        if rate:
            self._board.add_scalar('speed/pairs_per_second', rate, self.step)
        self._board.add_scalar('data/broken_images', len(self._broken), self.step)
        epoch = (self.step - 1) // self.steps + 1
        self._bar.set_description(f'epoch {epoch}', refresh=False)
        self._bar.set_postfix({'loss': f'{values["loss"]:.3f}'}, refresh=False)

    def validation(self, success: float, precision: float) -> None:
        """Write how well the model tracks after an epoch."""
        epoch = self.step // self.steps
        tqdm.write(f'epoch {epoch}: success {success:.3f}, precision {precision:.3f}')
        self._write({'success': success, 'precision': precision}, 'validation')

    def picture(self, sheet: Image) -> None:
        """Show what `picture_of` drew."""
        self._board.add_image('pairs', sheet[..., ::-1], self.step, dataformats='HWC')

    def close(self) -> None:
        """Finish the files."""
        self._log.close()
        self._board.close()
        self._bar.close()

    def _write(self, values: Mapping[str, float], kind: str) -> None:
        self._log.write(json.dumps({'step': self.step, **values}) + '\n')
        self._log.flush()
        for name, value in values.items():
            self._board.add_scalar(f'{kind}/{name}', value, self.step)


def _step(line: str) -> float:
    """Return the step that a line of the log tells of; infinity where it is torn."""
    try:
        return float(json.loads(line)['step'])
    except ValueError:
        return math.inf


@contextmanager
def watch_scales(model: nn.Module, wanted: bool) -> Iterator[dict[str, float]]:
    """Give a dict that is filled, if `wanted`, with the weights of the model's scale attention.

    scale0, scale1, ... are the means, over the pairs that last passed the network, of what Eq. 4
    gives each level; scale0_spread, ... their standard deviations: how much they differ from image
    to image.
    """
    scales: dict[str, float] = {}

    def note(fusion: nn.Module, inputs: tuple[list[Tensor]], _: Tensor) -> None:
        assert isinstance(fusion, ScaleAttention)
        with torch.no_grad():
            weights = fusion.weights(*inputs).float()
        spreads = weights.std(dim=0, correction=0).tolist()
        for level, (mean, spread) in enumerate(zip(weights.mean(dim=0).tolist(), spreads)):
            scales[f'scale{level}'], scales[f'scale{level}_spread'] = mean, spread

    fusions = [module for module in model.modules() if isinstance(module, ScaleAttention)]
    handles = [fusion.register_forward_hook(note) for fusion in fusions if wanted]
    try:
        yield scales
    finally:
        for handle in handles:
            handle.remove()


def picture_of(batch: Batch, score_map: ScoreMap, logits: Tensor, distances: Tensor) -> Image:
    """Draw the first pairs of a batch: template, search crop with boxes, and score map, a row each.

    The true box is green, or missing in a negative pair; the one with the highest score is red.
    logits (B, 2, N) and distances (B, 4, N) are what the model gave, finite or not.
    """
    x, y = points(score_map).numpy()
    scores = logits.detach().float().softmax(1)[:, 1].nan_to_num().cpu().numpy()
    edges = distances.detach().float().nan_to_num().clamp(-FAR, FAR).cpu().numpy()
    cells: list[Image] = []
    for number in range(min(SHOWN, len(scores))):
        best = int(scores[number].argmax())
        left, top, right, bottom = (float(edge) for edge in edges[number, :, best])
        found = Box(float(x[best]) - left, float(y[best]) - top, left + right, top + bottom)
        search = batch.search[number].numpy().copy()
        if not batch.negative[number]:
            draw_track(search, Box(*batch.box[number].tolist()), '')
        draw_track(search, found, f'{scores[number, best]:.2f}', RED)
        heat = scores[number].reshape(-1, score_map.side, score_map.side).max(axis=0)
        cells += [batch.template[number].numpy(), search, _heat_map(heat)]
    return contact_sheet(cells, columns=3, width=SEARCH_SIZE)


def _heat_map(scores: np.ndarray) -> Image:
    grey = (255 * scores).astype(np.uint8)
    large = cv2.resize(grey, (SEARCH_SIZE, SEARCH_SIZE), interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.applyColorMap(large, cv2.COLORMAP_VIRIDIS), np.uint8)
