"""Training pairs that are used again: what does not change of them is computed once and stored.

These are the outputs of the frozen stages, which are most of the work of a training step, and those
of the teacher.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siamffn_model.distributed import World
from siamffn_model.errors import DataError
from siamffn_model.networks.siamese import Siamese
from siamffn_model.training.features import frozen_stage_features
from siamffn_model.training.recipe import Recipe
from siamffn_model.training.sampling import Batch
from siamffn_model.training.teacher import Lesson, Teacher

FOLDER = 'features'


class FeatureBatch(NamedTuple):
    """Pairs like `Batch`, with the outputs of the frozen stages in place of the crops.

    Attributes:
        template: outputs (B, C, h, w) for the template crops.
        search: outputs (B, C, h, w) for the search crops.
        lesson: what the teacher says, or None without a teacher.
        box: (B, 4), see `Pair`.
        negative: (B,).
        sampling_priority: (B, 2, N).
        unreadable: see `Pair`.
    """

    template: list[Tensor]
    search: list[Tensor]
    lesson: Lesson | None
    box: Tensor
    negative: Tensor
    sampling_priority: Tensor
    unreadable: list[str]

    def map(self, function: Callable[[Tensor], Tensor]) -> FeatureBatch:
        """Return the batch with the function applied to every tensor."""
        return FeatureBatch(
            [function(stage) for stage in self.template],
            [function(stage) for stage in self.search],
            self.lesson.map(function) if self.lesson else None,
            function(self.box),
            function(self.negative),
            function(self.sampling_priority),
            self.unreadable,
        )


class FeatureStore:
    """The pairs of the first epoch of a training, stored in files of this process.

    Features are in half precision with the channels last. The files need not fit into RAM.
    """

    def __init__(
        self, out: Path, recipe: Recipe, world: World, model: Siamese, teacher: Teacher | None
    ) -> None:
        """The files are in a folder of `out`, the folder of the training."""
        self.folder = out / FOLDER / str(world.rank)
        self.recipe, self.world, self.teacher = recipe, world, teacher
        self.size = recipe.batch // world.size  # pairs of this process in a step
        self.candidates = model.score_map.candidates
        self.stages = frozen_stage_features(model.backbone)
        self._files: dict[str, NDArray[Any]] = {}
        self._order = lru_cache(maxsize=1)(self._draw_order)

    def batches(self, step: int, first_epoch: Iterable[Batch]) -> Iterator[FeatureBatch]:
        """Yield the batches of all epochs after `step`, given those that the first epoch has left.

        Raises `DataError` if files are missing, damaged or cannot be written.
        """
        if step:
            self._open()
        for number, batch in enumerate(first_epoch, step):
            yield self._add(number, batch)
        steps = self.recipe.steps
        for number in range(max(step, steps), self.recipe.epochs * steps):
            yield self._read(number)

    def remove(self) -> None:
        """Remove the files, and the folder of all processes with those of the last one."""
        self._files = {}
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # another process has files in it
            self.folder.parent.rmdir()

    def _add(self, step: int, batch: Batch) -> FeatureBatch:
        """Compute what is stored of a batch of the first epoch, and store it."""
        template, search = (c.to(self.world.device) for c in (batch.template, batch.search))
        result = FeatureBatch(
            list(self.stages(template)),
            list(self.stages(search)),
            self.teacher(template, search) if self.teacher else None,
            batch.box,
            batch.negative,
            batch.sampling_priority,
            batch.unreadable,
        )
        arrays = {name: _to_array(tensor) for name, tensor in _to_dict(result).items()}
        if not self._files:
            self._create(arrays)
        for name, array in arrays.items():
            self._files[name][step * self.size : (step + 1) * self.size] = array
        return result

    def _read(self, step: int) -> FeatureBatch:
        """Read the batch of a later epoch, which has the pairs of the first in another order."""
        epoch, number = divmod(step, self.recipe.steps)
        seed = self.recipe.seed, self.world.rank
        rows = self._order(epoch)[number * self.size : (number + 1) * self.size]
        values = {name: _to_tensor(array[rows]) for name, array in self._files.items()}
        rng = np.random.default_rng((*seed, epoch, number))
        priority = rng.random((self.size, 2, self.candidates), dtype=np.float32)
        return _from_dict(values, torch.from_numpy(priority))

    def _draw_order(self, epoch: int) -> NDArray[np.int64]:
        """Return the order of all pairs of this process in an epoch."""
        rng = np.random.default_rng((self.recipe.seed, self.world.rank, epoch))
        return rng.permutation(self.recipe.steps * self.size)

    def _create(self, examples: Mapping[str, NDArray[Any]]) -> None:
        """Create the files for arrays like those of a batch."""
        rows = self.recipe.steps * self.size
        size = sum(array[0].nbytes for array in examples.values()) * rows
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, array in examples.items():
                path, shape = self._path(name), (rows, *array.shape[1:])
                file = np.lib.format.open_memmap(path, 'w+', array.dtype, shape)
                with path.open('r+b') as opened:  # a full disk would kill the process later
                    os.posix_fallocate(opened.fileno(), 0, path.stat().st_size)
                self._files[name] = file
        except OSError as error:
            self.remove()
            raise DataError(
                f'{self.folder} cannot store the features of {rows} pairs, {size / 1e9:.1f} GB '
                f'({error.strerror}): choose another folder with --out, reduce the numbers of '
                'pairs in the recipe, or remove `repeat`'
            ) from None

    def _open(self) -> None:
        """Open the files of a training that continues."""
        try:
            paths = sorted(self.folder.iterdir())
            for path in paths:
                np.load(path, mmap_mode='r')  # `r+` would extend a file that is too short
            self._files = {path.stem: np.load(path, mmap_mode='r+') for path in paths}
            rows = {len(array) for array in self._files.values()}
            if rows != {self.recipe.steps * self.size} or 'box' not in self._files:
                raise ValueError('not of this recipe and number of processes')
        except (OSError, ValueError) as error:
            raise DataError(
                f'{self.folder}: the features of the first epoch cannot be read ({error}): remove '
                'the checkpoint and start again, or choose another folder with --out'
            ) from None

    def _path(self, name: str) -> Path:
        return self.folder / f'{name}.npy'


def _to_dict(batch: FeatureBatch) -> dict[str, Tensor]:
    """Return the tensors that are stored, by name."""
    lesson = batch.lesson._asdict() if batch.lesson else {}
    return {
        **{f'template{number}': stage for number, stage in enumerate(batch.template)},
        **{f'search{number}': stage for number, stage in enumerate(batch.search)},
        **{f'teacher_{name}': tensor for name, tensor in lesson.items()},
        'box': batch.box,
        'negative': batch.negative,
    }


def _from_dict(tensors: Mapping[str, Tensor], sampling_priority: Tensor) -> FeatureBatch:
    """Return the batch of stored tensors."""
    lesson = [tensors[f'teacher_{n}'] for n in Lesson._fields if f'teacher_{n}' in tensors]
    stages = range(sum(name.startswith('search') for name in tensors))
    return FeatureBatch(
        [tensors[f'template{number}'] for number in stages],
        [tensors[f'search{number}'] for number in stages],
        Lesson(*lesson) if lesson else None,
        tensors['box'],
        tensors['negative'],
        sampling_priority,
        [],
    )


def _to_array(tensor: Tensor) -> NDArray[Any]:
    if tensor.dim() == 4:
        tensor = tensor.permute(0, 2, 3, 1).half()
    return tensor.cpu().numpy()


def _to_tensor(array: NDArray[Any]) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.float().permute(0, 3, 1, 2) if tensor.dim() == 4 else tensor
