"""Reading of image files: orientation and bit depth."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import DataError, ImageError
from siamffn_model.imaging.image import decode_image, read_image, stretch_to_8_bit, write_image


def with_exif_orientation(jpeg: bytes, orientation: int) -> bytes:
    tiff = struct.pack('<2sHIHHHIHHI', b'II', 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    segment = b'Exif\0\0' + tiff
    return jpeg[:2] + struct.pack('>HH', 0xFFE1, 2 + len(segment)) + segment + jpeg[2:]


@pytest.mark.parametrize('orientation', range(1, 9))
def test_the_exif_orientation_is_ignored(tmp_path: Path, scene: Scene, orientation: int) -> None:
    jpeg = cv2.imencode('.jpg', scene.images[0])[1].tobytes()
    stored = decode_image(np.frombuffer(jpeg, np.uint8))
    data = with_exif_orientation(jpeg, orientation)
    (tmp_path / '1.jpg').write_bytes(data)
    np.testing.assert_array_equal(read_image(tmp_path / '1.jpg'), stored)
    turned = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(turned, stored) == (orientation == 1), 'OpenCV alone turns it'


@pytest.mark.parametrize('suffix', ['.png', '.tiff'])
@pytest.mark.parametrize('channels', [1, 3])
def test_16_bit_are_stretched(tmp_path: Path, suffix: str, channels: int) -> None:
    """A division by 256 would leave two grey levels."""
    pixels = np.linspace(7000, 7500, 48 * 64).astype(np.uint16).reshape(48, 64)
    stored = np.stack([pixels, pixels + 3, pixels + 9], axis=2)[:, :, :channels].squeeze()
    cv2.imwrite(str(tmp_path / f'1{suffix}'), stored)
    image = read_image(tmp_path / f'1{suffix}')
    assert (image.dtype, image.shape) == (np.uint8, (48, 64, 3))
    expected = stretch_to_8_bit(np.atleast_3d(stored).repeat(4 - channels, axis=2)[:, :, :3])
    np.testing.assert_array_equal(image, expected)
    assert len(np.unique(image)) > 250


@pytest.mark.parametrize(
    ('low', 'high', 'expected'),
    [(7000, 7510, (0, 255)), (0, 65535, (0, 255)), (500, 600, (0, 100))],
    ids=['narrow', 'full', 'noise is not amplified'],
)
def test_the_range_of_16_bit(low: int, high: int, expected: tuple[int, int]) -> None:
    pixels = np.linspace(low, high, 100_000).astype(np.uint16).reshape(250, 400)
    image = stretch_to_8_bit(pixels)
    assert (image.min(), image.max()) == expected
    assert (np.diff(image.reshape(-1).astype(int)) >= 0).all()


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.bmp'])
def test_8_bit_are_as_opencv_reads_them(tmp_path: Path, scene: Scene, suffix: str) -> None:
    path = tmp_path / f'1{suffix}'
    write_image(path, scene.images[0])
    np.testing.assert_array_equal(read_image(path), cv2.imread(str(path)))


def test_floating_point_is_refused(tmp_path: Path) -> None:
    path = tmp_path / '1.tiff'
    cv2.imwrite(str(path), np.ones((8, 8, 3), np.float32))
    with pytest.raises(ImageError, match='damaged or not an image'):
        read_image(path)


def test_an_impossible_size_is_an_image_error(tmp_path: Path) -> None:
    header = struct.pack('>II5B', 1 << 20, 1 << 20, 8, 2, 0, 0, 0)
    data = b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + b'IHDR' + header + bytes(4)
    (tmp_path / '1.png').write_bytes(data)
    with pytest.raises(ImageError, match='damaged or not an image'):
        read_image(tmp_path / '1.png')


def test_a_folder_that_is_a_file_is_reported(tmp_path: Path, scene: Scene) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(DataError, match=r'1.png: cannot be written'):
        write_image(tmp_path / 'file' / '1.png', scene.images[0])
