"""The VOT sets in their published layout, and with annotations only, as with raw results."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.datasets.vot import read_vot
from siamffn_model.errors import DataError

from .published_benchmarks import FRAMES, corners, write_rows, write_vot


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write the set."""
    write_vot(tmp_path)
    return tmp_path


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    """Write annotations without images, of 3 frames each."""
    (tmp_path / 'anno').mkdir()
    write_rows(tmp_path / 'anno/ants1.txt', ['1,2,3,4,5,6,7,8'] * 3)
    write_rows(tmp_path / 'anno/conduction1.txt', ['10,20,5,7.5'] * 3)
    rows = ['conduction1,3,1280,720,x,y', 'ants1,3,480,360,x,y']
    write_rows(tmp_path / 'sequences.csv', ['name,count,width,height,first,last', *rows])
    return tmp_path


def test_reads_the_published_layout(folder: Path) -> None:
    """Sequences are in the order of list.txt; rows of bag are boxes, those of ants1 corners."""
    sequences = read_vot(folder, True)
    assert [sequence.name for sequence in sequences] == ['bag', 'ants1']
    for sequence, seed in zip(sequences, (2, 1)):
        images, boxes = render_scene(FRAMES, seed=seed)
        np.testing.assert_allclose(sequence.truth, [corners(box) for box in boxes], atol=2e-4)
        assert sequence.size == (320, 240)
        assert sequence.origin == 0
        assert sequence.frames is not None
        for read, image in zip(sequence.frames, images, strict=True):
            assert np.abs(read.astype(int) - image).mean() < 5  # JPEG


def test_without_list_txt_reads_all_folders(folder: Path) -> None:
    (folder / 'list.txt').unlink()
    (folder / 'notes').mkdir()
    assert [sequence.name for sequence in read_vot(folder, True)] == ['ants1', 'bag']


def test_size_is_read_from_the_first_image(folder: Path) -> None:
    for image in (folder / 'bag').glob('*[2-9].jpg'):
        image.unlink()
    bag = read_vot(folder, False)[0]
    assert (bag.frames, bag.size, bag.truth.shape) == (None, (320, 240), (FRAMES, 8))


def test_size_must_be_known(folder: Path) -> None:
    shutil.rmtree(folder / 'ants1/color')
    with pytest.raises(DataError, match=r'ants1/00000001.jpg: missing, .* put sequences.csv with'):
        read_vot(folder, False)
    rows = ['ants1,5,640,480', 'bag,5,1,1']
    write_rows(folder / 'sequences.csv', ['name,count,width,height', *rows])
    bag, ants1 = read_vot(folder, False)
    assert (bag.size, ants1.size) == ((320, 240), (640, 480))


def test_reads_annotations_without_images(annotations: Path) -> None:
    conduction1, ants1 = read_vot(annotations, False)
    assert (conduction1.name, conduction1.size) == ('conduction1', (1280, 720))
    assert (ants1.name, ants1.size) == ('ants1', (480, 360))
    assert conduction1.truth.tolist() == [[10, 20, 15, 20, 15, 27.5, 10, 27.5]] * 3
    assert ants1.truth.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8]] * 3
    with pytest.raises(DataError, match='conduction1: no such folder of images; restore'):
        read_vot(annotations, True)


@pytest.mark.parametrize('row', ['1,2,3', '1,2,3,nan', '1,2,3,4,5,6,7,inf', 'm0,0,2,2', ''])
def test_invalid_row_is_named(annotations: Path, row: str) -> None:
    write_rows(annotations / 'anno/ants1.txt', ['1,2,3,4', row, '1,2,3,4'])
    with pytest.raises(DataError, match=rf"ants1.txt: row 2 is '{row}'; each row must be x1,y1"):
        read_vot(annotations, False)


def test_empty_annotation_is_named(annotations: Path) -> None:
    write_rows(annotations / 'anno/ants1.txt', [])
    with pytest.raises(DataError, match=r'ants1.txt: empty; restore'):
        read_vot(annotations, False)


def test_wrong_number_of_rows_is_named(annotations: Path) -> None:
    write_rows(annotations / 'anno/ants1.txt', ['1,2,3,4'] * 2)
    with pytest.raises(DataError, match=r'ants1.txt: 2 rows, but the benchmark has 3 frames'):
        read_vot(annotations, False)


@pytest.mark.parametrize('row', ['ants1,3,wide,360', 'ants1,3'])
def test_invalid_table_is_named(annotations: Path, row: str) -> None:
    write_rows(annotations / 'sequences.csv', ['name,count,width,height', row])
    with pytest.raises(DataError, match=r'sequences.csv: line 2 is not name,count,width,height'):
        read_vot(annotations, False)


def test_missing_image_is_named(folder: Path) -> None:
    (folder / 'ants1/color/00000003.jpg').unlink()
    with pytest.raises(DataError, match=r'ants1/groundtruth.txt: 5 rows for 4 images in .*color'):
        read_vot(folder, True)


def test_missing_annotation_is_named(folder: Path) -> None:
    (folder / 'bag/groundtruth.txt').unlink()
    with pytest.raises(DataError, match=r'bag/groundtruth.txt: no such file, nor .*anno/bag.txt'):
        read_vot(folder, True)


def test_folder_without_sequences(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='no sequences; expected folders with images'):
        read_vot(tmp_path, False)


@pytest.mark.parametrize(('year', 'frames'), [(2018, 21356), (2019, 19935)])
def test_real_annotations(shared: Path, year: int, frames: int) -> None:
    sequences = read_vot(shared / f'data/bench_vot/VOT{year}', False)
    assert len(sequences) == 60
    assert sum(len(sequence.truth) for sequence in sequences) == frames
    for sequence in sequences:
        assert sequence.truth.shape[1] == 8
        assert sequence.size is not None and min(sequence.size) >= 100
    conduction1 = next(s for s in sequences if s.name == 'conduction1')
    assert conduction1.truth[0].tolist() == [712, 231, 734, 231, 734, 255, 712, 255]
