"""Read and write the result files of trackers in the text formats of the benchmarks."""

from __future__ import annotations

import io
import re
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePath

import numpy as np

from siamffn_model.errors import DataError
from siamffn_model.evaluation.metrics import Floats

FIRST_RUN = '_001'  # suffix of the first run in VOT and GOT-10k; further runs are not read
MAX_NAMES = 5  # number of missing sequences that a message lists
SEPARATORS = str.maketrans(',;\t', '   ')


def find_trackers(paths: Iterable[Path], sequences: Collection[str]) -> dict[str, Path]:
    """Return the folder or zip file of each tracker in `paths`, by name of the tracker.

    Each path is the folder or zip file of one tracker, with the name of the tracker, or a folder
    that contains such folders and zip files. Raises `DataError` if a path has no results or if two
    trackers have the same name.
    """
    trackers: dict[str, Path] = {}
    spellings = _spellings(sequences)
    for path in paths:
        for source in _trackers_in(path, spellings):
            name = source.stem if _is_zip(source) else source.name
            if name in trackers:
                raise DataError(
                    f'{source}: {trackers[name]} also has results of {name}; rename one of them'
                )
            trackers[name] = source
    return trackers


def _trackers_in(path: Path, spellings: Mapping[str, str]) -> list[Path]:
    if _is_zip(path):
        return [path]
    if not path.is_dir():
        raise DataError(f'{path}: no such folder or zip file; give the result files of a tracker')
    children = sorted(child for child in path.iterdir() if not child.name.startswith('.'))
    if any(child.name == 'baseline' or _sequence_of(child, spellings) for child in children):
        return [path]
    trackers = [child for child in children if child.is_dir() or _is_zip(child)]
    if not trackers:
        names = ', '.join(list(spellings.values())[:MAX_NAMES])
        raise DataError(
            f'{path}: no results; expected files {names} ... ending in .txt, or a folder or zip '
            'file with such files for each tracker'
        )
    return trackers


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == '.zip' and path.is_file()


def read_texts(source: Path, sequences: Collection[str]) -> dict[str, tuple[str, str]]:
    """Read the result files of a tracker: {sequence: (path for messages, text)}.

    Names are compared without regard to case and to the difference between `-`, `.` and `_`.
    Raises `DataError` if a zip file is damaged or if a sequence has no file or two files.
    """
    spellings = _spellings(sequences)
    texts: dict[str, tuple[str, str]] = {}
    for path, data in _text_files(source):
        name = _sequence_of(path, spellings)
        if name is None:
            continue
        shown_path = f'{source}: {path}' if _is_zip(source) else str(source / path)
        if name in texts:
            raise DataError(
                f'{shown_path}: {texts[name][0]} is also a result of {name}; remove one of them'
            )
        texts[name] = shown_path, data.decode('utf-8-sig', 'replace')
    if missing := [name for name in sequences if name not in texts]:
        raise DataError(
            f'{source}: no result for {len(missing)} of {len(sequences)} sequences '
            f'({", ".join(missing[:MAX_NAMES])}{" ..." if len(missing) > MAX_NAMES else ""}); '
            'add them, or score the benchmark that these results belong to'
        )
    return texts


def _text_files(source: Path) -> list[tuple[PurePath, bytes]]:
    """Return the name and content of all possible result files, see `_select_results`."""
    try:
        if _is_zip(source):
            with zipfile.ZipFile(source) as archive:
                names = _select_results(archive.namelist())
                return [(PurePath(name), archive.read(name)) for name in names]
        names = _select_results(
            str(path.relative_to(source)) for path in sorted(source.rglob('*.txt'))
        )
        return [(PurePath(name), (source / name).read_bytes()) for name in names]
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f'{source}: cannot be read ({error}); copy it again') from error


def _select_results(names: Iterable[str]) -> list[str]:
    """Return the .txt files that are not hidden; only those of VOT's baseline if there are any."""
    parts = {name: PurePath(name).parts for name in names if name.endswith('.txt')}
    visible = [name for name in parts if not any(part[0] in '._' for part in parts[name])]
    return [name for name in visible if 'baseline' in parts[name]] or visible


def _spellings(sequences: Collection[str]) -> dict[str, str]:
    """Return the sequences by normalised name, and also without the suffix _1, _2, ... if unique.

    Human4.txt is thus a result of human4_2, but Jogging.txt is no result of jogging_1 or jogging_2.
    """
    bases = Counter(_base_name(name) for name in sequences)
    short = {base: name for name in sequences if bases[base := _base_name(name)] == 1}
    return {**short, **{_normalise(name): name for name in sequences}}


def _normalise(name: str) -> str:
    return re.sub('[-. ]', '_', name.lower())


def _base_name(name: str) -> str:
    return re.sub(r'_\d$', '', _normalise(name))


def _sequence_of(path: PurePath, spellings: Mapping[str, str]) -> str | None:
    name = _normalise(path.name.removesuffix('.txt'))
    return spellings.get(name) or spellings.get(name.removesuffix(FIRST_RUN))


def parse_boxes(text: str, source: str) -> Floats:
    """Parse boxes (N, 4) from rows x,y,w,h, separated by commas, semicolons, tabs or spaces.

    Raises `DataError` with `source` and the row if a row does not have four numbers.
    """
    plain = text.translate(SEPARATORS)
    if not plain or plain.isspace():
        raise DataError(f'{source}: the file has no rows; each row must be x,y,w,h')
    try:
        boxes = np.loadtxt(io.StringIO(plain), float, comments=None, ndmin=2)
    except ValueError:
        boxes = np.empty((0, 0))
    if boxes.shape[1] == 4:
        return boxes
    rows = enumerate(plain.split('\n'), 1)
    bad = ((n, row) for n, row in rows if row.strip() and not _is_box(row))
    number, row = next(bad, (1, plain.split('\n')[0]))
    raise DataError(f'{source}: row {number} is {row.strip()!r}; each row must be x,y,w,h')


def _is_box(row: str) -> bool:
    try:
        return len([float(word) for word in row.split()]) == 4
    except ValueError:
        return False


def format_boxes(boxes: Floats) -> str:
    """Format boxes (N, 4) as rows x,y,w,h with four decimals."""
    return ''.join(','.join(f'{value:.4f}' for value in box) + '\n' for box in boxes)
