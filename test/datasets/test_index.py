"""The index of a training set: its content, resuming, and rebuilding when it is damaged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from siamffn_model.datasets import index
from siamffn_model.datasets.index import Index, open_index
from siamffn_model.datasets.sets import TRAINING_SETS
from siamffn_model.datasets.training_set import Annotation, TrainingSet, UnitAnnotations
from siamffn_model.errors import DataError
from siamffn_model.imaging.geometry import Box

UNITS = ['a', 'b', 'c', 'd', 'e']
CONTENT = {
    'a': UnitAnnotations(
        [
            [
                Annotation('x/1.jpg', 1, Box(1, 2, 3.5, 4)),
                Annotation('x/a long näme.jpg', 9, Box(5, 6, 7, 8)),
            ],
            [Annotation('x/1.jpg', 1, Box(10, 20, 30, 40))],
        ],
        [('empty box', f'a row {n}') for n in range(7)],
    ),
    'b': UnitAnnotations([], [('empty box', f'b row {n}') for n in range(5)]),
    'c': UnitAnnotations(
        [[Annotation('1.jpg', 0, Box(-1, -2, 9, 9))]], [('target absent', 'c row 1')]
    ),
    'd': UnitAnnotations([[Annotation('y/z/1.jpg', 3, Box(0, 0, 1, 1))]], []),
    'e': UnitAnnotations([[Annotation('x/2.jpg', 4, Box(0, 0, 1, 2))]], []),
}


@dataclass
class Reader:
    """Reads `CONTENT` and records the units read; raises `error` at unit `fails`."""

    units: list[str] = field(default_factory=list)
    fails: str | None = None
    error: BaseException | None = None

    def __call__(self, folder: Path, unit: str) -> UnitAnnotations:
        if unit == self.fails and self.error:
            raise self.error
        self.units.append(unit)
        return CONTENT[unit]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache/siamffn/index'


def training_set(
    read: Callable[[Path, str], UnitAnnotations], units: list[str] = UNITS
) -> TrainingSet:
    return TrainingSet('toys', 'toys', 'http://toys.example', lambda folder: units, read)


def interrupt(folder: Path, units: list[str] = UNITS) -> None:
    """Leave the journal of a run that was interrupted at the third unit."""
    reader = Reader(fails='c', error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        open_index(training_set(reader, units), folder)
    assert reader.units == ['a', 'b']


def is_complete(opened: Index) -> bool:
    return (
        opened.starts.tolist() == [0, 2, 3, 4, 5, 6]
        and opened.frames.tolist() == [1, 9, 1, 0, 3, 4]
        and opened.boxes[:3].tolist() == [[1, 2, 3.5, 4], [5, 6, 7, 8], [10, 20, 30, 40]]
        and [opened.image_path(row).name for row in range(6)]
        == ['1.jpg', 'a long näme.jpg', '1.jpg', '1.jpg', '1.jpg', '2.jpg']
        and opened.skipped['empty box'][0] == 12
    )


def test_index_has_all_annotations(tmp_path: Path) -> None:
    built = open_index(training_set(Reader()), tmp_path)
    loaded = open_index(training_set(Reader()), tmp_path)
    for opened in (built, loaded):
        assert is_complete(opened)
        assert (opened.name, opened.folder, len(opened)) == ('toys', tmp_path, 5)
        arrays = opened.starts, opened.frames, opened.boxes
        assert [a.dtype for a in arrays] == [np.int64, np.int32, np.float32]
        assert opened.image_path(1) == tmp_path / 'x/a long näme.jpg'
        names = ['x/1.jpg', 'x/a long näme.jpg', '1.jpg', 'y/z/1.jpg', 'x/2.jpg']
        assert opened.image_paths() == [tmp_path / name for name in names]
        places = [*(f'a row {n}' for n in range(7)), *(f'b row {n}' for n in range(3))]
        assert opened.skipped == {'empty box': (12, places), 'target absent': (1, ['c row 1'])}


def test_a_second_opening_reads_nothing(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / 'set'
    folder.mkdir()
    (tmp_path / 'link').symlink_to(folder)
    open_index(training_set(Reader()), folder)
    files = sorted(path.name for path in cache.iterdir())
    assert [Path(name).suffix for name in files] == ['.lock', '.safetensors']
    reader = Reader()
    assert is_complete(open_index(training_set(reader), tmp_path / 'link'))
    assert reader.units == []
    assert sorted(path.name for path in cache.iterdir()) == files
    open_index(training_set(reader), folder, rebuild=True)
    assert reader.units == UNITS
    open_index(training_set(reader), tmp_path)
    assert reader.units == UNITS * 2


def test_interrupted_run_is_resumed(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt(tmp_path)
    capsys.readouterr()
    reader = Reader()
    assert is_complete(open_index(training_set(reader), tmp_path))
    assert reader.units == ['c', 'd', 'e']
    bar = capsys.readouterr().err
    assert bar.startswith('\rindex toys:  40%')
    assert ' 2/5 ' in bar
    assert not list(cache.glob('*.journal'))


@pytest.mark.parametrize(('cut', 'end'), [(1, b''), (20, b''), (20, bytes(19) + b'\n')])
def test_unit_of_an_incomplete_line_is_read_again(
    tmp_path: Path, cache: Path, cut: int, end: bytes
) -> None:
    interrupt(tmp_path)
    (journal,) = cache.glob('*.journal')
    journal.write_bytes(journal.read_bytes()[:-cut] + end)
    reader = Reader(fails='d', error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        open_index(training_set(reader), tmp_path)
    assert reader.units == ['b', 'c']
    reader = Reader()
    assert is_complete(open_index(training_set(reader), tmp_path))
    assert reader.units == ['d', 'e']


def test_journal_of_other_units_is_discarded(tmp_path: Path) -> None:
    interrupt(tmp_path, ['a', 'b', 'c'])
    reader = Reader()
    assert is_complete(open_index(training_set(reader), tmp_path))
    assert reader.units == UNITS


def test_rebuilding_starts_at_the_first_unit(tmp_path: Path) -> None:
    interrupt(tmp_path)
    reader = Reader()
    open_index(training_set(reader), tmp_path, rebuild=True)
    assert reader.units == UNITS


def test_any_changed_byte_is_detected(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_index(training_set(Reader()), tmp_path)
    (path,) = cache.glob('*.safetensors')
    good = path.read_bytes()
    capsys.readouterr()
    for place in [*range(0, len(good), 41), len(good) - 1]:
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        reader = Reader()
        assert is_complete(open_index(training_set(reader), tmp_path)), place
        assert reader.units == UNITS, place
        message = capsys.readouterr().err
        assert message.startswith(f'{path}: '), place
        assert '; rebuilding the index\n' in message, place
    path.write_bytes(good[: len(good) // 2])
    assert is_complete(open_index(training_set(Reader()), tmp_path))
    assert 'damaged' in capsys.readouterr().err


def test_other_units_and_another_version_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(open_index(training_set(Reader(), UNITS[:3]), tmp_path)) == 3
    capsys.readouterr()
    assert is_complete(open_index(training_set(Reader()), tmp_path))
    assert f'the units of the set in {tmp_path} have changed; ' in capsys.readouterr().err
    monkeypatch.setattr(index, 'FORMAT_VERSION', index.FORMAT_VERSION + 1)
    reader = Reader()
    assert is_complete(open_index(training_set(reader), tmp_path))
    assert reader.units == UNITS
    assert 'written by another version; ' in capsys.readouterr().err


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    error = PermissionError(13, 'Permission denied', '/data/c.txt')
    with pytest.raises(DataError, match=r'/data/c\.txt: Permission denied; check the disk'):
        open_index(training_set(Reader(fails='c', error=error)), tmp_path)
    reader = Reader()
    assert is_complete(open_index(training_set(reader), tmp_path))
    assert reader.units == ['c', 'd', 'e']


def test_unwritable_cache_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'file').write_text('a file, not a folder')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    with pytest.raises(DataError, match=r'file/siamffn/index: .*; set XDG_CACHE_HOME'):
        open_index(training_set(Reader()), tmp_path)


def test_set_without_targets_is_named_and_not_cached(tmp_path: Path) -> None:
    reader = Reader()
    with pytest.raises(DataError, match=r'no usable target; skipped: 5 empty box \(b row 0 \.\.\.'):
        open_index(training_set(reader, ['b']), tmp_path)
    with pytest.raises(DataError, match='no usable target; skipped: nothing;'):
        open_index(training_set(lambda folder, unit: UnitAnnotations([], []), ['b']), tmp_path)
    assert reader.units == ['b']
    repaired = training_set(lambda folder, unit: CONTENT['a'], ['b'])
    assert len(open_index(repaired, tmp_path)) == 2


@pytest.mark.parametrize('name', TRAINING_SETS)
def test_missing_layout_is_named_with_its_source(tmp_path: Path, name: str) -> None:
    item = TRAINING_SETS[name]
    with pytest.raises(DataError) as caught:
        open_index(item, tmp_path)
    assert str(caught.value).startswith(f'{tmp_path}/')
    assert item.layout in str(caught.value)
    assert item.source in str(caught.value)


PROCESS = """
import sys
from pathlib import Path
from siamffn_model.datasets.index import open_index
from siamffn_model.datasets.training_set import Annotation, TrainingSet, UnitAnnotations
from siamffn_model.imaging.geometry import Box

def read(folder, unit):
    print('reads', unit, flush=True)
    sys.stdin.readline()
    return UnitAnnotations([[Annotation(f'{unit}.jpg', 0, Box(1, 2, 3, 4))]], [])

training_set = TrainingSet('toys', 'toys', 'http://toys.example', lambda folder: ['a', 'b'], read)
print('targets', len(open_index(training_set, Path(sys.argv[1]))))
"""


def start(folder: Path) -> subprocess.Popen[str]:
    """Start a process that waits for a line of input at each unit."""
    pipe = subprocess.PIPE
    command = [sys.executable, '-c', PROCESS, str(folder)]
    return subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=pipe)


def test_only_one_of_two_processes_reads(tmp_path: Path) -> None:
    with start(tmp_path) as first:
        assert first.stdout.readline() == 'reads a\n'
        with start(tmp_path) as second:
            assert 'waiting for another process' in second.stderr.readline()
            first.stdin.write('\n')
            first.stdin.flush()
            assert first.stdout.readline() == 'reads b\n'
            assert first.communicate('\n')[0] == 'targets 2\n'
            assert second.communicate()[0] == 'targets 2\n'


def test_killed_process_loses_no_unit(tmp_path: Path) -> None:
    with start(tmp_path) as first:
        first.stdin.write('\n')
        first.stdin.flush()
        assert [first.stdout.readline() for _ in range(2)] == ['reads a\n', 'reads b\n']
        first.kill()
    with start(tmp_path) as second:
        assert second.communicate('\n')[0] == 'reads b\ntargets 2\n'
