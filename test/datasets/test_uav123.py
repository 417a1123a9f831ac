"""UAV20L and UAV123 in their published layout, and with annotations only, as with raw results."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from siamffn_model.datasets.sequences import Sequence
from siamffn_model.datasets.uav123 import read_uav20l, read_uav123
from siamffn_model.errors import DataError
from siamffn_model.imaging.sources import ImageFiles

from .published_benchmarks import box_of, uav_ranges, write_rows, write_uav


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write the annotations of UAV20L."""
    write_uav(tmp_path, 'UAV20L')
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ('title', 'read', 'count', 'total'),
    [('UAV20L', read_uav20l, 20, 58670), ('UAV123', read_uav123, 123, 112578)],
)
def test_reads_the_published_layout(
    tmp_path: Path,
    title: str,
    read: Callable[[Path, bool], list[Sequence]],
    count: int,
    total: int,
) -> None:
    write_uav(tmp_path, title, images=True)
    sequences = read(tmp_path, True)
    assert (len(sequences), sum(len(s.truth) for s in sequences)) == (count, total)
    for sequence in sequences:
        video, first, last = uav_ranges(title)[sequence.name]
        assert isinstance(sequence.frames, ImageFiles)
        assert len(sequence.frames.files) == len(sequence.truth) == last - first + 1
        images = tmp_path / 'data_seq/UAV123' / video
        assert sequence.frames.files[0] == images / f'{first:06d}.jpg'
        assert sequence.frames.files[-1] == images / f'{last:06d}.jpg'
        assert sequence.truth[0].tolist() == [*box_of(first)]
        assert np.isnan(sequence.truth[1]).all()
        assert sequence.truth[-1].tolist() == [*box_of(last)]
        assert sequence.attributes == ('SV', 'OV', 'SOB')
        assert sequence.origin == 0


def test_parts_of_a_video() -> None:
    """In UAV123, bird1_2 is frames 775 to 1477 of bird1, but car1_s is a complete video."""
    ranges = uav_ranges('UAV123')
    assert ranges['bird1_2'] == ('bird1', 775, 1477)
    assert ranges['car1_s'] == ('car1_s', 1, 1475)
    assert ranges['wakeboard10'] == ('wakeboard10', 1, 469)


@pytest.mark.parametrize('place', ['anno', ''])
def test_reads_annotations_without_images(folder: Path, tmp_path: Path, place: str) -> None:
    annotations = tmp_path / 'annotations'
    shutil.move(folder / 'anno/UAV20L', annotations / place)
    shutil.move(annotations / place / 'att', annotations / 'att')
    for sequence in read_uav20l(annotations, False):
        assert sequence.frames is None
        assert sequence.attributes == ('SV', 'OV', 'SOB')
        assert sequence.truth[-1].tolist() == [*box_of(uav_ranges('UAV20L')[sequence.name][2])]


def test_set_without_attributes(folder: Path) -> None:
    shutil.rmtree(folder / 'anno/UAV20L/att')
    assert {sequence.attributes for sequence in read_uav20l(folder, False)} == {()}


def test_one_missing_attribute_file_is_named(folder: Path) -> None:
    (folder / 'anno/UAV20L/att/car9.txt').unlink()
    with pytest.raises(DataError, match=r'UAV20L/att/car9.txt: no such file.*restore it'):
        read_uav20l(folder, False)


@pytest.mark.parametrize('row', ['1,0,1', '1,0,0,0,0,0,1,0,0,0,0,2', 'SV,OV'])
def test_damaged_attribute_file_is_named(folder: Path, row: str) -> None:
    write_rows(folder / 'anno/UAV20L/att/car9.txt', [row])
    with pytest.raises(DataError, match=r'car9.txt: must contain 12 numbers 0 or 1, for SV ARC LR'):
        read_uav20l(folder, False)


def test_missing_annotation_is_named(folder: Path) -> None:
    (folder / 'anno/UAV20L/uav1.txt').unlink()
    with pytest.raises(DataError, match=r'UAV20L/uav1.txt: no such file, nor .*; restore it'):
        read_uav20l(folder, False)


@pytest.mark.parametrize('count', [3084, 3086])
def test_wrong_number_of_rows_is_named(folder: Path, count: int) -> None:
    write_rows(folder / 'anno/UAV20L/bike1.txt', ['1,2,3,4'] * count)
    with pytest.raises(DataError, match=rf'bike1.txt: {count} rows, but .* has 3085 frames'):
        read_uav20l(folder, False)


@pytest.mark.slow
def test_missing_image_is_named(tmp_path: Path) -> None:
    """Image 5000 is missing in all videos, but only group3 needs it."""
    write_uav(tmp_path, 'UAV20L', images=True)
    shared = tmp_path / 'data_seq/images_5527'
    (shared / '005000.jpg').unlink()
    with pytest.raises(
        DataError, match=r'group3/005000.jpg: missing \(1 of 5527 images, .*restore'
    ):
        read_uav20l(tmp_path, True)
    shutil.copy(shared / '000001.jpg', shared / '005000.jpg')
    (tmp_path / 'data_seq/UAV123/group1').unlink()
    with pytest.raises(DataError, match=r'UAV123/group1: no such folder of images; restore'):
        read_uav20l(tmp_path, True)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='nowhere: no such folder'):
        read_uav20l(tmp_path / 'nowhere', False)


def test_real_annotations(shared: Path) -> None:
    folder = shared / 'data/bench_uav20l'
    sequences = {sequence.name: sequence for sequence in read_uav20l(folder, False)}
    with (folder / 'sequences.csv').open(newline='') as file:
        rows = {row['name']: row for row in csv.DictReader(file)}
    assert sequences.keys() == rows.keys()
    assert sum(len(sequence.truth) for sequence in sequences.values()) == 58670
    for name, sequence in sequences.items():
        absent = np.isnan(sequence.truth).any(axis=1).sum()
        expected = int(rows[name]['count']), int(rows[name]['nan_gt_frames'])
        assert (len(sequence.truth), absent) == expected
    with (folder / 'expected_attributes.csv').open(newline='') as file:
        counts = {row['attribute']: int(row['sequences']) for row in csv.DictReader(file)}
    assert Counter(a for sequence in sequences.values() for a in sequence.attributes) == counts
