from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import DataError, ImageError
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import image_files, open_frames, read_groundtruth


def write_images(folder: Path, names: list[str], size: tuple[int, int] = (32, 24)) -> None:
    """Write plain images whose grey value is 10 times their index in `names`."""
    folder.mkdir(parents=True, exist_ok=True)
    for value, name in enumerate(names):
        image = np.full((size[1], size[0], 3), 10 * value, np.uint8)
        assert cv2.imwrite(str(folder / name), image)


def write_video(path: Path, images: list[np.ndarray], fps: float = 25.0) -> None:
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), fps, (width, height))
    assert writer.isOpened()
    for image in images:
        writer.write(image)
    writer.release()


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


@pytest.mark.parametrize('separator', [',', ', ', '\t', ' ', '   '])
@pytest.mark.parametrize('line_end', ['\n', '\r\n'])
def test_groundtruth_separators(tmp_path: Path, separator: str, line_end: str) -> None:
    file = tmp_path / 'groundtruth.txt'
    rows = [['1', '2', '3', '4'], ['nan'] * 4, ['-5.5', '6e1', '7', '8']]
    file.write_bytes(line_end.join(separator.join(row) for row in rows).encode())
    assert read_groundtruth(file) == [Box(1, 2, 3, 4), None, Box(-5.5, 60, 7, 8)]


@pytest.mark.parametrize('row', ['1,2,3', '1,2,3,4,5', 'a,b,c,d', ''])
def test_groundtruth_bad_row_is_reported(tmp_path: Path, row: str) -> None:
    file = tmp_path / 'groundtruth.txt'
    file.write_text(f'1,2,3,4\n{row}\n1,2,3,4\n')
    with pytest.raises(DataError, match=r'groundtruth.txt: row 2 .*must be x,y,w,h'):
        read_groundtruth(file)


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


def test_video(tmp_path: Path, scene: Scene) -> None:
    file = tmp_path / 'scene.mp4'
    write_video(file, scene.images)
    frames = open_frames(file)
    assert (frames.count, frames.fps, frames.size) == (40, 25.0, (320, 240))
    assert frames.groundtruth is None
    for image, expected in zip(frames, scene.images, strict=True):
        assert image.dtype == np.uint8
        assert np.abs(image.astype(float) - expected).mean() < 12  # what the codec loses


def test_truncated_video_yields_what_decodes(tmp_path: Path, scene: Scene) -> None:
    """The header of the .avi file says 40 frames, but half of the file is missing."""
    file = tmp_path / 'scene.avi'
    write_video(file, scene.images)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    frames = open_frames(file)
    assert frames.expected == 40
    images = list(frames)
    assert 5 < len(images) < 35
    assert frames.count == len(images)


@pytest.mark.parametrize('content', [b'', b'this is no video at all' * 100])
def test_unreadable_video_is_reported(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / 'broken.mp4'
    file.write_bytes(content)
    with pytest.raises(ImageError, match=r'broken\.mp4: not a video that OpenCV can decode'):
        open_frames(file)
