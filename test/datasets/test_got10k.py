"""GOT-10k in its published layout: which rows are used, and which are skipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siamffn_model.datasets.got10k import GOT10K
from siamffn_model.datasets.index import Index, open_index
from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.errors import DataError, ImageError
from siamffn_model.imaging.image import read_image

from .published import FRAMES, write_got10k


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Write the set; the cache is empty."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    write_got10k(tmp_path / 'set')
    return tmp_path / 'set'


def open_changed(folder: Path) -> tuple[Index, dict[str, list[str]]]:
    """Rebuild the index after a change to sequence 1; return it and what is skipped there."""
    index = open_index(GOT10K, folder, rebuild=True)
    skipped = {
        reason: selected
        for reason, (_, places) in index.skipped.items()
        if (selected := [place for place in places if place.startswith('GOT-10k_Train_000001')])
    }
    return index, skipped


def test_reads_all_annotations(folder: Path) -> None:
    index = open_index(GOT10K, folder)
    assert index.starts.tolist() == [0, 6, 11, 17, 23]
    assert index.frames.tolist() == [*range(1, 7), 1, 2, 3, 5, 6, *range(1, 7), *range(1, 7)]
    boxes = np.concatenate([render_scene(FRAMES, seed=seed).boxes for seed in (1, 2, 3, 4)])
    assert np.allclose(index.boxes, np.delete(boxes, 9, axis=0), atol=1e-4)
    assert index.image_path(9) == folder / 'train/GOT-10k_Train_000002/00000005.jpg'
    assert index.skipped == {
        'target absent': (1, ['GOT-10k_Train_000002 row 4']),
        'empty annotation': (1, ['GOT-10k_Train_000005']),
    }


def test_names_the_truncated_image(folder: Path) -> None:
    damaged = []
    for path in open_index(GOT10K, folder).image_paths():
        try:
            assert read_image(path).shape == (240, 320, 3)
        except ImageError:
            damaged.append(path)
    assert damaged == [folder / 'train/GOT-10k_Train_000003/00000005.jpg']


@pytest.mark.parametrize(
    ('file', 'value'), [('absence.label', '1'), ('cover.label', '0'), ('groundtruth.txt', 'absent')]
)
def test_skips_a_row_without_the_target(folder: Path, file: str, value: str) -> None:
    path = folder / 'train/GOT-10k_Train_000001' / file
    rows = path.read_text().splitlines()
    rows[2] = {'absent': 'nan,nan,nan,nan'}.get(value, value)
    path.write_text('\n'.join(rows) + '\n')
    index, skipped = open_changed(folder)
    reason = 'empty box' if value == 'absent' else 'target absent'
    assert skipped == {reason: ['GOT-10k_Train_000001 row 3']}
    assert index.frames[:5].tolist() == [1, 2, 4, 5, 6]


@pytest.mark.parametrize('row', ['1,2,0,4', '1,2,3,-4', 'inf,2,3,4', '1,2,inf,4'])
def test_skips_a_box_without_area(folder: Path, row: str) -> None:
    path = folder / 'train/GOT-10k_Train_000001/groundtruth.txt'
    rows = path.read_text().splitlines()
    path.write_text('\n'.join([*rows[:5], row]))
    assert open_changed(folder)[1] == {'empty box': ['GOT-10k_Train_000001 row 6']}


def test_without_labels_all_rows_are_used(folder: Path) -> None:
    for path in folder.glob('train/GOT-10k_Train_000001/*.label'):
        path.unlink()
    index, skipped = open_changed(folder)
    assert (index.starts[1], skipped) == (6, {})


def test_reports_rows_without_images_and_images_without_rows(folder: Path) -> None:
    sequence = folder / 'train/GOT-10k_Train_000001'
    (sequence / '00000002.jpg').rename(sequence / '00000009.jpg')
    index, skipped = open_changed(folder)
    assert skipped == {
        'missing image': ['GOT-10k_Train_000001 row 2'],
        'missing row': ['GOT-10k_Train_000001 00000009.jpg'],
    }
    assert index.frames[:5].tolist() == [1, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ('file', 'content'),
    [
        ('groundtruth.txt', b'1,2,3\n'),
        ('groundtruth.txt', b'\xff\xfe\xfd\n'),
        ('absence.label', b'0\n0\n0\n'),
        ('cover.label', b'8\nx\n8\n8\n8\n8\n'),
    ],
)
def test_skips_a_damaged_annotation(folder: Path, file: str, content: bytes) -> None:
    (folder / 'train/GOT-10k_Train_000001' / file).write_bytes(content)
    index, skipped = open_changed(folder)
    assert len(index) == 3
    assert skipped == {'damaged annotation': ['GOT-10k_Train_000001']}


def test_missing_and_unreadable_annotations(folder: Path) -> None:
    truth = folder / 'train/GOT-10k_Train_000001/groundtruth.txt'
    truth.unlink()
    assert open_changed(folder)[1] == {'missing annotation': ['GOT-10k_Train_000001']}
    truth.mkdir()  # a file that cannot be read
    with pytest.raises(DataError, match=r'GOT-10k_Train_000001/groundtruth\.txt: cannot be read'):
        open_index(GOT10K, folder, rebuild=True)
    (folder / 'bare/train').mkdir(parents=True)
    with pytest.raises(DataError, match=r'bare/train: no sequences; .* get the set from http'):
        open_index(GOT10K, folder / 'bare')
