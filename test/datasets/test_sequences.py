from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from siamffn_model.datasets.sequences import open_sequences
from siamffn_model.errors import DataError


def test_opens_all_by_name(sequence_folder: Path) -> None:
    (sequence_folder / 'README.md').write_text('not a sequence')
    (sequence_folder / '.cache').mkdir()
    sequences = open_sequences(str(sequence_folder))
    assert list(sequences) == ['clip1', 'clip2']
    assert [frames.count for frames in sequences.values()] == [30, 30]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='nowhere: no such folder'):
        open_sequences(tmp_path / 'nowhere')


def test_folder_without_sequences(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='no sequences; expected folders'):
        open_sequences(tmp_path)


def test_one_sequence_in_the_place_of_many(sequence_folder: Path) -> None:
    with pytest.raises(DataError, match='clip1: this is one sequence; give the folder that holds'):
        open_sequences(sequence_folder / 'clip1')


def test_missing_image_is_named(sequence_folder: Path) -> None:
    (sequence_folder / 'clip2' / 'img' / '000007.jpg').unlink()
    with pytest.raises(DataError, match=r'clip2/groundtruth.txt: 30 rows for 29 images'):
        open_sequences(sequence_folder)


def test_missing_ground_truth_is_named(sequence_folder: Path) -> None:
    (sequence_folder / 'clip2' / 'groundtruth.txt').unlink()
    with pytest.raises(DataError, match=r'clip2/groundtruth.txt: missing; .* each of 30 images'):
        open_sequences(sequence_folder)


def test_missing_images_are_named(sequence_folder: Path) -> None:
    shutil.rmtree(sequence_folder / 'clip1' / 'img')
    with pytest.raises(DataError, match='clip1: no folder img'):
        open_sequences(sequence_folder)


def test_no_box_to_start_from(sequence_folder: Path) -> None:
    file = sequence_folder / 'clip1' / 'groundtruth.txt'
    rows = file.read_text().splitlines()
    file.write_text('\n'.join(['nan,nan,nan,nan', *rows[1:]]))
    with pytest.raises(DataError, match=r'clip1/groundtruth.txt: row 1 is not a box'):
        open_sequences(sequence_folder)
