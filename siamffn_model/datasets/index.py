"""The index of a published training set: its targets' boxes and images, compact, in the cache.

Reading a million annotations takes long, so it is done once: unit by unit into a journal, from
which an interrupted reading goes on, and from that into one file.
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

from siamffn_model.atomic_io import atomic_write, cache_folder
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


class _UnusableIndexError(Exception):
    """The index in the cache cannot be used, and why."""


def open_index(images: TrainingSet, folder: Path, fresh: bool = False) -> Index:
    """Open the index of the set in `folder`; make it where there is none, or a `fresh` one.

    One that is damaged, of another version, or of a set that has other units by now is made anew,
    which standard error tells. Of several processes one makes it, and the others wait.

    Raises:
        DataError: the set is not in `folder`, cannot be read or has no usable target, or the cache
            cannot be written.
    """
    folder = folder.resolve()
    with os_errors_as_data_errors(folder, 'check the disk, and that you may read the folder'):
        units = images.units(folder)
    header = {
        'version': str(FORMAT_VERSION),
        'set': images.name,
        'folder': json.dumps(str(folder)),  # with escapes: a path need not be proper Unicode
        'units': hashlib.sha256(json.dumps(units).encode()).hexdigest(),
    }
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()
    path = cache_folder() / 'index' / f'{images.name}-{digest[:16]}.safetensors'
    remedy = 'set XDG_CACHE_HOME to a folder that can be written'
    with os_errors_as_data_errors(path.parent, remedy), _exclusive_lock(path):
        if fresh:
            path.unlink(missing_ok=True)
            path.with_suffix('.journal').unlink(missing_ok=True)
        if path.exists():
            try:
                return _load(path, folder, header)
            except _UnusableIndexError as error:
                print(f'{path}: {error}; the index is made anew', file=sys.stderr)
        return _build(path, images, folder, units, header)


@contextmanager
def _exclusive_lock(path: Path) -> Iterator[None]:
    """Hold the lock of the index at `path`, so that other processes wait; create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_suffix('.lock'))
    try:
        held = lock.acquire(blocking=False)
    except Timeout:
        print(f'{path}: waiting for another process that has it open', file=sys.stderr)
        held = lock.acquire()
    with held:
        yield


def _build(
    path: Path, images: TrainingSet, folder: Path, units: list[str], header: dict[str, str]
) -> Index:
    """Read all units that the journal lacks, and write the index."""
    journal = path.with_suffix('.journal')
    read_units(journal, images, folder, units, header)
    arrays, lacking = pack_arrays(journal)
    if not arrays:
        journal.unlink()
        counts = ', '.join(f'{n} {why} ({places[0]} ...)' for why, (n, places) in lacking.items())
        raise images.missing(folder, f'no usable target; skipped: {counts or "nothing"}')
    about = {**header, 'skipped': json.dumps(lacking)}
    with atomic_write(path) as partial:
        partial.write_bytes(save(arrays, {**about, 'sha256': _checksum(arrays, about)}))
    journal.unlink()
    return Index(images.name, folder, arrays, lacking)


def _load(path: Path, folder: Path, header: dict[str, str]) -> Index:
    """Read the index; raises `_UnusableIndexError` if it cannot be used."""
    try:
        with safe_open(path, framework='np') as file:
            about = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no dict)
    except (SafetensorError, OSError) as error:
        raise _UnusableIndexError(f'damaged ({error})') from None
    if about.get('version') != header['version']:
        raise _UnusableIndexError('written by another version')
    if about.pop('sha256', None) != _checksum(arrays, about):
        raise _UnusableIndexError('damaged (its checksum differs)')
    skipped = {why: (n, places) for why, (n, places) in json.loads(about.pop('skipped')).items()}
    if about != header:
        raise _UnusableIndexError(f'the parts of the set in {folder} have changed')
    return Index(header['set'], folder, arrays, skipped)


def _checksum(arrays: Arrays, about: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for key, array in sorted(arrays.items()):
        digest.update(f'{key} {array.dtype} {array.shape}'.encode())
        digest.update(array.data)
    return digest.hexdigest()
