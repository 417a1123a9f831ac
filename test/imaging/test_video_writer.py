"""The video writer."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import ConfigError, DataError, ImageError
from siamffn_model.imaging.sources import open_frames
from siamffn_model.imaging.video_writer import VideoWriter


def grey(width: int, height: int, value: int = 128) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize('fps', [24.0, 29.97, 30000 / 1001])
@pytest.mark.parametrize('size', [(320, 240), (175, 143)])
def test_the_video_is_h264_and_shows_the_images(
    tmp_path: Path, scene: Scene, size: tuple[int, int], fps: float
) -> None:
    images = [cv2.resize(image, size) for image in scene.images[:12]]
    path = tmp_path / 'overlay.mp4'
    with VideoWriter(path, fps, size) as writer:
        for image in images:
            writer.write(image)
        assert not path.exists(), 'the file appears when it is complete'
    assert [file.name for file in tmp_path.iterdir()] == ['overlay.mp4']
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ('h264', 'yuv420p')
        assert (stream.width, stream.height) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
        assert float(stream.average_rate) == pytest.approx(fps, rel=1e-6)
        decoded = [frame.to_ndarray(format='bgr24') for frame in container.decode(stream)]
    for image, expected in zip(decoded, images, strict=True):
        assert np.abs(image[: size[1], : size[0]].astype(float) - expected).mean() < 6


@pytest.mark.parametrize('colour', [(255, 0, 0), (0, 255, 0), (0, 0, 255), (80, 230, 60)])
def test_colours_are_kept(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    path = tmp_path / 'colour.mp4'
    with VideoWriter(path, 30.0, (64, 48)) as writer:
        writer.write(np.full((48, 64, 3), colour, np.uint8))
    with av.open(str(path)) as container:
        (frame,) = container.decode(video=0)
        (image,) = open_frames(path)
    assert np.abs(frame.to_ndarray(format='bgr24').astype(int) - colour).max() < 8
    assert np.abs(image.astype(int) - colour).max() < 8


def test_opencv_reads_the_video(tmp_path: Path, scene: Scene) -> None:
    path = tmp_path / 'overlay.mp4'
    with VideoWriter(path, 24.0, (320, 240)) as writer:
        for image in scene.images[:12]:
            writer.write(image)
    frames = open_frames(path)
    assert (frames.count, frames.expected, frames.size) == (12, 12, (320, 240))
    assert frames.fps == pytest.approx(24.0)
    for image, expected in zip(frames, scene.images[:12], strict=True):
        assert np.abs(image.astype(float) - expected).mean() < 6


def test_the_index_precedes_the_images(tmp_path: Path) -> None:
    path = tmp_path / 'overlay.mp4'
    with VideoWriter(path, 30.0, (64, 48)) as writer:
        writer.write(grey(64, 48))
    data = path.read_bytes()
    assert 0 < data.index(b'moov') < data.index(b'mdat')


def test_without_images_no_file_is_written(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / 'overlay.mp4', 30.0, (64, 48)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_exception_leaves_an_existing_file_unchanged(tmp_path: Path) -> None:
    path = tmp_path / 'overlay.mp4'
    path.write_text('an existing file')
    with pytest.raises(KeyError), VideoWriter(path, 30.0, (64, 48)) as writer:
        writer.write(grey(64, 48))
        raise KeyError
    assert path.read_text() == 'an existing file'
    assert [file.name for file in tmp_path.iterdir()] == ['overlay.mp4']


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ImageError, match=r'image 1 of .* is 64x50, the video is 64x48'),
        VideoWriter(tmp_path / 'overlay.mp4', 30.0, (64, 48)) as writer,
    ):
        writer.write(grey(64, 50))


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'overlay.mp4: cannot write a 64x48 video .*folder exists'):
        VideoWriter(tmp_path / 'nowhere' / 'overlay.mp4', 30.0, (64, 48))


@pytest.mark.parametrize('fps', [float('nan'), float('inf'), 0.0, -30.0, 1e-9, 1e300])
def test_a_frame_rate_that_is_not_possible_is_reported(tmp_path: Path, fps: float) -> None:
    with pytest.raises(ConfigError, match=r'frames per second: give a number above 0'):
        VideoWriter(tmp_path / 'overlay.mp4', fps, (64, 48))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('size', [(0, 48), (1 << 20, 2)])
def test_a_size_that_the_encoder_refuses_is_reported(tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r'overlay.mp4: cannot write a'):
        VideoWriter(tmp_path / 'overlay.mp4', 30.0, size)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    """The full disk is simulated by a limit of 100 kB on the file's size."""
    code = """if True:
        import sys, numpy as np
        from siamffn_model.imaging.video_writer import VideoWriter
        noise = np.random.default_rng(0)
        with VideoWriter(sys.argv[1], 30.0, (320, 240)) as writer:
            for _ in range(60):
                writer.write(noise.integers(0, 255, (240, 320, 3), np.uint8))
    """

    def limit_file_size() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    process = subprocess.run(
        [sys.executable, '-c', code, str(tmp_path / 'overlay.mp4')],
        preexec_fn=limit_file_size,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert 'DataError' in process.stderr
    assert 'is the disk full?' in process.stderr
    assert list(tmp_path.iterdir()) == []
