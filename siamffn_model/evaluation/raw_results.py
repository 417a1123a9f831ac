"""Result files of trackers in a folder or a zip, in the benchmarks' own text format."""

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

FIRST_RUN = '_001'  # ends the names of VOT's and GOT-10k's files; further runs are not read
NAMED = 5  # sequences that a message names of those that are missing
SEPARATORS = str.maketrans(',;\t', '   ')


def find_trackers(paths: Iterable[Path], sequences: Collection[str]) -> dict[str, Path]:
    """Return the trackers by name that lie in `paths`.

    Each path is one tracker's zip or folder, named like the tracker, or a folder of such. Raises
    `DataError` where there is none, or two of one name.
    """
    found: dict[str, Path] = {}
    spellings = _spellings(sequences)
    for path in paths:
        for source in _trackers_in(path, spellings):
            name = source.stem if _is_zip(source) else source.name
            if name in found:
                raise DataError(
                    f'{source}: there are results of {name} in {found[name]} too; give one of '
                    'them another name'
                )
            found[name] = source
    return found


def _trackers_in(path: Path, spellings: Mapping[str, str]) -> list[Path]:
    if _is_zip(path):
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: no such folder or zip; give a tracker's result files")
    children = sorted(child for child in path.iterdir() if not child.name.startswith('.'))
    if any(child.name == 'baseline' or _sequence_of(child, spellings) for child in children):
        return [path]
    trackers = [child for child in children if child.is_dir() or _is_zip(child)]
    if not trackers:
        names = ', '.join(list(spellings.values())[:NAMED])
        raise DataError(
            f'{path}: no results; expected files {names} ... ending in .txt, or a folder or zip of '
            'such for each tracker'
        )
    return trackers


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == '.zip' and path.is_file()


def read_texts(source: Path, sequences: Collection[str]) -> dict[str, tuple[str, str]]:
    """Read a tracker's result files: {sequence: (where it is from, text)}.

    Upper and lower case, and `-`, `.` and `_`, are not told apart in names. Raises `DataError` for
    a damaged zip, a sequence without a file, or with two.
    """
    spellings = _spellings(sequences)
    found: dict[str, tuple[str, str]] = {}
    for path, data in _text_files(source):
        name = _sequence_of(path, spellings)
        if name is None:
            continue
        where = f'{source}: {path}' if _is_zip(source) else str(source / path)
        if name in found:
            raise DataError(f'{where}: {found[name][0]} is of {name} too; remove one of them')
        found[name] = where, data.decode('utf-8-sig', 'replace')
    if missing := [name for name in sequences if name not in found]:
        raise DataError(
            f'{source}: no result for {len(missing)} of {len(sequences)} sequences '
            f'({", ".join(missing[:NAMED])}{" ..." if len(missing) > NAMED else ""}); add them, or '
            'score the set that these results are of'
        )
    return found


def _text_files(source: Path) -> list[tuple[PurePath, bytes]]:
    """Read what may be results, see `_results`."""
    try:
        if _is_zip(source):
            with zipfile.ZipFile(source) as archive:
                names = _results(archive.namelist())
                return [(PurePath(name), archive.read(name)) for name in names]
        names = _results(str(path.relative_to(source)) for path in sorted(source.rglob('*.txt')))
        return [(PurePath(name), (source / name).read_bytes()) for name in names]
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f'{source}: cannot be read ({error}); copy it again') from error


def _results(names: Iterable[str]) -> list[str]:
    """Return which may be results: each .txt that is not hidden, or VOT's baseline alone."""
    parts = {name: PurePath(name).parts for name in names if name.endswith('.txt')}
    shown = [name for name in parts if not any(part[0] in '._' for part in parts[name])]
    return [name for name in shown if 'baseline' in parts[name]] or shown


def _spellings(sequences: Collection[str]) -> dict[str, str]:
    """Return the sequences by their plain spelling, and by it without a number that says nothing.

    So Human4.txt is human4_2, of which there is one, but Jogging.txt is neither of its two.
    """
    bases = Counter(_plain_base(name) for name in sequences)
    short = {base: name for name in sequences if bases[base := _plain_base(name)] == 1}
    return {**short, **{_plain(name): name for name in sequences}}


def _plain(name: str) -> str:
    return re.sub('[-. ]', '_', name.lower())


def _plain_base(name: str) -> str:
    return re.sub(r'_\d$', '', _plain(name))


def _sequence_of(path: PurePath, spellings: Mapping[str, str]) -> str | None:
    plain = _plain(path.name.removesuffix('.txt'))
    return spellings.get(plain) or spellings.get(plain.removesuffix(FIRST_RUN))


def parse_boxes(text: str, where: str) -> Floats:
    """Return boxes (N, 4) of rows x,y,w,h, separated by commas, tabs or spaces.

    Raises `DataError` naming the row that is not four numbers.
    """
    plain = text.translate(SEPARATORS)
    if not plain or plain.isspace():
        raise DataError(f'{where}: holds no rows; each must be x,y,w,h')
    try:
        boxes = np.loadtxt(io.StringIO(plain), float, comments=None, ndmin=2)
    except ValueError:
        boxes = np.empty((0, 0))
    if boxes.shape[1] == 4:
        return boxes
    rows = enumerate(plain.split('\n'), 1)
    bad = ((n, row) for n, row in rows if row.strip() and not _is_box(row))
    number, row = next(bad, (1, plain.split('\n')[0]))
    raise DataError(f'{where}: row {number} is {row.strip()!r}; each row must be x,y,w,h')


def _is_box(row: str) -> bool:
    try:
        return len([float(word) for word in row.split()]) == 4
    except ValueError:
        return False


def format_boxes(boxes: Floats) -> str:
    """Return boxes (N, 4) as rows x,y,w,h, to the ten-thousandth of a pixel."""
    return ''.join(','.join(f'{value:.4f}' for value in box) + '\n' for box in boxes)
