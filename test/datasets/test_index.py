"""The index of a training set: what it keeps, and that no fault of the cache reaches a training."""

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
from siamffn_model.datasets.sets import SETS
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
    """Reads `CONTENT` and remembers which units; raises `error` at unit `fails`."""

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


def image_set(
    read: Callable[[Path, str], UnitAnnotations], units: list[str] = UNITS
) -> TrainingSet:
    return TrainingSet('toys', 'toys', 'http://toys.example', lambda folder: units, read)


def interrupt(folder: Path, units: list[str] = UNITS) -> None:
    """Leave the journal of a reading that stopped at the third unit."""
    reader = Reader(fails='c', error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        open_index(image_set(reader, units), folder)
    assert reader.units == ['a', 'b']


def holds_all(opened: Index) -> bool:
    return (
        opened.starts.tolist() == [0, 2, 3, 4, 5, 6]
        and opened.frames.tolist() == [1, 9, 1, 0, 3, 4]
        and opened.boxes[:3].tolist() == [[1, 2, 3.5, 4], [5, 6, 7, 8], [10, 20, 30, 40]]
        and [opened.image(row).name for row in range(6)]
        == ['1.jpg', 'a long näme.jpg', '1.jpg', '1.jpg', '1.jpg', '2.jpg']
        and opened.skipped['empty box'][0] == 12
    )


def test_all_is_read_back(tmp_path: Path) -> None:
    made = open_index(image_set(Reader()), tmp_path)
    found = open_index(image_set(Reader()), tmp_path)
    for opened in (made, found):
        assert holds_all(opened)
        assert (opened.name, opened.folder, len(opened)) == ('toys', tmp_path, 5)
        arrays = opened.starts, opened.frames, opened.boxes
        assert [a.dtype for a in arrays] == [np.int64, np.int32, np.float32]
        assert opened.image(1) == tmp_path / 'x/a long näme.jpg'
        names = ['x/1.jpg', 'x/a long näme.jpg', '1.jpg', 'y/z/1.jpg', 'x/2.jpg']
        assert opened.images() == [tmp_path / name for name in names]
        places = [*(f'a row {n}' for n in range(7)), *(f'b row {n}' for n in range(3))]
        assert opened.skipped == {'empty box': (12, places), 'target absent': (1, ['c row 1'])}


def test_a_second_opening_reads_nothing(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / 'set'
    folder.mkdir()
    (tmp_path / 'link').symlink_to(folder)
    open_index(image_set(Reader()), folder)
    files = sorted(path.name for path in cache.iterdir())
    assert [Path(name).suffix for name in files] == ['.lock', '.safetensors']
    reader = Reader()
    assert holds_all(open_index(image_set(reader), tmp_path / 'link'))
    assert reader.units == []
    assert sorted(path.name for path in cache.iterdir()) == files
    open_index(image_set(reader), folder, fresh=True)
    assert reader.units == UNITS
    open_index(image_set(reader), tmp_path)
    assert reader.units == UNITS * 2


def test_an_interrupted_reading_goes_on(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt(tmp_path)
    capsys.readouterr()
    reader = Reader()
    assert holds_all(open_index(image_set(reader), tmp_path))
    assert reader.units == ['c', 'd', 'e']
    bar = capsys.readouterr().err
    assert bar.startswith('\rindex toys:  40%')
    assert ' 2/5 ' in bar
    assert not list(cache.glob('*.journal'))


@pytest.mark.parametrize(('cut', 'end'), [(1, b''), (20, b''), (20, bytes(19) + b'\n')])
def test_a_torn_line_is_read_again(tmp_path: Path, cache: Path, cut: int, end: bytes) -> None:
    interrupt(tmp_path)
    (journal,) = cache.glob('*.journal')
    journal.write_bytes(journal.read_bytes()[:-cut] + end)
    reader = Reader(fails='d', error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        open_index(image_set(reader), tmp_path)
    assert reader.units == ['b', 'c']
    reader = Reader()
    assert holds_all(open_index(image_set(reader), tmp_path))
    assert reader.units == ['d', 'e']


def test_the_journal_of_other_units_is_thrown_away(tmp_path: Path) -> None:
    interrupt(tmp_path, ['a', 'b', 'c'])
    reader = Reader()
    assert holds_all(open_index(image_set(reader), tmp_path))
    assert reader.units == UNITS


def test_a_fresh_index_begins_at_the_first_unit(tmp_path: Path) -> None:
    interrupt(tmp_path)
    reader = Reader()
    open_index(image_set(reader), tmp_path, fresh=True)
    assert reader.units == UNITS


def test_any_flipped_byte_is_found(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_index(image_set(Reader()), tmp_path)
    (path,) = cache.glob('*.safetensors')
    good = path.read_bytes()
    capsys.readouterr()
    for place in [*range(0, len(good), 41), len(good) - 1]:
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        reader = Reader()
        assert holds_all(open_index(image_set(reader), tmp_path)), place
        assert reader.units == UNITS, place
        told = capsys.readouterr().err
        assert told.startswith(f'{path}: '), place
        assert '; the index is made anew\n' in told, place
    path.write_bytes(good[: len(good) // 2])
    assert holds_all(open_index(image_set(Reader()), tmp_path))
    assert 'damaged' in capsys.readouterr().err


def test_other_units_and_another_version_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(open_index(image_set(Reader(), UNITS[:3]), tmp_path)) == 3
    capsys.readouterr()
    assert holds_all(open_index(image_set(Reader()), tmp_path))
    assert f'the parts of the set in {tmp_path} have changed; ' in capsys.readouterr().err
    monkeypatch.setattr(index, 'FORMAT_VERSION', index.FORMAT_VERSION + 1)
    reader = Reader()
    assert holds_all(open_index(image_set(reader), tmp_path))
    assert reader.units == UNITS
    assert 'written by another version; ' in capsys.readouterr().err


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    error = PermissionError(13, 'Permission denied', '/data/c.txt')
    with pytest.raises(DataError, match=r'/data/c\.txt: Permission denied; check the disk'):
        open_index(image_set(Reader(fails='c', error=error)), tmp_path)
    reader = Reader()
    assert holds_all(open_index(image_set(reader), tmp_path))
    assert reader.units == ['c', 'd', 'e']


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'file').write_text('a file, not a folder')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    with pytest.raises(DataError, match=r'file/siamffn/index: .*; set XDG_CACHE_HOME'):
        open_index(image_set(Reader()), tmp_path)


def test_a_set_without_a_target_is_named_and_not_kept(tmp_path: Path) -> None:
    reader = Reader()
    with pytest.raises(DataError, match=r'no usable target; skipped: 5 empty box \(b row 0 \.\.\.'):
        open_index(image_set(reader, ['b']), tmp_path)
    with pytest.raises(DataError, match='no usable target; skipped: nothing;'):
        open_index(image_set(lambda folder, unit: UnitAnnotations([], []), ['b']), tmp_path)
    assert reader.units == ['b']
    mended = image_set(lambda folder, unit: CONTENT['a'], ['b'])
    assert len(open_index(mended, tmp_path)) == 2


@pytest.mark.parametrize('name', SETS)
def test_a_missing_layout_is_named_with_where_to_get_it(tmp_path: Path, name: str) -> None:
    images = SETS[name]
    with pytest.raises(DataError) as caught:
        open_index(images, tmp_path)
    assert str(caught.value).startswith(f'{tmp_path}/')
    assert images.layout in str(caught.value)
    assert images.source in str(caught.value)


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

images = TrainingSet('toys', 'toys', 'http://toys.example', lambda folder: ['a', 'b'], read)
print('targets', len(open_index(images, Path(sys.argv[1]))))
"""


def start(folder: Path) -> subprocess.Popen[str]:
    """Start a process that waits for a line of input at each unit."""
    pipe = subprocess.PIPE
    command = [sys.executable, '-c', PROCESS, str(folder)]
    return subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=pipe)


def test_of_two_processes_one_reads(tmp_path: Path) -> None:
    with start(tmp_path) as first:
        assert first.stdout.readline() == 'reads a\n'
        with start(tmp_path) as second:
            assert 'waiting for another process' in second.stderr.readline()
            first.stdin.write('\n')
            first.stdin.flush()
            assert first.stdout.readline() == 'reads b\n'
            assert first.communicate('\n')[0] == 'targets 2\n'
            assert second.communicate()[0] == 'targets 2\n'


def test_a_killed_process_loses_no_unit(tmp_path: Path) -> None:
    with start(tmp_path) as first:
        first.stdin.write('\n')
        first.stdin.flush()
        assert [first.stdout.readline() for _ in range(2)] == ['reads a\n', 'reads b\n']
        first.kill()
    with start(tmp_path) as second:
        assert second.communicate('\n')[0] == 'reads b\ntargets 2\n'
