"""ImageNet VID and DET in their published layout: which objects are used, and which skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from siamffn_model.datasets.imagenet_vid_det import DET, VID
from siamffn_model.datasets.index import open_index
from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.datasets.training_set import TrainingSet
from siamffn_model.errors import DataError, ImageError
from siamffn_model.imaging.image import read_image

from .published import FRAMES, STILL, in_whole_pixels, write_det, write_vid

SECOND = 'ILSVRC2015_VID_train_0000/ILSVRC2015_train_00002000'


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Write both sets to one folder, as published; the cache is empty."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    write_vid(tmp_path / 'ILSVRC')
    write_det(tmp_path / 'ILSVRC')
    return tmp_path / 'ILSVRC'


def test_vid_reads_all_annotations(folder: Path) -> None:
    index = open_index(VID, folder)
    assert index.starts.tolist() == [0, 5, 11, 17, 23]
    assert index.frames.tolist() == [0, 1, 3, 4, 5, *range(6), *range(6), *range(6)]
    first, second, third = (in_whole_pixels(render_scene(FRAMES, seed=s)) for s in (1, 2, 3))
    del first[2]
    boxes = [*first, *second, *[STILL] * FRAMES, *third]
    assert index.boxes.tolist() == [list(box) for box in boxes]
    assert (
        index.image_path(12)
        == index.image_path(6)
        == folder / f'Data/VID/train/{SECOND}/000001.JPEG'
    )
    place = 'ILSVRC2015_VID_train_0000/ILSVRC2015_train_00001000/000002.xml'
    assert index.skipped == {'target absent': (1, [place])}


def test_det_reads_all_annotations(folder: Path) -> None:
    index = open_index(DET, folder)
    assert index.starts.tolist() == [0, 1, 2, 3, 4, 5]
    assert index.frames.tolist() == [0] * 5
    first, *others = (in_whole_pixels(render_scene(1, seed=s))[0] for s in (1, 2, 3, 4))
    assert index.boxes.tolist() == [list(box) for box in (first, STILL, *others)]
    root = folder / 'Data/DET/train'
    assert index.image_path(0) == root / 'ILSVRC2013_train/n01440764/n01440764_1.JPEG'
    assert index.image_path(4) == root / 'ILSVRC2014_train_0000/ILSVRC2014_train_00000004.JPEG'
    place = 'ILSVRC2014_train_0000/ILSVRC2014_train_00000005.xml'
    assert index.skipped == {'empty annotation': (1, [place])}


@pytest.mark.parametrize(
    ('training_set', 'count', 'damaged'),
    [
        (VID, 17, 'ILSVRC2015_train_00003000/000004.JPEG'),
        (DET, 4, 'ILSVRC2014_train_00000003.JPEG'),
    ],
)
def test_names_the_truncated_image(
    folder: Path, training_set: TrainingSet, count: int, damaged: str
) -> None:
    paths, unreadable = open_index(training_set, folder).image_paths(), []
    for path in paths:
        try:
            assert read_image(path).shape == (240, 320, 3)
        except ImageError:
            unreadable.append(path)
    assert len(paths) == count
    assert [str(path).endswith(damaged) for path in unreadable] == [True]


def test_vid_skips_unusable_annotations(folder: Path) -> None:
    annotations = folder / f'Annotations/VID/train/{SECOND}'
    text = (annotations / '000005.xml').read_text()
    assert text.count('<xmax>70</xmax>') == 1
    changes = {
        '000000.xml': text.replace('<xmax>70</xmax>', '<xmax>20</xmax>'),
        '000001.xml': text.replace('<trackid>1</trackid>', ''),
        '000002.xml': text[:-20],
        '000003.xml': text.replace('<xmax>70</xmax>', '<xmax>seventy</xmax>'),
        'index.xml': text,
    }
    for name, changed in changes.items():
        (annotations / name).write_text(changed)
    images = folder / f'Data/VID/train/{SECOND}'
    (images / '000004.JPEG').rename(images / 'index.JPEG')
    index = open_index(VID, folder)
    assert index.frames[5:8].tolist() == [0, 5, 5]  # two of the first track, one of the second
    assert index.starts.tolist() == [0, 5, 7, 8, 14]
    damaged = [f'{SECOND}/{name}.xml' for name in ('000001', '000002', '000003', 'index')]
    del index.skipped['target absent']
    assert index.skipped == {
        'empty box': (1, [f'{SECOND}/000000.xml']),
        'damaged annotation': (4, damaged),
        'missing image': (1, [f'{SECOND}/000004.xml']),
    }


def test_a_linked_folder_is_read(folder: Path) -> None:
    part = folder / 'Annotations/DET/train/ILSVRC2013_train'
    part.rename(folder / 'elsewhere')
    part.symlink_to(folder / 'elsewhere')
    assert len(open_index(DET, folder)) == 5


def test_a_folder_without_images(folder: Path) -> None:
    (folder / 'Data/DET/train/ILSVRC2013_train').rename(folder / 'elsewhere')
    index = open_index(DET, folder)
    assert len(index) == 2
    assert index.skipped['missing image'][0] == 2


@pytest.mark.parametrize('training_set', [VID, DET])
@pytest.mark.parametrize('part', ['Annotations', 'Data'])
def test_names_a_missing_part(folder: Path, training_set: TrainingSet, part: str) -> None:
    missing = f'{part}/{training_set.name.upper()}/train'
    (folder / missing).rename(folder / 'elsewhere')
    with pytest.raises(DataError, match=f'{missing}: No such .* https://image-net.org'):
        open_index(training_set, folder)
    (folder / missing).mkdir()
    if part == 'Annotations':
        with pytest.raises(DataError, match=f'{missing}: no (videos|annotations); '):
            open_index(training_set, folder)
