"""The video writer."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import DataError, ImageError
from siamffn_model.imaging.sources import open_frames
from siamffn_model.imaging.video_writer import VideoWriter


def grey(width: int, height: int, value: int = 128) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize('size', [(320, 240), (175, 143)])
def test_overlay_reads_back(tmp_path: Path, scene: Scene, size: tuple[int, int]) -> None:
    images = [cv2.resize(image, size) for image in scene.images[:12]]
    path = tmp_path / 'overlay.mp4'
    with VideoWriter(path, 24.0, size) as writer:
        for image in images:
            writer.write(image)
        assert not path.exists(), 'only there when complete'
    assert [file.name for file in tmp_path.iterdir()] == ['overlay.mp4']
    frames = open_frames(path)
    assert (frames.count, frames.fps) == (12, pytest.approx(24.0))
    assert frames.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    for image, expected in zip(frames, images, strict=True):
        difference = image[: size[1], : size[0]].astype(float) - expected
        assert np.abs(difference).mean() < 15  # what the codec loses


def test_overlay_is_not_left_half_done(tmp_path: Path) -> None:
    path = tmp_path / 'overlay.mp4'
    path.write_text('an earlier one')
    with pytest.raises(KeyError), VideoWriter(path, 30.0, (64, 48)) as writer:
        writer.write(grey(64, 48))
        raise KeyError
    assert path.read_text() == 'an earlier one'
    assert [file.name for file in tmp_path.iterdir()] == ['overlay.mp4']


def test_overlay_refuses_another_size(tmp_path: Path) -> None:
    with (
        pytest.raises(ImageError, match=r'image 1 of .* is 64x50, the video is 64x48'),
        VideoWriter(tmp_path / 'overlay.mp4', 30.0, (64, 48)) as writer,
    ):
        writer.write(grey(64, 50))


def test_overlay_into_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'overlay.mp4: cannot write a 64x48 video .*folder exists'):
        VideoWriter(tmp_path / 'nowhere' / 'overlay.mp4', 30.0, (64, 48))


def test_full_disk_is_noticed(tmp_path: Path) -> None:
    """A process that may write only 100 kB a file stands for the full disk."""
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

    done = subprocess.run(
        [sys.executable, '-c', code, str(tmp_path / 'overlay.mp4')],
        preexec_fn=limit_file_size,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert 'DataError' in done.stderr
    assert 'is the disk full?' in done.stderr
    assert list(tmp_path.iterdir()) == []
