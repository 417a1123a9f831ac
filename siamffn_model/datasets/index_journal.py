"""The journal from which the index of a training set is built, so that reading can be resumed.

The journal is a text file of JSON lines. The first line is the header of the index; each further
line contains the annotations of one unit, in the order of the units.
"""

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

MAX_PLACES = 10  # places kept for each reason
Arrays = dict[str, NDArray[Any]]
Skipped = dict[str, tuple[int, list[str]]]  # reason -> number of annotations, first places


def read_units(
    journal: Path,
    training_set: TrainingSet,
    folder: Path,
    units: list[str],
    header: dict[str, str],
) -> None:
    """Read the units that are not yet in the journal and append them to it.

    Raises:
        DataError: a file of the set cannot be read. The journal keeps the units before it.
    """
    done = _resume(journal, header)
    with journal.open('a') as file:
        for unit in tqdm(units[done:], f'index {training_set.name}', len(units), initial=done):
            remedy = 'check the disk; the next run resumes at this point'
            with os_errors_as_data_errors(folder / unit, remedy):
                targets, skipped = training_set.read(folder, unit)
            file.write(json.dumps([targets, skipped]) + '\n')
            file.flush()


def _resume(journal: Path, header: dict[str, str]) -> int:
    """Prepare the journal for appending and return the number of units that it contains.

    Starts an empty journal if there is none or its header differs (another format version, or
    other units). Removes incomplete lines that an interrupted run left at the end.
    """
    first = f'{json.dumps(header)}\n'.encode()
    lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
    if lines[:1] != [first]:
        journal.write_bytes(first)
        return 0
    complete = list(takewhile(_is_complete, lines))
    os.truncate(journal, sum(map(len, complete)))
    return len(complete) - 1


def _is_complete(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return line.endswith(b'\n')


def pack_arrays(journal: Path) -> tuple[Arrays, Skipped]:
    """Return the arrays of an index from a complete journal, and what was skipped.

    The arrays are 'starts', 'frames' and 'boxes' as in `Index`; 'folder' (R,), the number of each
    image's folder in 'folders' (names joined by NUL, as bytes); and 'file' (R, L), the image's
    file name as bytes, padded with NUL. Without any target there are no arrays.
    """
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
            for reason, place in reasons:
                count, places = skipped.get(reason, (0, []))
                skipped[reason] = count + 1, [*places, place][:MAX_PLACES]
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
    """Turn an `OSError` into a `DataError` that names the file of the error, or else `path`."""
    try:
        yield
    except OSError as error:
        raise DataError(f'{error.filename or path}: {error.strerror}; {remedy}') from error
