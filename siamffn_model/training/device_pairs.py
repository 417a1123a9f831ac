"""Batches of training pairs that are computed on a device from the training pack.

A batch depends only on the recipe, the step, and the process and number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siamffn_model.errors import ConfigError
from siamffn_model.imaging.crop import SEARCH_SIZE, TEMPLATE_SIZE
from siamffn_model.training.augmentation import MAX_DOWNSAMPLING, MIN_CONTRAST
from siamffn_model.training.device_augmentation import (
    add_noise,
    blur_line,
    change_levels,
    compress,
    enlarge,
    greyscale,
    planes,
)
from siamffn_model.training.device_drawing import TargetSource
from siamffn_model.training.device_images import DeviceImages, load_images
from siamffn_model.training.device_rendering import Canvas, render
from siamffn_model.training.device_targets import CROPS, Floats, Ints, Rng, Targets, draw_jitter
from siamffn_model.training.pair_sources import PackSource
from siamffn_model.training.sampling import Batch, PairSource

if TYPE_CHECKING:
    from siamffn_model.distributed import World
    from siamffn_model.training.recipe import Augmentation, Recipe

BLOCK = 64  # pairs that are computed at once, at least
RESOLUTIONS = 4  # different reduced resolutions of the pairs computed at once
BLURS = 4  # different motion blurs of them
MIN_SIDE = 8  # pixels of a crop of reduced resolution


class Camera(NamedTuple):
    """How the crops of pairs (B of them) are changed, template and search crop as (B, 2).

    Attributes:
        levels: (B, 2, 3, 4), gain, offset, minimum and maximum of each colour.
        grey: (B,), whether the pair is in greyscale.
        blur: (B,), number of the motion blur of the search crop, or -1.
        blurs: (BLURS, 2), length in pixels of the crop and direction in radians.
        factor: (B,), reduction of the resolution, at least 1.
        factors: (RESOLUTIONS,), the reductions of this batch.
        noise: (B, 2), standard deviation of the noise, or 0.
        quality: (B, 2), JPEG quality, or 0.
    """

    levels: Floats
    grey: NDArray[np.bool_]
    blur: Ints
    blurs: Floats
    factor: Floats
    factors: Floats
    noise: Floats
    quality: Ints

    @classmethod
    def draw(cls, rng: Rng, pairs: int, augmentation: Augmentation) -> Camera:
        """Draw the changes at random, see `augment`."""
        levels = _compose(
            _jitter(rng, augmentation.colour, (pairs, 1)),
            _jitter(rng, augmentation.light, (pairs, 2)),
            _faint(rng, augmentation.faint, pairs),
        )
        blurred, reduced, noisy, compressed = rng.random((4, pairs)) < np.array(
            [
                [augmentation.blur],
                [augmentation.pixels],
                [augmentation.noise],
                [augmentation.compression],
            ]
        )
        lengths = 3 * (32 / 3) ** ((np.arange(BLURS) + rng.random(BLURS)) / BLURS)
        factors = np.exp(
            np.log(MAX_DOWNSAMPLING)
            * (np.arange(RESOLUTIONS) + rng.random(RESOLUTIONS))
            / RESOLUTIONS
        )
        return cls(
            levels,
            rng.random(pairs) < augmentation.grey,
            np.where(blurred, rng.integers(BLURS, size=pairs), -1),
            np.column_stack([lengths, rng.uniform(0, np.pi, BLURS)]),
            np.where(reduced, factors[rng.integers(RESOLUTIONS, size=pairs)], 1),
            factors,
            noisy[:, None] * rng.uniform(2, 12, (pairs, 2)),
            compressed[:, None] * rng.integers(25, 91, (pairs, 2)),
        )


def open_device_pairs(
    recipe: Recipe, sources: Sequence[PairSource], candidates: int, world: World, step: int = 0
) -> DevicePairs:
    """Copy the images of the pack to the device; return the batches after a step.

    `sources` is the opened pack alone; `candidates` is N of the model. Raises `DataError` for a
    pack without readable images, and `ConfigError` for any other source.
    """
    (source,) = sources
    if not isinstance(source, PackSource):
        raise ConfigError('data.device is true: use the data set pack, or remove data.device')
    images = load_images(source.pack, world.device, recipe.seed)
    return DevicePairs(recipe, images, candidates, world, step)


class DevicePairs:
    """All batches of a training after a step, in order.

    Small batches are computed several at once, which is faster. On a GPU the next ones are computed
    in another thread and stream meanwhile.
    """

    def __init__(
        self, recipe: Recipe, images: DeviceImages, candidates: int, world: World, step: int = 0
    ) -> None:
        """`candidates` is N of the model; `step` is the number of batches that are skipped."""
        self.recipe, self.images, self.candidates = recipe, images, candidates
        self.world, self.step = world, step
        self.source = TargetSource(images, recipe.data['pack'].range)

    def __len__(self) -> int:
        return self.recipe.epochs * self.recipe.steps - self.step

    def __iter__(self) -> Iterator[Batch]:
        pairs = self.recipe.batch // self.world.size
        steps = max(BLOCK // pairs, 1)
        stop = self.step + len(self)
        blocks = self._blocks(range(self.step // steps, -(-stop // steps)), steps * pairs)
        unreadable = self.images.unreadable
        for step in range(self.step, stop):
            if step == self.step or step % steps == 0:
                block = next(blocks)
            part = slice(step % steps * pairs, (step % steps + 1) * pairs)
            batch = block.map(itemgetter(part))
            yield batch._replace(unreadable=unreadable)
            unreadable = []

    def _blocks(self, numbers: range, pairs: int) -> Iterator[Batch]:
        """Draw blocks of pairs in order."""
        device = self.images.pixels.device
        if device.type == 'cpu':
            for number in numbers:
                with _one_thread():
                    block = self.draw(number, pairs)
                yield block
            return
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))  # the images are being copied

        def draw(number: int) -> Batch:
            with torch.cuda.device(device), torch.cuda.stream(stream):
                block = self.draw(number, pairs)
                stream.synchronize()
            return block

        with ThreadPoolExecutor(1) as executor:
            following = executor.submit(draw, numbers[0]) if numbers else None
            for number in numbers:
                assert following
                block = following.result()
                if number + 1 in numbers:
                    following = executor.submit(draw, number + 1)
                for value in block:  # keep its memory until the caller's stream is done
                    if isinstance(value, Tensor):
                        value.record_stream(torch.cuda.current_stream(device))
                yield block

    def draw(self, number: int, pairs: int) -> Batch:
        """Draw pairs at random; they depend only on the recipe's seed and the two arguments."""
        rng = np.random.default_rng((self.recipe.seed, number, self.world.rank, 2))
        device = self.images.pixels.device
        generator = torch.Generator(device)
        generator.manual_seed(int(rng.integers(2**62)))
        targets, search = self._draw_targets(rng, pairs)
        camera = Camera.draw(rng, pairs, self.recipe.augmentation)
        view = np.stack([2 * np.arange(pairs), 2 * search + 1], axis=1)  # (B, 2)
        template_crops, search_crops = self._render(targets, view, camera, generator)
        negative = targets.identity[search] != targets.identity[:pairs]
        return Batch(
            template_crops,
            search_crops,
            _floats(targets.box.reshape(-1, 4)[view[:, 1]], device),
            torch.tensor(negative, device=device),
            torch.rand((pairs, 2, self.candidates), generator=generator, device=device),
            [],
        )

    def _draw_targets(self, rng: Rng, pairs: int) -> tuple[Targets, Ints]:
        """Draw the targets of pairs; return the target (B,) that each search crop shows."""
        augmentation = self.recipe.augmentation
        negative = rng.random(pairs) < self.recipe.negative
        change = augmentation.stretch * rng.uniform(-1, 1, (pairs, 2))
        stretch = np.exp(change.cumsum(axis=1))
        targets = self.source.draw(rng, np.concatenate([stretch, stretch[negative]]), augmentation)
        search = np.arange(pairs)
        search[negative] = pairs + np.arange(negative.sum())
        return targets, search

    def _render(
        self, targets: Targets, view: Ints, camera: Camera, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Render the crops of views (B, 2): template (B, 127, 127, 3), search (B, 255, 255, 3)."""
        factor = _resolutions(camera, targets.enlargement.ravel()[view])
        size = np.maximum((CROPS / factor).astype(int), MIN_SIDE)
        canvas, order = Canvas.sort(view.ravel(), size.ravel())
        pair, role = np.divmod(order, 2)
        data = render(self.images, targets, canvas)
        light = _levels(targets.light.ravel()[view][..., None], 0)
        levels = _compose(light, camera.levels)
        device = data.device
        results = [
            torch.empty((len(view), side, side, 3), dtype=torch.uint8, device=device)
            for side in (TEMPLATE_SIZE, SEARCH_SIZE)
        ]
        for group in canvas.groups:
            rows = pair[group.start : group.stop]
            number = int(role[group.start])
            pixels = canvas.pixels(group, data)
            if number:
                reduction = SEARCH_SIZE / pixels.shape[-1]
                _blur(pixels, camera.blur[rows], camera.blurs, reduction)
            crops = planes(pixels)
            for index, _ in _chosen(camera.grey[rows], device):
                crops[:, index] = greyscale(crops[:, index])
            change_levels(crops, _floats(levels[rows, number], device))
            for index, deviation in _chosen(camera.noise[rows, number], device):
                crops[:, index] = add_noise(crops[:, index], deviation, generator)
            for index, quality in _chosen(camera.quality[rows, number], device):
                crops[:, index] = compress(crops[:, index], quality)
            crops = enlarge(crops, results[number].shape[1])
            results[number].index_copy_(0, torch.tensor(rows, device=device), crops)
        return results[0], results[1]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread on the CPU: the operations are short, so that several mainly wait."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)


def _floats(values: NDArray[np.generic], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)


def _chosen(values: NDArray[np.generic], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the indices of the values that are not 0, and these values, if there are any."""
    index = np.flatnonzero(values)
    if len(index):
        yield torch.tensor(index, device=device), _floats(values[index], device)


def _blur(pixels: Tensor, number: Ints, blurs: Floats, reduction: float) -> None:
    """Blur the pixels (n, H, W) of crops whose resolution is reduced; `number` as in `Camera`."""
    for blur, (length, angle) in enumerate(blurs.tolist()):
        for index, _ in _chosen(number == blur, pixels.device):
            pixels[index] = blur_line(pixels[index], length / reduction, angle)


def _resolutions(camera: Camera, enlargement: Floats) -> Floats:
    """Return the reduction of the resolution of each crop (B, 2).

    Crops of rendered frames have at most the resolution of their frame (B, 2), within the few
    resolutions of the batch.
    """
    choices = np.concatenate([[1.0], camera.factors])
    distance = np.abs(np.log(enlargement[..., None] / choices))
    return np.maximum(camera.factor[:, None], choices[distance.argmin(axis=-1)])


def _levels(gain: Floats, offset: Floats | float) -> Floats:
    """Return levels (..., 4), see `Camera`, that are limited to 0 to 255."""
    gain, offset = np.broadcast_arrays(gain, offset)
    return np.stack([gain, offset, 0 * gain, 0 * gain + 255], axis=-1)


def _compose(*changes: Floats) -> Floats:
    """Return one change of levels (..., 4) that is equal to several in this order."""
    result, *rest = changes
    for change in rest:
        gain, offset, low, high = np.moveaxis(change, -1, 0)
        first_gain, first_offset, first_low, first_high = np.moveaxis(result, -1, 0)
        result = np.stack(
            [
                gain * first_gain,
                gain * first_offset + offset,
                np.clip(gain * first_low + offset, low, high),
                np.clip(gain * first_high + offset, low, high),
            ],
            axis=-1,
        )
    return result


def _faint(rng: Rng, fraction: float, pairs: int) -> Floats:
    """Draw levels (pairs, 1, 1, 4) of reduced contrast, see `reduce_contrast`."""
    shape = (pairs, 1, 1)
    contrast, level = rng.uniform(MIN_CONTRAST, 1, shape), rng.random(shape)
    contrast = np.where(rng.random(shape) < fraction, contrast, 1)
    return _levels(contrast, 127 - 127 * contrast + (1 - contrast) * (255 * level - 127))


def _jitter(rng: Rng, strength: float, shape: tuple[int, ...]) -> Floats:
    """Draw levels (..., 3, 4), see `ColorJitter`."""
    return _levels(*np.moveaxis(draw_jitter(rng, strength, shape), -2, 0))
