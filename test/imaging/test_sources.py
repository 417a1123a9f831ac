from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from siamffn_model.errors import DataError, ImageError
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import image_files, open_frames


def write_images(folder: Path, names: list[str], size: tuple[int, int] = (32, 24)) -> None:
    """Write plain images whose grey value is 10 times their index in `names`."""
    folder.mkdir(parents=True, exist_ok=True)
    for value, name in enumerate(names):
        image = np.full((size[1], size[0], 3), 10 * value, np.uint8)
        assert cv2.imwrite(str(folder / name), image)


def test_folder_is_in_natural_order(tmp_path: Path) -> None:
    write_images(tmp_path, ['img1.png', 'img2.png', 'img10.png', 'img11.png'])
    (tmp_path / 'notes.txt').write_text('not an image')
    frames = open_frames(tmp_path)
    assert [int(image[0, 0, 0]) for image in frames] == [0, 10, 20, 30]
    assert (frames.count, frames.fps, frames.size) == (4, 30.0, (32, 24))
    assert frames.expected == 4
    assert frames.groundtruth is None
    assert len(list(frames)) == 4, 'a second iteration starts at the first image'


@pytest.mark.parametrize(
    'names',
    [
        ['img-1.png', 'img-2.png', 'img-10.png'],
        ['1e5.png', '3.png', '20.png'],
        ['Übung2.png', 'Übung10.png', '图2.png', '图10.png'],
        ['2.png', 'B1.png', 'a1.5.png', 'a1.10.png'],
    ],
    ids=['no signs', 'no exponents', 'not ASCII', 'digits, then capitals'],
)
def test_numbers_within_names_are_sorted_as_integers(tmp_path: Path, names: list[str]) -> None:
    write_images(tmp_path, sorted(names, reverse=True))
    assert [file.name for file in image_files(tmp_path)] == names


def test_sequence_folder(tmp_path: Path) -> None:
    write_images(tmp_path / 'img', ['000001.jpg', '000002.jpg', '000003.jpg'])
    (tmp_path / 'groundtruth.txt').write_text('1,2,3,4\nNaN,NaN,NaN,NaN\n1.5,2.5,3.5,4.5\n')
    frames = open_frames(str(tmp_path))
    assert frames.count == 3
    assert frames.groundtruth == [Box(1, 2, 3, 4), None, Box(1.5, 2.5, 3.5, 4.5)]


def test_groundtruth_of_another_length(tmp_path: Path) -> None:
    write_images(tmp_path / 'img', ['1.png', '2.png', '3.png'])
    (tmp_path / 'groundtruth.txt').write_text('1,2,3,4\n1,2,3,4\n')
    with pytest.raises(
        DataError, match=r'groundtruth.txt: 2 rows for 3 images .*one row per image'
    ):
        open_frames(tmp_path)


def test_missing_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'nowhere.mp4: no such file or folder; give'):
        open_frames(tmp_path / 'nowhere.mp4')


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='no images in this folder'):
        open_frames(tmp_path)


@pytest.mark.parametrize('content', [b'', b'no picture', b'\xff\xd8\xff\xe0 cut short'])
def test_damaged_image_is_reported_when_reached(tmp_path: Path, content: bytes) -> None:
    write_images(tmp_path, ['1.png', '2.png', '3.png'])
    (tmp_path / '2.png').write_bytes(content)
    images = iter(open_frames(tmp_path))
    next(images)
    with pytest.raises(ImageError, match=r'2\.png: damaged or not an image'):
        next(images)


def test_image_of_another_size_is_reported(tmp_path: Path) -> None:
    write_images(tmp_path, ['1.png'])
    write_images(tmp_path, ['2.png'], size=(16, 16))
    with pytest.raises(ImageError, match=r'2\.png: 16x16, but the first image is 32x24'):
        list(open_frames(tmp_path))


def test_damaged_images_are_left_out_and_counted(tmp_path: Path) -> None:
    write_images(tmp_path, [f'{number}.png' for number in range(6)])
    (tmp_path / '2.png').write_bytes(b'no picture')
    (tmp_path / '5.png').write_bytes(b'')
    frames = open_frames(tmp_path)
    for _ in range(2):
        read = list(frames.read())
        assert [frame.number for frame in read] == [0, 1, 3, 4]
        assert [frame.time for frame in read] == pytest.approx([0, 1 / 30, 3 / 30, 4 / 30])
        assert [int(frame.image[0, 0, 0]) for frame in read] == [0, 10, 30, 40]
    damage = frames.damage(len(read))
    assert damage and damage.startswith('4 of 6 frames, 2 unreadable; the first: ')
    assert str(tmp_path / '2.png') in damage
    assert frames.count == 6, 'files, by which ground truth is checked'


@pytest.mark.parametrize(
    'source', ['rtsp://127.0.0.1/stream', 'http://camera/video.mjpg', '0', '/dev/video0']
)
def test_streams_and_cameras_are_refused_by_name(source: str) -> None:
    for given in (source, Path(source)):  # a path has one slash less
        with pytest.raises(DataError, match=f'^{given}: streams and cameras are not supported'):
            open_frames(given)


NOT_UTF8 = os.fsdecode(b'caf\xe9')


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    write_images(tmp_path, ['a.png', 'b.png'])
    folder = (tmp_path / NOT_UTF8).with_suffix('.d')
    folder.mkdir()
    for number, name in enumerate('ab'):
        (tmp_path / f'{name}.png').rename(folder / f'{NOT_UTF8}{number}.png')
    assert [int(image[0, 0, 0]) for image in open_frames(folder)] == [0, 10]
