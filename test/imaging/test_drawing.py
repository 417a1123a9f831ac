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
from siamffn_model.imaging.drawing import OverlayWriter, contact_sheet, draw_track
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import open_frames


def grey(width: int, height: int, value: int = 128) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize('size', [(176, 144), (320, 240), (1280, 720)])
def test_box_is_drawn_on_its_border_only(size: tuple[int, int]) -> None:
    image = grey(*size)
    box = Box(size[0] / 4, size[1] / 2, size[0] / 4, size[1] / 4)
    draw_track(image, box, '', (0, 0, 255))
    x, y = round(box.x), round(box.y)
    assert image[y, round(box.cx)].tolist() == [0, 0, 255]
    assert image[round(box.cy), x].tolist() == [0, 0, 255]
    assert image[round(box.cy), round(box.cx)].tolist() == [128, 128, 128]
    assert image[round(box.cy), x + round(box.w) + 9].tolist() == [128, 128, 128]


@pytest.mark.parametrize('ground', [0, 128, 255])
@pytest.mark.parametrize(
    'box',
    [None, Box(100, 100, 40, 40), Box(0, 0, 320, 240), Box(300, 230, 40, 40), Box(-9, 2, 9, 9)],
)
def test_label_is_readable_on_any_ground(box: Box | None, ground: int) -> None:
    plain, labelled = grey(320, 240, ground), grey(320, 240, ground)
    draw_track(plain, box, '')
    draw_track(labelled, box, '12 TRACKING 0.93')
    y, x = np.nonzero((plain != labelled).any(axis=2))
    strip = labelled[y.min() : y.max() + 1, x.min() : x.max() + 1]
    assert strip.shape[0] > 10 and strip.shape[1] > 60
    assert (strip < 40).mean() > 0.3, 'dark ground'
    assert (strip > 240).mean() > 0.02, 'white letters'


def test_lines_and_letters_stop_growing() -> None:
    """OpenCV refuses lines of more than some thousand pixels."""
    image = grey(6_000_000, 1)
    draw_track(image, Box(10, 0, 3_000_000, 1), '12 TRACKING 0.93')
    assert (image != 128).any()


def test_contact_sheet_keeps_order_and_shape() -> None:
    images = [grey(160, 120, 40 * i) for i in range(5)] + [grey(50, 100, 250)]
    sheet = contact_sheet(images, columns=4, width=80)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (60 + 160 + 3 * 4, 4 * 80 + 5 * 4, 3)
    for index, value in enumerate([0, 40, 80, 120, 160, 250]):
        y, x = (34, 108)[index // 4], 44 + 84 * (index % 4)
        assert sheet[y - 5 : y + 5, x - 5 : x + 5].tolist() == grey(10, 10, value).tolist()


def test_contact_sheet_of_fewer_images_than_columns_is_narrow() -> None:
    assert contact_sheet([grey(32, 24)], columns=4, width=64).shape == (48 + 8, 64 + 8, 3)


def test_contact_sheet_of_nothing() -> None:
    with pytest.raises(ImageError, match='give at least one'):
        contact_sheet([])


@pytest.mark.parametrize('size', [(320, 240), (175, 143)])
def test_overlay_reads_back(tmp_path: Path, scene: Scene, size: tuple[int, int]) -> None:
    images = [cv2.resize(image, size) for image in scene.images[:12]]
    path = tmp_path / 'overlay.mp4'
    with OverlayWriter(path, 24.0, size) as writer:
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
    with pytest.raises(KeyError), OverlayWriter(path, 30.0, (64, 48)) as writer:
        writer.write(grey(64, 48))
        raise KeyError
    assert path.read_text() == 'an earlier one'
    assert [file.name for file in tmp_path.iterdir()] == ['overlay.mp4']


def test_overlay_refuses_another_size(tmp_path: Path) -> None:
    with (
        pytest.raises(ImageError, match=r'image 1 of .* is 64x50, the video is 64x48'),
        OverlayWriter(tmp_path / 'overlay.mp4', 30.0, (64, 48)) as writer,
    ):
        writer.write(grey(64, 50))


def test_overlay_into_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'overlay.mp4: cannot write a 64x48 video .*folder exists'):
        OverlayWriter(tmp_path / 'nowhere' / 'overlay.mp4', 30.0, (64, 48))


def test_full_disk_is_noticed(tmp_path: Path) -> None:
    """A process that may write only 100 kB a file stands for the full disk."""
    code = """if True:
        import sys, numpy as np
        from siamffn_model.imaging.drawing import OverlayWriter
        noise = np.random.default_rng(0)
        with OverlayWriter(sys.argv[1], 30.0, (320, 240)) as writer:
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
