"""The journal of an index: annotations read unit by unit, so that a reading can be resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from siamffn_model.datasets.training_set import TrainingSet
from siamffn_model.errors import DataError

MAX_PLACES = 10  # kept of each reason to skip something
Arrays = dict[str, NDArray[Any]]
Skipped = dict[str, tuple[int, list[str]]]  # reason -> how often, and the first places


def read_units(
    journal: Path, images: TrainingSet, folder: Path, units: list[str], header: dict[str, str]
) -> None:
    """Read all units that the journal lacks, and add them to it."""
    done = _resume(journal, header)
    with journal.open('a') as file:
        for unit in tqdm(units[done:], f'index {images.name}', len(units), initial=done):
            with os_errors_as_data_errors(
                folder / unit, 'check the disk; reading goes on from there next time'
            ):
                targets, skipped = images.read(folder, unit)
            file.write(json.dumps([targets, skipped]) + '\n')
            file.flush()


def _resume(journal: Path, header: dict[str, str]) -> int:
    """Return how many units the journal holds, without a torn line; begin it where it is not ours.

    Not ours is one of another version, or of other units.
    """
    first = f'{json.dumps(header)}\n'.encode()
    lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
    if lines[:1] != [first]:
        journal.write_bytes(first)
        return 0
    good = list(takewhile(_is_complete, lines))
    os.truncate(journal, sum(map(len, good)))
    return len(good) - 1


def _is_complete(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return line.endswith(b'\n')


def pack_arrays(journal: Path) -> tuple[Arrays, Skipped]:
    """Return the arrays of what a whole journal holds, none without a target, and what it lacks."""
    starts, frames, boxes = [0], [], []
    folders: dict[str, int] = {}
    folder, file = [], []
    skipped: Skipped = {}
    with journal.open() as lines:
        next(lines)
        for line in lines:
            targets, reasons = json.loads(line)
            rows = [row for target in targets for row in target]
            for target in targets:
                starts.append(starts[-1] + len(target))
            for image, _, _ in rows:
                parent, _, name = image.rpartition('/')
                folder.append(folders.setdefault(parent, len(folders)))
                file.append(os.fsencode(name))
            if rows:
                frames.append(np.array([frame for _, frame, _ in rows], np.int32))
                boxes.append(np.array([box for _, _, box in rows], np.float32))
            for why, place in reasons:
                count, places = skipped.get(why, (0, []))
                skipped[why] = count + 1, [*places, place][:MAX_PLACES]
    if not boxes:
        return {}, skipped
    arrays: Arrays = {
        'starts': np.array(starts, np.int64),
        'frames': np.concatenate(frames),
        'boxes': np.concatenate(boxes),
        'folder': np.array(folder, np.int32),
        'file': np.array(file).view(np.uint8).reshape(len(file), -1),
        'folders': np.frombuffer(os.fsencode('\0'.join(folders)), np.uint8),
    }
    return arrays, skipped


@contextmanager
def os_errors_as_data_errors(path: Path, remedy: str) -> Iterator[None]:
    """Turn an `OSError` into a `DataError` that names its file, or else `path`."""
    try:
        yield
    except OSError as error:
        raise DataError(f'{error.filename or path}: {error.strerror}; {remedy}') from error
