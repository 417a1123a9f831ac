"""The reader of the training pack."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from siamffn_model.datasets.pack import Pack
from siamffn_model.errors import DataError, ImageError


def test_reads_all_files(tiny_pack: Path) -> None:
    pack = Pack.read(tiny_pack)
    assert (len(pack.objects), len(pack.backgrounds)) == (3, 2)
    assert [frame.frame for frame in pack.videos['otb']['clip']] == [0, 1, 2, 3]
    item = pack.objects[0]
    mask = pack.mask(item.mask)
    assert mask.shape == pack.image(item.image).shape[:2]
    assert (mask > 0).sum() == item.box.area


@pytest.mark.parametrize('name', ['objects_2.tar', 'videos.csv'])
def test_names_a_missing_file(tiny_pack: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(tiny_pack, tmp_path / 'pack')
    (folder / name).unlink()
    with pytest.raises(DataError, match=name):
        Pack.read(folder)


def test_names_a_truncated_tar(tiny_pack: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_pack, tmp_path / 'pack')
    data = (folder / 'videos.tar').read_bytes()
    (folder / 'videos.tar').write_bytes(data[: len(data) // 3])
    with pytest.raises(DataError, match=r'videos\.tar'):
        Pack.read(folder)


def test_names_a_damaged_image(tiny_pack: Path) -> None:
    pack = Pack.read(tiny_pack)
    for data in (b'junk', b''):
        pack.files['objects/img/0.jpg'] = data
        with pytest.raises(ImageError, match=r'objects/img/0\.jpg of the pack is damaged'):
            pack.image('objects/img/0.jpg')
    with pytest.raises(DataError, match='contains no file nothing'):
        pack.image('nothing')


def test_the_real_pack(shared: Path) -> None:
    pack = Pack.read(shared / 'data/train')
    assert (len(pack.objects), len(pack.backgrounds)) == (5844, 1130)
    assert sum(len(frames) for s in pack.videos.values() for frames in s.values()) == 1952
