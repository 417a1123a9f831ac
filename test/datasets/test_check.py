"""`siamffn data check`: it counts the content of training sets and reports what is damaged."""

from __future__ import annotations

import csv
import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from siamffn_model.datasets.check import check_sets
from siamffn_model.datasets.sets import TRAINING_SETS
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
            '  skipped, target absent: 1, such as GOT-10k_Train_000002 row 4',
            '  skipped, empty annotation: 1, such as GOT-10k_Train_000005',
        ],
        'train/GOT-10k_Train_000003/00000005.jpg',
    ),
    (
        'coco',
        write_coco,
        [
            'coco: 5 targets, 5 boxes, 4 images',
            '  skipped, empty annotation: 1, such as 000000000005.jpg',
        ],
        'train2017/000000000003.jpg',
    ),
    (
        'vid',
        write_vid,
        [
            'vid: 4 targets, 23 boxes, 17 images',
            f'  skipped, target absent: 1, such as {VID_PLACE}',
        ],
        'Data/VID/train/ILSVRC2015_VID_train_0001/ILSVRC2015_train_00003000/000004.JPEG',
    ),
    (
        'det',
        write_det,
        [
            'det: 5 targets, 5 boxes, 4 images',
            f'  skipped, empty annotation: 1, such as {DET_PLACE}',
        ],
        'Data/DET/train/ILSVRC2014_train_0000/ILSVRC2014_train_00000003.JPEG',
    ),
]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


@pytest.mark.parametrize(('name', 'write', 'counts', 'damaged'), ALL)
def test_counts_each_set_and_names_its_damaged_image(
    name: str,
    write: Callable[[Path], None],
    counts: list[str],
    damaged: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / 'set'
    write(folder)
    assert not check_sets({name: folder})
    images = counts[0].split()[-2]
    lines = capsys.readouterr().out.splitlines()
    start = lines.index(counts[0])
    assert lines[start : start + len(counts) + 2] == [
        *counts,
        f'  damaged: {folder / damaged}: damaged or not an image; replace or remove the file',
        f'  1 of {images} images damaged',
    ]
    (folder / damaged).write_bytes(next(folder.rglob('*1.[jJ]*')).read_bytes())
    assert check_sets({name: folder})
    assert f'  0 of {images} images damaged\n' in capsys.readouterr().out
    for other in TRAINING_SETS.keys() - {name}:
        assert (
            f'{other}: not given; get it from {TRAINING_SETS[other].source}; it must contain'
            in lines
        )


def test_reads_a_changed_set_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_got10k(tmp_path)
    check_sets({'got10k': tmp_path})
    (tmp_path / 'train/GOT-10k_Train_000003/00000005.jpg').unlink()
    capsys.readouterr()
    check_sets({'got10k': tmp_path})
    output = capsys.readouterr().out
    assert 'got10k: 4 targets, 22 boxes, 22 images\n' in output
    assert '  skipped, missing image: 1, such as GOT-10k_Train_000003 row 5\n' in output


def test_without_any_set_reports_where_to_get_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_sets({})
    lines = capsys.readouterr().out.splitlines()
    for name, item in TRAINING_SETS.items():
        start = lines.index(f'{name}: not given; get it from {item.source}; it must contain')
        assert lines[start + 1] == f'  {item.layout}'


def test_rejects_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'--data cocoa: .* vid, det, pack and aerial'):
        check_sets({'cocoa': tmp_path})


def test_names_a_folder_with_another_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f'{tmp_path}/.* get the set from http'):
        check_sets({'vid': tmp_path})


def test_counts_damaged_images_and_names_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_got10k(tmp_path)
    images = sorted(tmp_path.rglob('*.jpg'))
    for image in images:
        image.write_bytes(b'')
    assert not check_sets({'got10k': tmp_path})
    output = capsys.readouterr().out
    assert output.count('  damaged: ') == 20
    assert f'  damaged: {images[0]}: ' in output
    assert '  23 of 23 images damaged\n' in output


def test_counts_a_pack(tiny_pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_sets({'pack': tiny_pack})
    output = capsys.readouterr().out
    assert 'pack: 3 objects, 2 backgrounds, 4 frames of 1 videos\n' in output
    assert '  0 of 12 images damaged\n' in output


def test_names_a_damaged_image_of_a_pack(
    tiny_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(tiny_pack, tmp_path / 'pack')
    with tarfile.open(folder / 'backgrounds.tar', 'w') as tar:
        for number in range(2):
            info = tarfile.TarInfo(f'backgrounds/img/{number}.jpg')
            info.size = 4
            tar.addfile(info, io.BytesIO(b'junk'))
    assert not check_sets({'pack': folder})
    output = capsys.readouterr().out
    assert '  damaged: file backgrounds/img/1.jpg of the pack is damaged: copy' in output
    assert '  2 of 12 images damaged\n' in output


@pytest.mark.parametrize(
    ('name', 'columns'),
    [('objects', ('image', 'mask')), ('backgrounds', ('image',)), ('videos', ('path',))],
)
def test_names_an_image_that_is_listed_in_a_pack_but_missing(
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
    output = capsys.readouterr().out
    for column in columns:
        assert f'  damaged: the pack contains no file {column}.lost: ' in output
