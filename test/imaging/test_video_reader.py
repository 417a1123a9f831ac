"""Reading videos: pixels, damaged files, time stamps, rotation, names."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import ImageError
from siamffn_model.imaging.image import stretch_to_8_bit
from siamffn_model.imaging.sources import open_frames
from siamffn_model.imaging.video_writer import VideoWriter

IDENTITY = struct.pack('>9i', 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def write_video(path: Path, images: list[np.ndarray], fps: float = 25.0) -> None:
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), fps, (width, height))
    assert writer.isOpened()
    for image in images:
        writer.write(image)
    writer.release()


def encode(
    path: Path,
    images: Iterable[np.ndarray],
    codec: str = 'libx264',
    times: Iterable[int] | None = None,
    pixels: str = 'yuv420p',
) -> None:
    """Write a video at 25 frames/s, or with time stamps in milliseconds."""
    images = list(images)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, 25)
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        stamps = list(times or range(0, 40 * len(images), 40))
        for image, stamp in zip(images, stamps, strict=True):
            kind = 'bgr24' if image.ndim == 3 else 'gray16le'
            frame = av.VideoFrame.from_ndarray(image, format=kind)
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def read_with_opencv(path: Path) -> list[np.ndarray]:
    capture, images = cv2.VideoCapture(str(path)), []
    while (result := capture.read())[0]:
        images.append(result[1])
    return images


@pytest.fixture(scope='module')
def video(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene as an H.264 video with B-frames, without sound."""
    path = tmp_path_factory.mktemp('video') / 'scene.mp4'
    with VideoWriter(path, 25, (320, 240)) as writer:
        for image in scene.images:
            writer.write(image)
    return path


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
    readable = len(list(frames.read()))
    assert 5 < readable < 35
    assert frames.count == readable
    assert str(frames.damage(readable)).startswith(
        f'{readable} of 40 frames, {40 - readable} unreadable; '
        f'the first: {file}: the file ends early'
    )
    assert frames.repaired == [readable - 1], 'the last frame is half there'
    assert f'damaged at frame {readable - 1}' in str(frames.damage(readable))
    with pytest.raises(ImageError, match='ends early'):
        list(frames)


@pytest.mark.parametrize('content', [b'', b'this is no video at all' * 100])
def test_unreadable_video_is_reported(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / 'broken.mp4'
    file.write_bytes(content)
    with pytest.raises(ImageError, match=r'broken\.mp4: not a video that FFmpeg can decode'):
        open_frames(file)


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv', '.ts'])
def test_pixels_are_those_of_opencv(tmp_path: Path, scene: Scene, suffix: str) -> None:
    path = tmp_path / f'video{suffix}'
    encode(path, scene.images[:10])
    frames = open_frames(path)
    np.testing.assert_array_equal(list(frames), read_with_opencv(path))
    assert frames.fps == cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS)
    next(iter(frames))[:] = 0  # the images can be drawn into


@pytest.mark.parametrize('damaged', [[], [7], [7, 8], [12, 20, 31], [38, 39], range(15, 40)])
def test_reading_goes_on_after_damaged_frames(
    tmp_path: Path, video: Path, damaged: list[int]
) -> None:
    """The data of these frames, counted in the order of time, is overwritten."""
    data = bytearray(video.read_bytes())
    with av.open(str(video)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    packets.sort(key=lambda packet: packet.pts)
    for number in damaged:
        start, size = packets[number].pos, packets[number].size
        data[start : start + size] = b'\xff' * size
    path = tmp_path / 'damaged.mp4'
    path.write_bytes(data)
    frames = open_frames(path)
    read = list(frames.read())
    assert [frame.number for frame in read] == [n for n in range(40) if n not in damaged]
    assert [frame.time for frame in read] == pytest.approx([f.number / 25 for f in read])
    assert len(frames.unreadable) == len(damaged)
    if damaged:
        expected = f'{40 - len(damaged)} of 40 frames, {len(damaged)} unreadable; the first: {path}'
        assert str(frames.damage(len(read))).startswith(expected)


def test_a_matroska_file_that_is_cut_off_is_reported(tmp_path: Path, scene: Scene) -> None:
    """It has no number of frames, but a duration."""
    path = tmp_path / 'cut.mkv'
    encode(path, scene.images)
    data = path.read_bytes()
    frames = open_frames(path)
    assert len(list(frames)) == frames.expected == 40
    path.write_bytes(data[: len(data) // 3])
    with pytest.raises(ImageError, match=r'cut.mkv: the video ends \d\.\d s early'):
        list(open_frames(path))
    cut = open_frames(path)
    assert len(list(cut.read())) + len(cut.unreadable) in (39, 40)  # the duration is rounded


def test_time_stamps_of_a_variable_frame_rate(tmp_path: Path, scene: Scene) -> None:
    times = [0, 40, 45, 160, 200, 450, 460, 500]
    for suffix, start in (('mkv', 0), ('mp4', 0), ('ts', 80)):
        path = tmp_path / f'variable.{suffix}'
        encode(path, scene.images[:8], times=[start + time for time in times])
        found = [frame.time for frame in open_frames(path).read()]
        assert found == pytest.approx([time / 1000 for time in times], abs=1e-3)


@pytest.mark.parametrize(
    ('matrix', 'turns'),
    [
        ((0, 0x10000, 0, -0x10000, 0), 3),
        ((-0x10000, 0, 0, 0, -0x10000), 2),
        ((0, -0x10000, 0, 0x10000, 0), 1),
    ],
    ids=['clockwise', 'upside down', 'counterclockwise'],
)
def test_rotation_is_that_of_opencv(
    tmp_path: Path, video: Path, matrix: tuple[int, ...], turns: int
) -> None:
    data = video.read_bytes()
    at = data.index(IDENTITY, data.index(b'tkhd'))
    matrix_bytes = struct.pack('>9i', *matrix, 0, 0, 0, 0x40000000)
    path = tmp_path / 'turned.mp4'
    path.write_bytes(data[:at] + matrix_bytes + data[at + len(IDENTITY) :])
    frames = open_frames(path)
    image, plain = next(iter(frames)), next(iter(open_frames(video)))
    np.testing.assert_array_equal(image, np.rot90(plain, turns))
    np.testing.assert_array_equal(image, read_with_opencv(path)[0])
    assert frames.size == (image.shape[1], image.shape[0])


def test_16_bit_grey_is_stretched(tmp_path: Path, scene: Scene) -> None:
    """A thermal camera uses a small part of the values."""
    grey = [7000 + 2 * image[:, :, 0].astype(np.uint16) for image in scene.images[:3]]
    path = tmp_path / 'thermal.mkv'
    encode(path, grey, 'ffv1', pixels='gray16le')
    for image, expected in zip(open_frames(path), grey, strict=True):
        assert image.shape == (240, 320, 3)
        np.testing.assert_array_equal(image[:, :, 1], stretch_to_8_bit(expected))


def test_a_file_without_images(tmp_path: Path) -> None:
    path = tmp_path / 'sound.wav'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('pcm_s16le', 8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), 's16', 'mono')
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(ImageError, match=r'sound.wav: not a video .*no images'):
        open_frames(path)


@pytest.mark.parametrize('name', [b'caf\xe9.mp4', 'Übung 图.mp4'.encode(), b'12:30.mp4'])
def test_any_file_name_works(
    tmp_path: Path, video: Path, name: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(os.fsdecode(name))
    path.write_bytes(video.read_bytes())
    image = next(iter(open_frames(path)))
    copy = Path(os.fsdecode(b'2' + name))
    with VideoWriter(copy, 25, (320, 240)) as writer:
        writer.write(image)
    assert open_frames(copy).count == 1


def test_names_where_the_file_system_is_ascii(tmp_path: Path, video: Path) -> None:
    path = tmp_path / 'Übung.mp4'
    path.write_bytes(video.read_bytes())
    code = (
        'import sys; from siamffn_model.imaging.sources import open_frames;'
        'print(sys.getfilesystemencoding(), open_frames(sys.argv[1]).size)'
    )
    output = subprocess.run(
        [sys.executable, '-c', code, str(path)],
        env={**os.environ, 'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert output.stdout.split(maxsplit=1) == ['ascii', '(320, 240)\n'], output.stderr
