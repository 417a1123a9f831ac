"""The index of a published training set: its targets' boxes and images, compact, in the cache.

Reading a million annotations takes long, so it is done once: unit by unit into a journal, from
which an interrupted reading goes on, and from that into one file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from tqdm import tqdm

from siamffn_model.atomic_io import atomic_write, cache_folder
from siamffn_model.errors import DataError
from siamffn_model.imaging.geometry import Box

VERSION = 1  # of index and journal
PLACES = 10  # kept of each reason to skip something
Arrays = dict[str, NDArray[Any]]
Skipped = dict[str, tuple[int, list[str]]]  # reason -> how often, and the first places


class Annotation(NamedTuple):
    """One annotated image of a target."""

    image: str  # relative to the set's folder, '/' between folders
    frame: int  # its number in time; 0 for single pictures
    box: Box


class Reading(NamedTuple):
    """What one unit of a set holds."""

    targets: list[list[Annotation]]  # rows of each target, in order of frame
    skipped: list[tuple[str, str]]  # reason, place: 'target absent', 'GOT-10k_Train_000001 row 7'


@dataclass(frozen=True)
class ImageSet:
    """A published set: how it lies on disk, and how to read it.

    Attributes:
        name: as in 'got10k'.
        layout: what its folder must hold, for error messages.
        source: URL where to get it.
        units: lists the parts of the set in a given folder, in fixed order; raises `DataError`
            naming what is missing.
        read: reads one unit in a given folder; what is wrong with single annotations is skipped.
    """

    name: str
    layout: str
    source: str
    units: Callable[[Path], list[str]]
    read: Callable[[Path, str], Reading]

    def missing(self, path: Path, problem: str) -> DataError:
        """Return the error that says what is wrong with `path`, and what should be there."""
        return DataError(
            f'{path}: {problem}; the folder of {self.name} must hold {self.layout}: '
            f'give that folder, or get the set from {self.source}'
        )

    def folders(self, path: Path) -> list[str]:
        """Return the sorted names of the folders in `path`; raises `DataError` without `path`."""
        try:
            with os.scandir(path) as entries:
                return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith('.'))
        except OSError as error:
            raise self.missing(path, str(error.strerror)) from None


class Index:
    """The usable annotations of a set; rows are annotated images, those of a target in one piece.

    Attributes:
        name: of the set.
        folder: the set's.
        starts: int64 (T + 1,); the rows of target t are starts[t]:starts[t + 1].
        frames: int32 (R,), number in time of each row's image; 0 for single pictures.
        boxes: float32 (R, 4), x, y, w, h in pixels, finite and with an area.
        skipped: reason -> how often it was met, and the first 10 places.
    """

    def __init__(self, name: str, folder: Path, arrays: Arrays, skipped: Skipped) -> None:
        self.name, self.folder, self.skipped = name, folder, skipped
        self.starts, self.frames, self.boxes = (arrays[k] for k in ('starts', 'frames', 'boxes'))
        self._folder = arrays['folder']
        self._file = arrays['file'].view(f'S{arrays["file"].shape[1]}')[:, 0]
        self._folders = os.fsdecode(arrays['folders'].tobytes()).split('\0')

    def __len__(self) -> int:
        """Number of targets."""
        return len(self.starts) - 1

    def image(self, row: int) -> Path:
        """Return the path of a row's image."""
        return self._path(self._folder[row], self._file[row])

    def images(self) -> list[Path]:
        """Return the paths of all images, each once, in the order of the rows."""
        names = zip(self._folder.tolist(), self._file.tolist())
        return [self._path(folder, file) for folder, file in dict.fromkeys(names)]

    def _path(self, folder: int, file: bytes) -> Path:
        return self.folder / self._folders[folder] / os.fsdecode(bytes(file))


class _UnfitError(Exception):
    """The index in the cache cannot be used, and why."""


def open_index(images: ImageSet, folder: Path, fresh: bool = False) -> Index:
    """Open the index of the set in `folder`; make it where there is none, or a `fresh` one.

    One that is damaged, of another version, or of a set that has other units by now is made anew,
    which standard error tells. Of several processes one makes it, and the others wait.

    Raises:
        DataError: the set is not in `folder`, cannot be read or has no usable target, or the cache
            cannot be written.
    """
    folder = folder.resolve()
    with _explained(folder, 'check the disk, and that you may read the folder'):
        units = images.units(folder)
    header = {
        'version': str(VERSION),
        'set': images.name,
        'folder': json.dumps(str(folder)),  # with escapes: a path need not be proper Unicode
        'units': hashlib.sha256(json.dumps(units).encode()).hexdigest(),
    }
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()
    path = cache_folder() / 'index' / f'{images.name}-{digest[:16]}.safetensors'
    remedy = 'set XDG_CACHE_HOME to a folder that can be written'
    with _explained(path.parent, remedy), _alone(path):
        if fresh:
            path.unlink(missing_ok=True)
            path.with_suffix('.journal').unlink(missing_ok=True)
        if path.exists():
            try:
                return _load(path, folder, header)
            except _UnfitError as error:
                print(f'{path}: {error}; the index is made anew', file=sys.stderr)
        return _make(path, images, folder, units, header)


@contextmanager
def _explained(path: Path, remedy: str) -> Iterator[None]:
    """Turn an `OSError` into a `DataError` that names its file, or else `path`."""
    try:
        yield
    except OSError as error:
        raise DataError(f'{error.filename or path}: {error.strerror}; {remedy}') from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from the index until the `with` block ends; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix('.lock').open('a') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f'{path}: waiting for another process that has it open', file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(
    path: Path, images: ImageSet, folder: Path, units: list[str], header: dict[str, str]
) -> Index:
    """Read all units that the journal lacks, and write the index."""
    journal = path.with_suffix('.journal')
    done = _resume(journal, header)
    with journal.open('a') as file:
        for unit in tqdm(units[done:], f'index {images.name}', len(units), initial=done):
            with _explained(folder / unit, 'check the disk; reading goes on from there next time'):
                targets, skipped = images.read(folder, unit)
            file.write(json.dumps([targets, skipped]) + '\n')
            file.flush()
    arrays, lacking = _pack(journal)
    if not arrays:
        journal.unlink()
        counts = ', '.join(f'{n} {why} ({places[0]} ...)' for why, (n, places) in lacking.items())
        raise images.missing(folder, f'no usable target; skipped: {counts or "nothing"}')
    about = {**header, 'skipped': json.dumps(lacking)}
    with atomic_write(path) as partial:
        partial.write_bytes(save(arrays, {**about, 'sha256': _checksum(arrays, about)}))
    journal.unlink()
    return Index(images.name, folder, arrays, lacking)


def _resume(journal: Path, header: dict[str, str]) -> int:
    """Return how many units the journal holds, without a torn line; begin it where it is not ours.

    Not ours is one of another version, or of other units.
    """
    first = f'{json.dumps(header)}\n'.encode()
    lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
    if lines[:1] != [first]:
        journal.write_bytes(first)
        return 0
    good = list(takewhile(_is_whole, lines))
    os.truncate(journal, sum(map(len, good)))
    return len(good) - 1


def _is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return line.endswith(b'\n')


def _pack(journal: Path) -> tuple[Arrays, Skipped]:
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
                skipped[why] = count + 1, [*places, place][:PLACES]
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


def _load(path: Path, folder: Path, header: dict[str, str]) -> Index:
    """Read the index; raises `_UnfitError` for one that is damaged, or not of this header."""
    try:
        with safe_open(path, framework='np') as file:
            about = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no dict)
    except (SafetensorError, OSError) as error:
        raise _UnfitError(f'damaged ({error})') from None
    if about.get('version') != header['version']:
        raise _UnfitError('written by another version')
    if about.pop('sha256', None) != _checksum(arrays, about):
        raise _UnfitError('damaged (its checksum differs)')
    skipped = {why: (n, places) for why, (n, places) in json.loads(about.pop('skipped')).items()}
    if about != header:
        raise _UnfitError(f'the parts of the set in {folder} have changed')
    return Index(header['set'], folder, arrays, skipped)


def _checksum(arrays: Arrays, about: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for key, array in sorted(arrays.items()):
        digest.update(f'{key} {array.dtype} {array.shape}'.encode())
        digest.update(array.data)
    return digest.hexdigest()


def file_names(folder: Path) -> set[str]:
    """List a folder once: cheaper than asking for each of its files."""
    return {path.name for path in folder.iterdir()}


def has_area(box: Box) -> bool:
    """Tell whether a box is finite and has an area."""
    return all(map(math.isfinite, box)) and box.w > 0 and box.h > 0
