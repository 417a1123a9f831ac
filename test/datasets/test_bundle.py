"""The training pack as one file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from siamffn_model.datasets.bundle import OBJECT_SIZE, write_bundle
from siamffn_model.datasets.pack import CutOut, Pack
from siamffn_model.errors import DataError
from siamffn_model.imaging.geometry import Box

from ..command import siamffn


@pytest.fixture(scope='module')
def bundle(tiny_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('bundle') / 'pack.zip'
    assert write_bundle(Pack.read(tiny_pack), path) == path.stat().st_size
    return path


def test_a_bundle_has_the_content_of_the_pack(tiny_pack: Path, bundle: Path) -> None:
    pack, copy = Pack.read(tiny_pack), Pack.read(bundle)
    assert len(copy.backgrounds) == len(pack.backgrounds)
    names = [*zip(pack.backgrounds, copy.backgrounds)]
    for item, other in zip(pack.objects, copy.objects, strict=True):
        assert other.box == pytest.approx(item.box, abs=0.01)
        assert np.array_equal(copy.mask(other.mask), pack.mask(item.mask))
        names.append((item.image, other.image))
    for frame, other_frame in zip(pack.videos['otb']['clip'], copy.videos['otb']['clip']):
        assert other_frame.box == pytest.approx(frame.box, abs=0.01)
        assert other_frame.frame == frame.frame
        names.append((frame.image, other_frame.image))
    for name, other_name in names:
        difference = copy.image(other_name).astype(float) - pack.image(name)
        assert np.abs(difference).mean() < 8, 'the loss of WebP'


def test_large_objects_are_reduced_with_their_masks_and_boxes(tmp_path: Path) -> None:
    image, mask = np.full((300, 400, 3), 90, np.uint8), np.zeros((300, 400), np.uint8)
    mask[40:240, 100:300] = 255
    image[mask > 0] = (20, 200, 40)
    files = {
        name: cv2.imencode('.png', content)[1].tobytes()
        for name, content in (('image', image), ('mask', mask))
    }
    pack = Pack(files, [CutOut('image', 'mask', Box(100, 40, 200, 200))], [], {})
    write_bundle(pack, tmp_path / 'pack.zip')
    (item,) = Pack.read(tmp_path / 'pack.zip').objects
    copy = Pack.read(tmp_path / 'pack.zip')
    assert item.box == pytest.approx(np.array([100, 40, 200, 200]) * OBJECT_SIZE / 200, abs=0.1)
    assert copy.image(item.image).shape == (144, 192, 3)
    assert cv2.boundingRect(copy.mask(item.mask)) == pytest.approx(item.box, abs=1)
    inside = copy.mask(item.mask) > 0
    assert copy.image(item.image)[inside].mean(axis=0) == pytest.approx((20, 200, 40), abs=6)


def test_the_same_pack_gives_the_same_file(tiny_pack: Path, bundle: Path, tmp_path: Path) -> None:
    again = tmp_path / 'again.zip'
    done = siamffn('data', 'bundle', tiny_pack, '--out', again)
    assert done.exit_code == 0, done.output
    assert f'--data pack={again}' in done.output
    assert again.read_bytes() == bundle.read_bytes()


def test_a_damaged_bundle_is_reported(bundle: Path, tmp_path: Path) -> None:
    data = bytearray(bundle.read_bytes())
    path = tmp_path / 'damaged.zip'
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r'damaged\.zip is damaged or not a bundle'):
        Pack.read(path)
    with zipfile.ZipFile(bundle) as file:
        info = file.getinfo('0')
    data[info.header_offset + 100] ^= 255
    path.write_bytes(data)
    with pytest.raises(DataError, match='Bad CRC-32'):
        Pack.read(path)
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr('other.csv', '')
    with pytest.raises(DataError, match='not of the pack'):
        Pack.read(path)


def test_an_unwritable_place_is_reported(tiny_pack: Path, tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(DataError, match='cannot be written'):
        write_bundle(Pack.read(tiny_pack), tmp_path / 'file' / 'pack.zip')
