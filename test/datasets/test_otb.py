"""OTB-2015 in its published layout, and with annotations only, as kept with raw results."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from siamffn_model.datasets.otb import read_otb2015
from siamffn_model.datasets.sequences import Sequence
from siamffn_model.errors import DataError
from siamffn_model.imaging.sources import ImageFiles

from .published_benchmarks import box_of, otb_ranges, row, write_otb, write_rows

ATTRIBUTES = {'IV', 'SV', 'OCC', 'DEF', 'MB', 'FM', 'IPR', 'OPR', 'OV', 'BC', 'LR'}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write the annotations."""
    write_otb(tmp_path / 'otb')
    return tmp_path / 'otb'


def read(folder: Path, images: bool = False) -> dict[str, Sequence]:
    return {sequence.name: sequence for sequence in read_otb2015(folder, images)}


IMAGES = {
    'basketball': ('Basketball/img/0001.jpg', 'Basketball/img/0725.jpg'),
    'board': ('Board/img/00001.jpg', 'Board/img/00698.jpg'),
    'david': ('David/img/0300.jpg', 'David/img/0770.jpg'),
    'tiger1': ('Tiger1/img/0006.jpg', 'Tiger1/img/0354.jpg'),
    'jogging_2': ('Jogging/img/0001.jpg', 'Jogging/img/0307.jpg'),
}


@pytest.mark.slow
def test_reads_the_published_layout(tmp_path: Path) -> None:
    write_otb(tmp_path / 'otb', images=True)
    sequences = read(tmp_path / 'otb', True)
    assert (len(sequences), sum(len(s.truth) for s in sequences.values())) == (100, 59035)
    for name, (_, first, last) in otb_ranges().items():
        sequence = sequences[name]
        assert isinstance(sequence.frames, ImageFiles)
        assert len(sequence.truth) == len(sequence.frames.files) == last - first + 1
        assert sequence.truth[0].tolist() == [*box_of(first)]
        assert sequence.truth[-1].tolist() == [*box_of(last)]
        assert sequence.origin == 1
        if name in IMAGES:
            ends = sequence.frames.files[0], sequence.frames.files[-1]
            assert ends == tuple(tmp_path / 'otb' / image for image in IMAGES[name])


def test_each_target_has_its_own_file(folder: Path) -> None:
    for path in ('Jogging/groundtruth_rect.2.txt', 'Skating2/groundtruth_rect.1.txt'):
        rows = (folder / path).read_text().splitlines()
        write_rows(folder / path, ['7,8,9,10', *rows[1:]])
    write_rows(folder / 'Human4/groundtruth_rect.txt', [])  # an empty file, as published
    names = {name for name, s in read(folder).items() if s.truth[0].tolist() == [7, 8, 9, 10]}
    assert names == {'jogging_2', 'skating2_1'}


def test_separators_may_differ_in_a_file(folder: Path) -> None:
    """Row 496 of the published BlurCar1 is such a case."""
    rows = [row(number, '\t') for number in range(247, 989)]
    rows[495] = '12 34 56 78'
    write_rows(folder / 'BlurCar1/groundtruth_rect.txt', rows)
    truth = read(folder)['blurCar1'].truth
    assert truth[495].tolist() == [12, 34, 56, 78]
    assert truth[496].tolist() == [*box_of(743)]


def test_attributes(folder: Path) -> None:
    """Check the first and the last sequence in the authors' list."""
    sequences = read(folder)
    assert sequences['basketball'].attributes == ('IV', 'OCC', 'DEF', 'OPR', 'BC')
    assert sequences['woman'].attributes == ('IV', 'SV', 'OCC', 'DEF', 'MB', 'FM', 'OPR')
    assert all(sequence.attributes for sequence in sequences.values())
    assert {a for sequence in sequences.values() for a in sequence.attributes} == ATTRIBUTES


@pytest.mark.parametrize('place', ['anno', ''])
def test_reads_annotations_without_images(tmp_path: Path, place: str) -> None:
    folder = tmp_path / 'annotations' / place
    folder.mkdir(parents=True)
    for name, (_, first, last) in otb_ranges().items():
        write_rows(folder / f'{name}.txt', [row(number) for number in range(first, last + 1)])
    for name, sequence in read(tmp_path / 'annotations').items():
        assert sequence.frames is None
        assert sequence.truth[-1].tolist() == [*box_of(otb_ranges()[name][2])]


def test_missing_annotation_is_named(folder: Path) -> None:
    (folder / 'Jogging/groundtruth_rect.2.txt').unlink()
    with pytest.raises(DataError, match=r'Jogging/groundtruth_rect.2.txt: no such file, nor .*;'):
        read(folder)


@pytest.mark.parametrize('count', [470, 472, 769])
def test_wrong_number_of_rows_is_named(folder: Path, count: int) -> None:
    write_rows(folder / 'David/groundtruth_rect.txt', ['1,2,3,4'] * count)
    with pytest.raises(DataError, match=rf'David/.*.txt: {count} rows, but .* 471 frames'):
        read(folder)


def test_missing_image_is_named(tmp_path: Path) -> None:
    write_otb(tmp_path / 'otb', images=True)
    (tmp_path / 'images_698/00500.jpg').unlink()
    with pytest.raises(DataError, match=r'Board/img/00500.jpg: missing .*; restore'):
        read(tmp_path / 'otb', True)


def test_real_annotations(shared: Path) -> None:
    folder = shared / 'data/bench_otb100'
    sequences = read(folder)
    with (folder / 'sequences.csv').open(newline='') as file:
        rows = {row['name']: row for row in csv.DictReader(file)}
    assert sequences.keys() == rows.keys()
    assert sum(len(sequence.truth) for sequence in sequences.values()) == 59035
    for name, sequence in sequences.items():
        odd = int((~(sequence.truth > 0)).any(axis=1).sum())  # NaN without area
        expected = rows[name]['count'], rows[name]['rows_with_value_not_above_zero']
        assert (str(len(sequence.truth)), str(odd)) == expected
    expected_ranges = {
        name: (row['folder'], int(row['start_frame']), int(row['end_frame']))
        for name, row in rows.items()
    }
    assert otb_ranges() == expected_ranges
