"""A folder of sequences: what is read, and which faults are named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from siamffn_model.datasets.sequences import read_sequences
from siamffn_model.errors import DataError, ImageError


def test_reads_all_sorted_by_name(sequence_folder: Path) -> None:
    (sequence_folder / 'README.md').write_text('not a sequence')
    (sequence_folder / '.cache').mkdir()
    sequences = read_sequences(sequence_folder)
    assert [sequence.name for sequence in sequences] == ['clip1', 'clip2']
    for sequence in sequences:
        assert sequence.frames is not None
        assert len(list(sequence.frames)) == 30
        assert sequence.truth.shape == (30, 4)


def test_truth_is_nan_where_the_target_is_absent(sequence_folder: Path) -> None:
    clip2 = read_sequences(sequence_folder)[1]
    assert np.flatnonzero(np.isnan(clip2.truth).all(axis=1)).tolist() == [10, 11, 12, 13]
    row = (sequence_folder / 'clip2/groundtruth.txt').read_text().splitlines()[14]
    assert clip2.truth[14].tolist() == [float(value) for value in row.split(',')]


def test_reads_annotations_without_images(sequence_folder: Path) -> None:
    complete = read_sequences(sequence_folder)
    for name in ('clip1', 'clip2'):
        shutil.rmtree(sequence_folder / name / 'img')
    for sequence, expected in zip(read_sequences(sequence_folder, images=False), complete):
        assert sequence.frames is None
        np.testing.assert_array_equal(sequence.truth, expected.truth)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='nowhere: no such folder'):
        read_sequences(tmp_path / 'nowhere')


def test_folder_without_sequences(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='no sequences; expected folders'):
        read_sequences(tmp_path)


def test_one_sequence_instead_of_a_folder_of_sequences(sequence_folder: Path) -> None:
    with pytest.raises(DataError, match='clip1: this is one sequence; give the folder that cont'):
        read_sequences(sequence_folder / 'clip1')


def test_missing_image_is_named(sequence_folder: Path) -> None:
    (sequence_folder / 'clip2' / 'img' / '000007.jpg').unlink()
    with pytest.raises(DataError, match=r'clip2/groundtruth.txt: 30 rows for 29 images'):
        read_sequences(sequence_folder)


def test_damaged_first_image_is_named(sequence_folder: Path) -> None:
    (sequence_folder / 'clip2' / 'img' / '000001.jpg').write_bytes(b'JFIF')
    with pytest.raises(ImageError, match=r'clip2/img/000001.jpg: damaged'):
        read_sequences(sequence_folder)


def test_missing_ground_truth_is_named(sequence_folder: Path) -> None:
    (sequence_folder / 'clip2' / 'groundtruth.txt').unlink()
    with pytest.raises(DataError, match=r'clip2/groundtruth.txt: missing; .* for each image'):
        read_sequences(sequence_folder)


def test_missing_images_are_named(sequence_folder: Path) -> None:
    shutil.rmtree(sequence_folder / 'clip1' / 'img')
    with pytest.raises(DataError, match='clip1: no folder img'):
        read_sequences(sequence_folder)


def test_no_box_to_start_from(sequence_folder: Path) -> None:
    file = sequence_folder / 'clip1' / 'groundtruth.txt'
    rows = file.read_text().splitlines()
    file.write_text('\n'.join(['nan,nan,nan,nan', *rows[1:]]))
    with pytest.raises(DataError, match=r'clip1/groundtruth.txt: row 1 is not a box'):
        read_sequences(sequence_folder)
