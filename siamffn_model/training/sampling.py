"""Pairs of template and search crops: the same index gives the same pair, whoever draws it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from siamffn_model.errors import DataError, ImageError
from siamffn_model.imaging.crop import (
    SEARCH_SIZE,
    TEMPLATE_SIZE,
    Image,
    context_side,
    crop_box,
    crop_window,
    mean_colour,
)
from siamffn_model.imaging.geometry import Box
from siamffn_model.training.augmentation import distort
from siamffn_model.training.recipe import Recipe

TEMPLATE_SHIFT, TEMPLATE_SCALE = 4, 0.05  # pixels of the crop, and share of its side
TRIES = 10  # draws in a row that may meet a damaged image


@dataclass(frozen=True)
class CropSpec:
    """Where the target lies in a crop: side of its context square and centre, in crop pixels.

    `stretch` is the factor by which its ratio of width to height grows; its area stays.
    """

    size: int
    side: float
    center: tuple[float, float]
    stretch: float = 1.0

    @classmethod
    def draw(
        cls, rng: np.random.Generator, size: int, shift: float, scale: float, stretch: float
    ) -> CropSpec:
        """Draw a view in which the target is off the middle and the usual size, within bounds."""
        dx, dy = rng.uniform(-shift, shift, 2)
        side = TEMPLATE_SIZE * np.exp(rng.uniform(-scale, scale))
        return cls(size, float(side), ((size - 1) / 2 + dx, (size - 1) / 2 + dy), stretch)

    def cut(self, image: Image, box: Box) -> tuple[Image, Box]:
        """Cut this view of the target in `box` from an image; return it and the box in it."""
        wider = math.sqrt(self.stretch)
        scale = context_side(box.w * wider, box.h / wider) / self.side
        middle = (self.size - 1) / 2
        center = (
            box.cx + (middle - self.center[0]) * scale / wider,
            box.cy + (middle - self.center[1]) * scale * wider,
        )
        sides = (scale / wider * self.size, scale * wider * self.size)
        crop = crop_window(image, center, sides, self.size, mean_colour(image))
        return crop, crop_box(box, center, sides, self.size)


CropFunction = Callable[[CropSpec], tuple[Image, Box]]  # takes the picture, and tells the box in it


class TargetPair(NamedTuple):
    """Two pictures of one target, not taken yet, and a name that tells it from other targets."""

    name: str
    template: CropFunction
    search: CropFunction


class PairSource(Protocol):
    """Where targets come from."""

    def draw(self, rng: np.random.Generator) -> TargetPair:
        """Choose a target and two pictures of it; all that is random comes from `rng`."""


class Pair(NamedTuple):
    """A training pair.

    Crops are BGR uint8; `box` is x, y, w, h in the search crop, of another target than the
    template's where the pair is negative. `sampling_priority` (2, N) are random numbers that rank
    the model's candidates; `broken` says which images could not be read on the way.
    """

    template: Image
    search: Image
    box: NDArray[np.float32]
    negative: bool
    sampling_priority: NDArray[np.float32]
    broken: list[str]


class Batch(NamedTuple):
    """The same as tensors (B, ...), the crops (B, H, W, 3) uint8."""

    template: Tensor
    search: Tensor
    box: Tensor
    negative: Tensor
    sampling_priority: Tensor
    broken: list[str]

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with every tensor changed."""
        tensors = (self.template, self.search, self.box, self.negative, self.sampling_priority)
        template, search, box, negative, sampling_priority = map(change, tensors)
        return Batch(template, search, box, negative, sampling_priority, self.broken)


class Pairs(Dataset[Pair]):
    """All pairs of a training, epoch after epoch, each drawn from the seed and its index alone.

    In each epoch every source gives as many pairs as the recipe says.
    """

    def __init__(self, recipe: Recipe, sources: Sequence[PairSource], candidates: int) -> None:
        """`sources` in the order of `recipe.data`; `candidates` is the model's N."""
        self.recipe, self.sources, self.candidates = recipe, sources, candidates
        self._plan = lru_cache(maxsize=2)(self._draw_plan)

    def __len__(self) -> int:
        return self.recipe.epochs * self.recipe.pairs

    def __getitem__(self, index: int) -> Pair:
        """Draw a pair; raises `DataError` where images in a row cannot be read."""
        rng = np.random.default_rng((self.recipe.seed, index))
        epoch, number = divmod(index, self.recipe.pairs)
        broken: list[str] = []
        for _ in range(TRIES):
            try:
                return self._draw(rng, self.sources[int(self._plan(epoch)[number])], broken)
            except ImageError as error:
                broken.append(str(error))
        raise DataError(
            f'{TRIES} images in a row cannot be read, the last: {broken[-1]}; '
            '`siamffn data check` names all that are damaged'
        )

    def _draw(self, rng: np.random.Generator, source: PairSource, broken: list[str]) -> Pair:
        target = shown = source.draw(rng)
        if rng.random() < self.recipe.negative:
            shown = self.sources[int(rng.integers(len(self.sources)))].draw(rng)
        how = self.recipe.augmentation
        both, alone = np.exp(how.stretch * rng.uniform(-1, 1, 2)).tolist()
        template, _ = target.template(
            CropSpec.draw(rng, TEMPLATE_SIZE, TEMPLATE_SHIFT, TEMPLATE_SCALE, both)
        )
        search, box = shown.search(
            CropSpec.draw(rng, SEARCH_SIZE, how.shift, how.scale, both * alone)
        )
        template, search = distort(rng, template, search, how)
        sampling_priority = rng.random((2, self.candidates), dtype=np.float32)
        negative = shown.name != target.name
        return Pair(
            template, search, np.array(box, np.float32), negative, sampling_priority, broken
        )

    def _draw_plan(self, epoch: int) -> NDArray[np.int8]:
        """Return which source each pair of an epoch comes from."""
        counts = [source.pairs for source in self.recipe.data.values()]
        plan = np.repeat(np.arange(len(counts), dtype=np.int8), counts)
        return np.random.default_rng((self.recipe.seed, epoch, 1)).permutation(plan)


def collate(pairs: list[Pair]) -> Batch:
    """Put pairs together."""
    *columns, broken = zip(*pairs)
    template, search, box, negative, sampling_priority = (
        torch.from_numpy(np.stack(c)) for c in columns
    )
    return Batch(
        template,
        search,
        box,
        negative,
        sampling_priority,
        [name for names in broken for name in names],
    )
