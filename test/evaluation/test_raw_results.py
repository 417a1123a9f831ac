"""Tests of reading result files: zip files and folders, separators and spellings."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siamffn_model.errors import DataError
from siamffn_model.evaluation.raw_results import (
    find_trackers,
    format_boxes,
    parse_boxes,
    read_texts,
)

OTB = ['basketball', 'jogging_1', 'jogging_2', 'human4_2', 'skating1', 'skating2_1', 'skating2_2']


def write(folder: Path, names: list[str], text: str = '1,2,3,4\n') -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def write_zip(path: Path, names: list[str], text: str = '1,2,3,4\n') -> Path:
    with zipfile.ZipFile(path, 'w') as archive:
        for name in names:
            archive.writestr(name, text)
    return path


# --- trackers


def test_path_is_a_tracker_or_a_folder_of_trackers(tmp_path: Path) -> None:
    alone = write(tmp_path / 'alone', ['a.txt', 'b.txt'])
    many = tmp_path / 'many'
    write(many / 'KCF', ['a.txt'])
    write(many / 'got', ['a/a_001.txt', 'a/a_time.txt'])
    write(many / 'vot', ['baseline/a/a_001.txt'])
    write_zip(many / 'SiamBAN v2.zip', ['results/a.txt'])
    (many / 'notes.md').write_text('none')
    (many / '.hidden').mkdir()
    assert find_trackers([alone, many], ['a', 'b']) == {
        'alone': alone,
        'KCF': many / 'KCF',
        'SiamBAN v2': many / 'SiamBAN v2.zip',
        'got': many / 'got',
        'vot': many / 'vot',
    }


def test_two_trackers_with_the_same_name_raise(tmp_path: Path) -> None:
    one = write(tmp_path / 'one/KCF', ['a.txt'])
    other = write_zip(tmp_path / 'KCF.zip', ['a.txt'])
    with pytest.raises(DataError, match=r'KCF\.zip: .*one/KCF also has results of KCF'):
        find_trackers([one, other], ['a'])


def test_path_without_results_raises(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='nowhere: no such folder or zip'):
        find_trackers([tmp_path / 'nowhere'], ['a'])
    write(tmp_path, ['other.txt'])
    with pytest.raises(DataError, match=r'no results; expected files a ... ending in \.txt'):
        find_trackers([tmp_path], ['a'])


# --- files


@pytest.mark.parametrize(
    'names',
    [
        [f'{name}.txt' for name in OTB],
        ['Basketball.txt', 'Jogging-1.txt', 'Jogging.2.txt', 'Human4.txt', 'Skating1.txt',
         'Skating2_1.txt', 'Skating2-2.txt'],
        [f'{name}/{name}_001.txt' for name in OTB],
    ],
)  # fmt: skip
def test_spellings(tmp_path: Path, names: list[str]) -> None:
    for source in (write(tmp_path / 'x', names), write_zip(tmp_path / 'x.zip', names)):
        found = read_texts(source, OTB)
        assert sorted(found) == sorted(OTB)
        assert all(text == '1,2,3,4\n' for _, text in found.values())


def test_similar_names_are_distinguished(tmp_path: Path) -> None:
    """In UAV123, car11 and car1_1 are different sequences."""
    names = ['car1_1', 'car1_2', 'car11', 'car1_s', 'car1']
    for name in names:
        write(tmp_path, [f'{name}.txt'], name)
    assert {name: text for name, (_, text) in read_texts(tmp_path, names).items()} == {
        name: name for name in names
    }


def test_other_files_are_ignored(tmp_path: Path) -> None:
    names = ['a.txt', '__MACOSX/a.txt', '._a.txt', 'a_time.txt', 'a_002.txt', 'readme.txt']
    for source in (write(tmp_path / 'x', names), write_zip(tmp_path / 'x.zip', names)):
        assert list(read_texts(source, ['a'])) == ['a']


def test_only_the_baseline_of_vot_is_read(tmp_path: Path) -> None:
    write(tmp_path, ['baseline/a/a_001.txt'], 'baseline')
    write(tmp_path, ['realtime/a/a_001.txt', 'unsupervised/a/a_001.txt'], 'other')
    assert read_texts(tmp_path, ['a'])['a'][1] == 'baseline'


def test_missing_and_duplicate_sequences_raise(tmp_path: Path) -> None:
    write(tmp_path, ['Skating1.txt'])
    message = r'no result for 6 of 7 sequences \(basketball, jogging_1, .*, skating2_1 \.\.\.\)'
    with pytest.raises(DataError, match=message):
        read_texts(tmp_path, OTB)
    write(tmp_path, ['skating1/skating1_001.txt'])
    with pytest.raises(
        DataError, match=r'Skating1\.txt is also a result of skating1|skating1_001\.txt is also a'
    ):
        read_texts(tmp_path, OTB)


def test_damaged_zip_raises(tmp_path: Path) -> None:
    data_of_zip = write_zip(tmp_path / 'x.zip', ['a.txt']).read_bytes()
    for data in (b'', b'no zip', data_of_zip[:50]):
        (tmp_path / 'x.zip').write_bytes(data)
        with pytest.raises(DataError, match=r'x\.zip: cannot be read'):
            read_texts(tmp_path / 'x.zip', ['a'])


# --- rows


@pytest.mark.parametrize('separator', [',', ', ', '\t', ' ', '   ', ';'])
@pytest.mark.parametrize('line_end', ['\n', '\r\n'])
@pytest.mark.parametrize('end', ['', '\n', '\n\n'])
def test_separators(separator: str, line_end: str, end: str) -> None:
    rows = [['1', '2.5', '3', '4'], ['NaN'] * 4, ['-5e1', '+6', '0', '1e-3']]
    text = line_end.join(separator.join(row) for row in rows) + end
    expected = [[1, 2.5, 3, 4], [np.nan] * 4, [-50, 6, 0, 0.001]]
    assert np.array_equal(parse_boxes(text, 'x'), expected, equal_nan=True)


@pytest.mark.parametrize('row', ['1,2,3', '1,2,3,4,5', 'a,b,c,d', '1,2,3,4,5,6,7,8', '1'])
def test_row_that_is_not_a_box_raises(row: str) -> None:
    with pytest.raises(
        DataError, match=rf"KCF\.zip: a\.txt: row 2 is '{row.replace(',', ' ')}'; each row must be"
    ):
        parse_boxes(f'1,2,3,4\n{row}\n1,2,3,4\n', 'KCF.zip: a.txt')


def test_row_lengths_are_checked_row_by_row() -> None:
    with pytest.raises(DataError, match="row 1 is '1 2 3'"):
        parse_boxes('1,2,3\n4,5,6,7,8\n', 'x')


@pytest.mark.parametrize('text', ['', '\n\n', ' '])
def test_empty_file_raises(text: str) -> None:
    with pytest.raises(DataError, match='x: the file has no rows'):
        parse_boxes(text, 'x')


numbers = st.floats(-5000, 5000)


@given(st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=1, max_size=20))
def test_written_boxes_are_read_back(boxes: list[tuple[float, ...]]) -> None:
    given = np.array(boxes)
    assert np.abs(parse_boxes(format_boxes(given), 'x') - given).max() <= 0.5001e-4
