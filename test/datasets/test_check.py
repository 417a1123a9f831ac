"""What `data check` tells of training sets."""

from __future__ import annotations

import csv
import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from siamffn_model.datasets.check import check_sets
from siamffn_model.datasets.sets import SETS
from siamffn_model.errors import ConfigError, DataError

from .published import write_coco, write_det, write_got10k, write_vid

VID_PLACE = 'ILSVRC2015_VID_train_0000/ILSVRC2015_train_00001000/000002.xml'
DET_PLACE = 'ILSVRC2014_train_0000/ILSVRC2014_train_00000005.xml'
ALL = [
    (
        'got10k',
        write_got10k,
        [
            'got10k: 4 targets, 23 boxes, 23 images',
            '  left out, target absent: 1, such as GOT-10k_Train_000002 row 4',
            '  left out, empty annotation: 1, such as GOT-10k_Train_000005',
        ],
        'train/GOT-10k_Train_000003/00000005.jpg',
    ),
    (
        'coco',
        write_coco,
        [
            'coco: 5 targets, 5 boxes, 4 images',
            '  left out, empty annotation: 1, such as 000000000005.jpg',
        ],
        'train2017/000000000003.jpg',
    ),
    (
        'vid',
        write_vid,
        [
            'vid: 4 targets, 23 boxes, 17 images',
            f'  left out, target absent: 1, such as {VID_PLACE}',
        ],
        'Data/VID/train/ILSVRC2015_VID_train_0001/ILSVRC2015_train_00003000/000004.JPEG',
    ),
    (
        'det',
        write_det,
        [
            'det: 5 targets, 5 boxes, 4 images',
            f'  left out, empty annotation: 1, such as {DET_PLACE}',
        ],
        'Data/DET/train/ILSVRC2014_train_0000/ILSVRC2014_train_00000003.JPEG',
    ),
]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


@pytest.mark.parametrize(('name', 'write', 'counts', 'broken'), ALL)
def test_a_set_is_counted_and_its_damaged_image_named(
    name: str,
    write: Callable[[Path], None],
    counts: list[str],
    broken: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / 'set'
    write(folder)
    assert not check_sets({name: folder})
    images = counts[0].split()[-2]
    lines = capsys.readouterr().out.splitlines()
    ours = lines.index(counts[0])
    assert lines[ours : ours + len(counts) + 2] == [
        *counts,
        f'  damaged: {folder / broken}: damaged or not an image; replace or remove the file',
        f'  1 of {images} images damaged',
    ]
    (folder / broken).write_bytes(next(folder.rglob('*1.[jJ]*')).read_bytes())
    assert check_sets({name: folder})
    assert f'  0 of {images} images damaged\n' in capsys.readouterr().out
    for other in SETS.keys() - {name}:
        assert f'{other}: not given; it can be had from {SETS[other].source}' in '\n'.join(lines)


def test_what_has_changed_since_is_read_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_got10k(tmp_path)
    check_sets({'got10k': tmp_path})
    (tmp_path / 'train/GOT-10k_Train_000003/00000005.jpg').unlink()
    capsys.readouterr()
    check_sets({'got10k': tmp_path})
    told = capsys.readouterr().out
    assert 'got10k: 4 targets, 22 boxes, 22 images\n' in told
    assert '  left out, missing image: 1, such as GOT-10k_Train_000003 row 5\n' in told


def test_without_any_set_it_says_where_to_get_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_sets({})
    lines = capsys.readouterr().out.splitlines()
    for name, images in SETS.items():
        place = lines.index(f'{name}: not given; it can be had from {images.source} and must hold')
        assert lines[place + 1] == f'  {images.layout}'


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'--data cocoa: .* got10k, coco, vid, det and pack'):
        check_sets({'cocoa': tmp_path})


def test_another_folder_than_the_sets_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f'{tmp_path}/.* get the set from http'):
        check_sets({'vid': tmp_path})


def test_many_damaged_images_are_counted_and_the_first_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_got10k(tmp_path)
    images = sorted(tmp_path.rglob('*.jpg'))
    for image in images:
        image.write_bytes(b'')
    assert not check_sets({'got10k': tmp_path})
    told = capsys.readouterr().out
    assert told.count('  damaged: ') == 20
    assert f'  damaged: {images[0]}: ' in told
    assert '  23 of 23 images damaged\n' in told


def test_a_pack_is_counted(tiny_pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_sets({'pack': tiny_pack})
    told = capsys.readouterr().out
    assert 'pack: 3 objects, 2 backgrounds, 4 frames of 1 videos\n' in told
    assert '  0 of 12 images damaged\n' in told


def test_a_damaged_image_of_a_pack_is_named(
    tiny_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(tiny_pack, tmp_path / 'pack')
    with tarfile.open(folder / 'backgrounds.tar', 'w') as tar:
        for number in range(2):
            info = tarfile.TarInfo(f'backgrounds/img/{number}.jpg')
            info.size = 4
            tar.addfile(info, io.BytesIO(b'junk'))
    assert not check_sets({'pack': folder})
    told = capsys.readouterr().out
    assert '  damaged: file backgrounds/img/1.jpg of the pack is damaged: copy' in told
    assert '  2 of 12 images damaged\n' in told


@pytest.mark.parametrize(
    ('name', 'columns'),
    [('objects', ('image', 'mask')), ('backgrounds', ('image',)), ('videos', ('path',))],
)
def test_an_image_that_a_pack_lists_and_lacks_is_named(
    name: str,
    columns: tuple[str, ...],
    tiny_pack: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(tiny_pack, tmp_path / 'pack')
    with (folder / f'{name}.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    for column in columns:
        rows[1][column] = f'{column}.lost'
    with (folder / f'{name}.csv').open('w', newline='') as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert not check_sets({'pack': folder})
    told = capsys.readouterr().out
    for column in columns:
        assert f'  damaged: the pack holds no file {column}.lost: ' in told
