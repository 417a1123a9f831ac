"""Checkpoints: the complete state of a training, from which it resumes to the bit."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from siamffn_model import distributed
from siamffn_model.atomic_io import write_bytes
from siamffn_model.distributed import World
from siamffn_model.errors import ConfigError, DataError
from siamffn_model.training.recipe import Recipe

FILE_NAME = 'checkpoint.pt'
CHANGEABLE = {'bf16', 'micro_batch', 'rate'}  # recipe keys that may change when training resumes


def write_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the state atomically: an earlier checkpoint is kept until the new one is complete.

    Raises `DataError` if it cannot be written.
    """
    data = io.BytesIO()
    torch.save(state, data)
    write_bytes(folder / FILE_NAME, data.getbuffer())


def remove_checkpoint(folder: Path) -> None:
    """Remove the checkpoint if it exists."""
    (folder / FILE_NAME).unlink(missing_ok=True)


def read_checkpoint(
    folder: Path, recipe: Recipe, origin: Mapping[str, str], world: World, resume: bool
) -> dict[str, Any] | None:
    """Return the saved state if `resume` is set or torchrun restarted the processes, else None.

    `origin` names the start weights and the teacher, as the state does. The main process reads the
    file and broadcasts it; every process must call this function.

    Raises `DataError` if `resume` is set and the file is missing, and for a damaged file;
    `ConfigError` for a checkpoint that exists without `resume`, or of another recipe or origin.
    """
    path = folder / FILE_NAME
    data = path.read_bytes() if world.is_main and path.is_file() else b''
    data = world.broadcast(data)
    if resume and not data:
        raise DataError(f'{path} is missing, so there is nothing to resume: start without --resume')
    if data and not (resume or distributed.restarted()):
        raise ConfigError(
            f'{path} belongs to an unfinished training: continue it with --resume, remove the '
            'file, or choose another folder with --out'
        )
    return _load(data, path, recipe, origin, world.device) if data else None


def _load(
    data: bytes, path: Path, recipe: Recipe, origin: Mapping[str, str], device: torch.device
) -> dict[str, Any]:
    """Return the state in the bytes of a checkpoint after a check of its recipe and origin."""
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
        saved, saved_origin = state['recipe'], state['origin']
    except Exception as error:  # torch.load raises various types for a damaged file
        raise DataError(
            f'{path} is damaged ({type(error).__name__}): restore it from a backup, '
            'or remove it and start again'
        ) from error
    # One after the other: both have a teacher, its weights in the loss and its files.
    changes = _changes(saved, recipe.model_dump()) + _changes(saved_origin, origin)
    if changes:
        raise ConfigError(
            f'{path} belongs to another training ({", ".join(changes)}): use the same recipe, '
            'start weights and teacher, or choose another folder with --out'
        )
    return state


def _changes(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Return what has changed and must not."""
    return [
        f'{key} was {saved.get(key)!r}, is {value!r}'
        for key, value in current.items()
        if key not in CHANGEABLE and value != saved.get(key)
    ]
