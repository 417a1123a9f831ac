"""The checkpoint of a training: all that it needs to go on as if nothing had happened."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from siamffn_model import distributed
from siamffn_model.atomic_io import atomic_write
from siamffn_model.distributed import World
from siamffn_model.errors import ConfigError, DataError
from siamffn_model.training.recipe import Recipe

FILE_NAME = 'checkpoint.pt'
FREE = {'bf16', 'micro_batch', 'rate'}  # what may change where a training goes on


def write_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the state atomically: an earlier checkpoint stays until the new one is complete."""
    with atomic_write(folder / FILE_NAME) as partial:
        torch.save(state, partial)


def remove_checkpoint(folder: Path) -> None:
    """Remove the checkpoint, if there is one."""
    (folder / FILE_NAME).unlink(missing_ok=True)


def read_checkpoint(
    folder: Path, recipe: Recipe, world: World, resume: bool
) -> dict[str, Any] | None:
    """Return the state to go on from if asked to, or if torchrun restarts; else None.

    The first process reads the file and sends it to the others. Raises `DataError` for a
    file that is missing or damaged, `ConfigError` for one that is in the way or of another recipe.
    """
    path = folder / FILE_NAME
    data = path.read_bytes() if world.is_main and path.is_file() else b''
    data = world.broadcast(data)
    if resume and not data:
        raise DataError(f'{path} is missing, so there is nothing to resume: start without --resume')
    if data and not (resume or distributed.restarted()):
        raise ConfigError(
            f'{path} is of a training that has not ended: go on with --resume, remove the '
            'file, or give another folder with --out'
        )
    return _parse(data, path, recipe, world.device) if data else None


def _parse(data: bytes, path: Path, recipe: Recipe, device: torch.device) -> dict[str, Any]:
    """Return the state in a checkpoint's bytes; raises `ConfigError` for one of another recipe."""
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
        found = state['recipe']
    except Exception as error:  # whatever torch.load raises for a damaged file
        raise DataError(
            f'{path} is damaged ({type(error).__name__}): bring it back from a copy, '
            'or remove it and start anew'
        ) from error
    own = recipe.model_dump()
    changed = [key for key in own if key not in FREE and own[key] != found.get(key)]
    if changed:
        differences = ', '.join(f'{k} was {found.get(k)!r}, is {own[k]!r}' for k in changed)
        raise ConfigError(
            f'{path} is of another recipe ({differences}): give the same, or another folder '
            'with --out'
        )
    return state
