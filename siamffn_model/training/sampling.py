"""Sampling of training pairs: each depends only on the seed and its index."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from siamffn_model.errors import DataError, ImageError
from siamffn_model.imaging.crop import (
    SEARCH_SIZE,
    TEMPLATE_SIZE,
    context_side,
    crop_box,
    crop_window,
    mean_colour,
)
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image
from siamffn_model.training.augmentation import augment
from siamffn_model.training.teacher import Lesson

if TYPE_CHECKING:
    from siamffn_model.training.recipe import Recipe

TEMPLATE_SHIFT, TEMPLATE_SCALE = 4, 0.05  # maximum shift in pixels, and change of log(size)
NEIGHBOURS = 0.5  # fraction of negative pairs that show a neighbour, where there is one
MAX_ATTEMPTS = 10  # draws of a pair whose images may be unreadable


@dataclass(frozen=True)
class CropSpec:
    """Size and position of the target in a square crop of `size` pixels.

    `side` is the side of the target's context square and `center` the target's centre, both in
    pixels of the crop. `stretch` is a factor of the target's ratio of width to height, at constant
    area.
    """

    size: int
    side: float
    center: tuple[float, float]
    stretch: float = 1.0

    @classmethod
    def draw(
        cls, rng: np.random.Generator, size: int, shift: float, scale: float, stretch: float
    ) -> CropSpec:
        """Draw position and size of the target at random.

        The centre is off the middle of the crop by up to `shift` pixels in x and y, and the
        logarithm of the size changes by up to `scale`.
        """
        dx, dy = rng.uniform(-shift, shift, 2)
        side = TEMPLATE_SIZE * np.exp(rng.uniform(-scale, scale))
        return cls(size, float(side), ((size - 1) / 2 + dx, (size - 1) / 2 + dy), stretch)

    def crop(self, image: Image, box: Box) -> tuple[Image, Box]:
        """Crop the target in `box` from an image; return the crop and the box within it."""
        width_factor = math.sqrt(self.stretch)
        scale = context_side(box.w * width_factor, box.h / width_factor) / self.side
        middle = (self.size - 1) / 2
        center = (
            box.cx + (middle - self.center[0]) * scale / width_factor,
            box.cy + (middle - self.center[1]) * scale * width_factor,
        )
        sides = (scale / width_factor * self.size, scale * width_factor * self.size)
        crop = crop_window(image, center, sides, self.size, mean_colour(image))
        return crop, crop_box(box, center, sides, self.size)


CropFunction = Callable[[CropSpec], tuple[Image, Box]]  # returns a crop and the target's box in it


class TargetPair(NamedTuple):
    """Two images of one target, which are cropped lazily, and a name that identifies the target.

    `neighbour` crops another target that is beside it in the search image, if there is one.
    """

    name: str
    template: CropFunction
    search: CropFunction
    neighbour: CropFunction | None = None


class PairSource(Protocol):
    """A source of pairs of images of one target."""

    def draw(self, rng: np.random.Generator) -> TargetPair:
        """Draw a target and two images of it; all randomness is from `rng`."""


class Pair(NamedTuple):
    """A training pair.

    template (127, 127, 3) and search (255, 255, 3) are BGR uint8 crops. `box` (4,) is x, y, w, h of
    the target in the search crop; in a `negative` pair, it is another target than the template's.
    `sampling_priority` (2, N) are random numbers by which the model's candidates are sampled.
    `unreadable` has an error message for each image that could not be read before this pair.
    """

    template: Image
    search: Image
    box: NDArray[np.float32]
    negative: bool
    sampling_priority: NDArray[np.float32]
    unreadable: list[str]


class Batch(NamedTuple):
    """Pairs as tensors (B, ...); the crops are (B, H, W, 3) uint8.

    `lesson` is what a teacher says about them, see `Distillation.teach`.
    """

    template: Tensor
    search: Tensor
    box: Tensor
    negative: Tensor
    sampling_priority: Tensor
    unreadable: list[str]
    lesson: Lesson | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with the function applied to every tensor."""
        return Batch(
            function(self.template),
            function(self.search),
            function(self.box),
            function(self.negative),
            function(self.sampling_priority),
            self.unreadable,
            self.lesson.map(function) if self.lesson else None,
        )


class PairDataset(Dataset[Pair]):
    """All pairs of a training, epoch after epoch.

    A pair depends only on the recipe's seed and the pair's index. Each source provides as many
    pairs in an epoch as the recipe specifies.
    """

    def __init__(self, recipe: Recipe, sources: Sequence[PairSource], candidates: int) -> None:
        """`sources` are in the order of `recipe.data`; `candidates` is N of the model."""
        self.recipe, self.sources, self.candidates = recipe, sources, candidates
        self._source_order = lru_cache(maxsize=2)(self._draw_source_order)

    def __len__(self) -> int:
        return self.recipe.epochs * self.recipe.pairs

    def __getitem__(self, index: int) -> Pair:
        """Draw a pair; raises `DataError` if the images of 10 draws cannot be read."""
        rng = np.random.default_rng((self.recipe.seed, index))
        epoch, number = divmod(index, self.recipe.pairs)
        source = self.sources[int(self._source_order(epoch)[number])]
        unreadable: list[str] = []
        for _ in range(MAX_ATTEMPTS):
            try:
                return self._draw(rng, source, unreadable)
            except ImageError as error:
                unreadable.append(str(error))
        raise DataError(
            f'{MAX_ATTEMPTS} images in a row cannot be read, the last: {unreadable[-1]}; '
            '`siamffn data check` lists all damaged images'
        )

    def _draw(self, rng: np.random.Generator, source: PairSource, unreadable: list[str]) -> Pair:
        target = source.draw(rng)
        search_crop, negative = target.search, False
        if rng.random() < self.recipe.negative:
            if target.neighbour and rng.random() < NEIGHBOURS:
                search_crop, negative = target.neighbour, True
            else:
                other = self.sources[int(rng.integers(len(self.sources)))].draw(rng)
                search_crop, negative = other.search, other.name != target.name
        augmentation = self.recipe.augmentation
        common_stretch, search_stretch = np.exp(
            augmentation.stretch * rng.uniform(-1, 1, 2)
        ).tolist()
        template, _ = target.template(
            CropSpec.draw(rng, TEMPLATE_SIZE, TEMPLATE_SHIFT, TEMPLATE_SCALE, common_stretch)
        )
        search, box = search_crop(
            CropSpec.draw(
                rng,
                SEARCH_SIZE,
                augmentation.shift,
                augmentation.scale,
                common_stretch * search_stretch,
            )
        )
        template, search = augment(rng, template, search, augmentation)
        sampling_priority = rng.random((2, self.candidates), dtype=np.float32)
        return Pair(
            template, search, np.array(box, np.float32), negative, sampling_priority, unreadable
        )

    def _draw_source_order(self, epoch: int) -> NDArray[np.int8]:
        """Return (pairs,): the index of the source of each pair in an epoch."""
        counts = [source.pairs for source in self.recipe.data.values()]
        order = np.repeat(np.arange(len(counts), dtype=np.int8), counts)
        return np.random.default_rng((self.recipe.seed, epoch, 1)).permutation(order)


def collate(pairs: list[Pair]) -> Batch:
    """Return the pairs as a batch."""
    *columns, unreadable = zip(*pairs)
    template, search, box, negative, sampling_priority = (
        torch.from_numpy(np.stack(column)) for column in columns
    )
    messages = [message for per_pair in unreadable for message in per_pair]
    return Batch(template, search, box, negative, sampling_priority, messages)
