"""The index of a published training set: all boxes and image paths in one file in the cache.

Reading a million annotations takes long, so it is done once. Units are read one by one into a
journal (`index_journal`), from which an interrupted run resumes; the complete journal becomes the
index, a safetensors file with a checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from siamffn_model.atomic_io import cache_folder, write_bytes
from siamffn_model.datasets.index_journal import (
    Arrays,
    Skipped,
    os_errors_as_data_errors,
    pack_arrays,
    read_units,
)
from siamffn_model.datasets.training_set import TrainingSet

FORMAT_VERSION = 1  # of index and journal


class Index:
    """The usable annotations of a set: T targets with R annotations (rows) in all.

    The rows of a target are consecutive and in the order of their frames.

    Attributes:
        name: name of the set.
        folder: folder of the set.
        starts: int64 (T + 1,); the rows of target t are starts[t]:starts[t + 1].
        frames: int32 (R,), number of each row's image in its video; 0 for single images.
        boxes: float32 (R, 4), x, y, w, h in pixels, rounded from finite values with positive width
            and height.
        skipped: reason -> (number of annotations skipped for it, the first 10 places).
    """

    def __init__(self, name: str, folder: Path, arrays: Arrays, skipped: Skipped) -> None:
        self.name, self.folder, self.skipped = name, folder, skipped
        self.starts, self.frames, self.boxes = (arrays[k] for k in ('starts', 'frames', 'boxes'))
        self._folder = arrays['folder']
        self._file = arrays['file'].view(f'S{arrays["file"].shape[1]}')[:, 0]
        self._folders = os.fsdecode(arrays['folders'].tobytes()).split('\0')

    def __len__(self) -> int:
        """Return the number of targets."""
        return len(self.starts) - 1

    def image_path(self, row: int) -> Path:
        """Return the path of the image of a row."""
        return self._path(self._folder[row], self._file[row])

    def image_paths(self) -> list[Path]:
        """Return the paths of all images in the order of the rows, without duplicates."""
        names = zip(self._folder.tolist(), self._file.tolist())
        return [self._path(folder, file) for folder, file in dict.fromkeys(names)]

    def _path(self, folder: int, file: bytes) -> Path:
        return self.folder / self._folders[folder] / os.fsdecode(bytes(file))


class _UnusableIndexError(Exception):
    """The index in the cache cannot be used; the message is the reason."""


def open_index(training_set: TrainingSet, folder: Path, rebuild: bool = False) -> Index:
    """Open the index of the set in `folder`, or build it if there is none or with `rebuild`.

    An index that is damaged, of another format version, or of other units than the set has now is
    rebuilt, with a message on standard error. If several processes open the same index, one builds
    it and the others wait.

    Raises:
        DataError: the set is not in `folder`, cannot be read or has no usable target, or the cache
            cannot be written.
    """
    folder = folder.resolve()
    with os_errors_as_data_errors(folder, 'check the disk and the read permission of the folder'):
        units = training_set.units(folder)
    header = {
        'version': str(FORMAT_VERSION),
        'set': training_set.name,
        'folder': json.dumps(str(folder)),  # escaped: a path need not be valid Unicode
        'units': hashlib.sha256(json.dumps(units).encode()).hexdigest(),
    }
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()
    path = cache_folder() / 'index' / f'{training_set.name}-{digest[:16]}.safetensors'
    remedy = 'set XDG_CACHE_HOME to a writable folder'
    with os_errors_as_data_errors(path.parent, remedy), _exclusive_lock(path):
        if rebuild:
            path.unlink(missing_ok=True)
            path.with_suffix('.journal').unlink(missing_ok=True)
        if path.exists():
            try:
                return _load(path, folder, header)
            except _UnusableIndexError as error:
                print(f'{path}: {error}; rebuilding the index', file=sys.stderr)
        return _build(path, training_set, folder, units, header)


@contextmanager
def _exclusive_lock(path: Path) -> Iterator[None]:
    """Hold the lock of the index at `path`, so that other processes wait; create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_suffix('.lock'))
    try:
        held = lock.acquire(blocking=False)
    except Timeout:
        print(f'{path}: waiting for another process that is using it', file=sys.stderr)
        held = lock.acquire()
    with held:
        yield


def _build(
    path: Path,
    training_set: TrainingSet,
    folder: Path,
    units: list[str],
    header: dict[str, str],
) -> Index:
    """Read the units that are missing in the journal, write the index and delete the journal."""
    journal = path.with_suffix('.journal')
    read_units(journal, training_set, folder, units, header)
    arrays, skipped = pack_arrays(journal)
    if not arrays:
        journal.unlink()
        counts = ', '.join(f'{n} {why} ({places[0]} ...)' for why, (n, places) in skipped.items())
        problem = f'no usable target; skipped: {counts or "nothing"}'
        raise training_set.layout_error(folder, problem)
    metadata = {**header, 'skipped': json.dumps(skipped)}
    write_bytes(path, save(arrays, {**metadata, 'sha256': _checksum(arrays, metadata)}))
    journal.unlink()
    return Index(training_set.name, folder, arrays, skipped)


def _load(path: Path, folder: Path, header: dict[str, str]) -> Index:
    """Load the index; raise `_UnusableIndexError` if it is damaged or has another header."""
    try:
        with safe_open(path, framework='np') as file:
            metadata = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no dict)
    except (SafetensorError, OSError) as error:
        raise _UnusableIndexError(f'damaged ({error})') from None
    if metadata.get('version') != header['version']:
        raise _UnusableIndexError('written by another version')
    if metadata.pop('sha256', None) != _checksum(arrays, metadata):
        raise _UnusableIndexError('damaged (the checksum does not match)')
    skipped = {why: (n, places) for why, (n, places) in json.loads(metadata.pop('skipped')).items()}
    if metadata != header:
        raise _UnusableIndexError(f'the units of the set in {folder} have changed')
    return Index(header['set'], folder, arrays, skipped)


def _checksum(arrays: Arrays, metadata: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for key, array in sorted(arrays.items()):
        digest.update(f'{key} {array.dtype} {array.shape}'.encode())
        digest.update(array.data)
    return digest.hexdigest()
