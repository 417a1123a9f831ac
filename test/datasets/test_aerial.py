"""The reader of the aerial pack."""

from __future__ import annotations

from pathlib import Path

import pytest

from siamffn_model.datasets.aerial import AerialPack
from siamffn_model.datasets.check import check_sets
from siamffn_model.errors import DataError
from siamffn_model.imaging.geometry import Box

from .aerial import write_aerial


def test_reads_targets_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_aerial(tmp_path / 'aerial')
    pack = AerialPack.read(folder)
    found = [(t.image, t.track) for listed in pack.targets['kit-ais'].values() for t in listed]
    assert found == [
        ('kit-ais/x_1.jpg', 'a'),
        ('kit-ais/x_1.jpg', 'b'),
        ('kit-ais/x_3.jpg', 'a'),
        ('kit-ais/x_9.jpg', 'a'),
    ]
    target = pack.targets['minsk-aerial']['minsk-aerial/y.jpg'][0]
    assert (target.kind, target.box) == ('still', Box(30, 40, 24, 16))
    assert pack.image(target.image).shape == (130, 160, 3)
    assert check_sets({'aerial': folder})
    assert 'aerial: 6 targets in 4 images\n  0 of 4 images damaged' in capsys.readouterr().out


def test_names_what_is_missing(tmp_path: Path) -> None:
    folder = write_aerial(tmp_path / 'aerial')
    (folder / 'boxes.csv').write_text('image,frame,track,class,x,y,w,h,occluded,source\n')
    with pytest.raises(DataError, match=r'boxes\.csv lists no target'):
        AerialPack.read(folder)
    (folder / 'aerial.tar').unlink()
    with pytest.raises(DataError, match=r'aerial\.tar'):
        AerialPack.read(folder)


def test_the_real_pack(shared: Path) -> None:
    pack = AerialPack.read(shared / 'data/aerial')
    images = [name for listed in pack.targets.values() for name in listed]
    assert len(images) > 900
    assert set(images) <= pack.files.keys()
