"""COCO in its published layout: which annotations are used, and which are skipped."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siamffn_model.datasets.coco import COCO
from siamffn_model.datasets.index import open_index
from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.errors import DataError, DependencyError, ImageError
from siamffn_model.imaging.image import read_image

from .published import STILL, write_coco

ANNOTATIONS = 'annotations/instances_train2017.json'


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Write the set; the cache is empty."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    write_coco(tmp_path / 'set')
    return tmp_path / 'set'


def test_reads_all_annotations(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = open_index(COCO, folder)
    assert capsys.readouterr().out == ''
    assert index.starts.tolist() == [0, 1, 2, 3, 4, 5]
    assert index.frames.tolist() == [0] * 5
    first, *others = (render_scene(1, seed=seed).boxes[0] for seed in (1, 2, 3, 4))
    assert np.allclose(index.boxes, [first, STILL, *others], atol=0.006)
    assert index.image_path(2) == folder / 'train2017/000000000002.jpg'
    assert index.skipped == {'empty annotation': (1, ['000000000005.jpg'])}


def test_names_the_truncated_image(folder: Path) -> None:
    images = open_index(COCO, folder).image_paths()
    assert [path.name for path in images] == [f'{number:012d}.jpg' for number in (1, 2, 3, 4)]
    with pytest.raises(ImageError, match=r'000000000003\.jpg'):
        read_image(images.pop(2))
    assert [read_image(path).shape for path in images] == [(240, 320, 3)] * 3


def test_reports_skipped_annotations(folder: Path) -> None:
    content: dict[str, Any] = json.loads((folder / ANNOTATIONS).read_text())
    content['annotations'][0]['iscrowd'] = 1
    content['annotations'][1]['bbox'][3] = 0.0
    content['images'].reverse()
    (folder / ANNOTATIONS).write_text(json.dumps(content))
    (folder / 'train2017/000000000002.jpg').unlink()
    index = open_index(COCO, folder)
    assert [path.name for path in index.image_paths()] == ['000000000003.jpg', '000000000004.jpg']
    assert index.skipped == {
        'crowd': (1, ['000000000001.jpg annotation 100']),
        'empty box': (1, ['000000000001.jpg annotation 101']),
        'missing image': (1, ['000000000002.jpg']),
        'empty annotation': (1, ['000000000005.jpg']),
    }


@pytest.mark.parametrize(
    'content',
    [
        '{"images": [',
        '[]',
        '{"images": [{}]}',
        '{"images": [{"id": 1, "file_name": "000000000001.jpg"}], '
        '"annotations": [{"id": 1, "image_id": 1, "iscrowd": 0, "bbox": [1, 2]}]}',
    ],
)
def test_names_a_damaged_file(folder: Path, content: str) -> None:
    (folder / ANNOTATIONS).write_text(content)
    with pytest.raises(DataError, match=rf'set/{ANNOTATIONS}: damaged \(.*; unpack it again'):
        open_index(COCO, folder)


@pytest.mark.parametrize('name', ['annotations', 'train2017'])
def test_names_a_missing_part(folder: Path, name: str) -> None:
    (folder / name).rename(folder / 'elsewhere')
    with pytest.raises(DataError, match=f'set/{name}.*: no such .* from https://cocodataset.org'):
        open_index(COCO, folder)


def test_names_a_missing_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'pycocotools.coco', None)
    with pytest.raises(DependencyError, match=r'pycocotools is not installed: .* \[train\]'):
        open_index(COCO, folder)
