"""GOT-10k, validation part, in its published layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from siamffn_model.datasets.got10k_val import read_got10k_val
from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.errors import DataError

from .published_benchmarks import FRAMES, write_got10k_val, write_rows

NAMES = ['GOT-10k_Val_000001', 'GOT-10k_Val_000002']


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write the set."""
    write_got10k_val(tmp_path)
    return tmp_path


@pytest.mark.parametrize('place', ['', 'val'])
def test_reads_the_published_layout(folder: Path, place: str) -> None:
    sequences = read_got10k_val(folder / place, True)
    assert [sequence.name for sequence in sequences] == NAMES
    for seed, sequence in enumerate(sequences, 1):
        images, boxes = render_scene(FRAMES, seed=seed)
        expected = np.array(boxes, float)
        if seed == 2:
            expected[3] = np.nan
        np.testing.assert_allclose(sequence.truth, expected, atol=1e-4)
        assert sequence.frames is not None
        for read, image in zip(sequence.frames, images, strict=True):
            assert np.abs(read.astype(int) - image).mean() < 5  # JPEG


def test_without_list_txt_reads_all_folders(folder: Path) -> None:
    (folder / 'val/list.txt').unlink()
    assert [sequence.name for sequence in read_got10k_val(folder, False)] == NAMES


def test_reads_annotations_without_images(folder: Path) -> None:
    for image in folder.rglob('*.jpg'):
        image.unlink()
    sequences = read_got10k_val(folder, False)
    assert [sequence.frames for sequence in sequences] == [None, None]
    assert np.isnan(sequences[1].truth).any(axis=1).tolist() == [False, False, False, True, False]
    with pytest.raises(DataError, match='Val_000001: no images in this folder'):
        read_got10k_val(folder, True)


@pytest.mark.parametrize('rows', [['0'] * 4, ['0'] * 4 + ['x'], ['1'] + ['0'] * 4, []])
def test_invalid_label_file_is_named(folder: Path, rows: list[str]) -> None:
    write_rows(folder / 'val' / NAMES[0] / 'absence.label', rows)
    with pytest.raises(DataError, match=r'000001/absence.label: must contain 5 rows, .*; restore'):
        read_got10k_val(folder, False)


def test_missing_image_is_named(folder: Path) -> None:
    (folder / 'val' / NAMES[1] / '00000002.jpg').unlink()
    with pytest.raises(DataError, match=r'Val_000002/groundtruth.txt: 5 rows for 4 images'):
        read_got10k_val(folder, True)


@pytest.mark.parametrize('file', ['groundtruth.txt', 'absence.label'])
def test_missing_annotation_is_named(folder: Path, file: str) -> None:
    (folder / 'val' / NAMES[1] / file).unlink()
    with pytest.raises(DataError, match=rf'GOT-10k_Val_000002/{file}: '):
        read_got10k_val(folder, False)


def test_missing_sequence_is_named(folder: Path) -> None:
    shutil.rmtree(folder / 'val' / NAMES[1])
    with pytest.raises(DataError, match=r'GOT-10k_Val_000002/groundtruth.txt: missing'):
        read_got10k_val(folder, True)


def test_folder_without_sequences(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='no sequences; expected folders GOT-10k_Val_000001'):
        read_got10k_val(tmp_path, False)
