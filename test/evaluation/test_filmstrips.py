"""Tests of the filmstrips: frames, boxes, ground truth and missing images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from siamffn_model.errors import DataError
from siamffn_model.evaluation.filmstrips import FRAME_WIDTH, draw_filmstrip
from siamffn_model.imaging.drawing import GAP
from siamffn_model.imaging.sources import ImageFiles, open_frames
from siamffn_model.imaging.video_writer import VideoWriter

COLOURS = {'red': '#ff0000', 'blue': '#0000ff'}
RED, BLUE = [0, 0, 255], [255, 0, 0]  # BGR
SIZE = (200, 150)
SCALE = FRAME_WIDTH // SIZE[0]
STEP = FRAME_WIDTH + GAP  # from one frame to the next


def grey_files(folder: Path, count: int) -> list[Path]:
    """Write image files; frame i has the grey level 10 i."""
    files = [folder / f'{i:04d}.png' for i in range(count)]
    for i, file in enumerate(files):
        assert cv2.imwrite(str(file), np.full((SIZE[1], SIZE[0], 3), 10 * i, np.uint8))
    return files


def constant(box: tuple[float, ...], count: int) -> np.ndarray:
    return np.tile(np.array(box, float), (count, 1))


def at(picture: np.ndarray, frame: int, x: float, y: float) -> list[int]:
    """Return the pixel of the filmstrip at position x, y of frame `frame`."""
    return picture[GAP + round(y * SCALE), GAP + frame * STEP + round(x * SCALE)].tolist()


def greys(picture: np.ndarray, count: int) -> list[int]:
    """Return the grey level of each frame, at its lower right corner."""
    return [at(picture, i, SIZE[0] - 5, SIZE[1] - 5)[0] for i in range(count)]


def test_frames_are_spread_evenly_after_the_first(tmp_path: Path) -> None:
    frames = ImageFiles(tmp_path, grey_files(tmp_path, 21))
    picture = draw_filmstrip(frames, {}, constant((40, 50, 30, 20), 21), {}, count=4)
    assert picture.shape == (SIZE[1] * SCALE + 2 * GAP, 4 * STEP + GAP, 3)
    assert picture.dtype == np.uint8
    assert greys(picture, 4) == [50, 100, 150, 200]


def test_boxes_have_the_colours_of_their_trackers(tmp_path: Path) -> None:
    frames = ImageFiles(tmp_path, grey_files(tmp_path, 3))
    boxes = {'red': constant((50, 60, 40, 30), 3), 'blue': constant((120, 60, 40, 30), 3)}
    boxes['blue'][2] += [0, 10, 0, 0]
    picture = draw_filmstrip(frames, boxes, constant((np.nan,) * 4, 3), COLOURS, count=2)
    for frame, down in ((0, 0), (1, 10)):
        for x, y in ((50, 75), (70, 60), (89.5, 75), (70, 89.5)):
            assert at(picture, frame, x, y) == RED
            assert at(picture, frame, x + 70, y + down) == BLUE
        assert at(picture, frame, 70, 75)[0] == 10 * (frame + 1), 'boxes are not filled'


def test_first_tracker_is_drawn_on_top(tmp_path: Path) -> None:
    frames = ImageFiles(tmp_path, grey_files(tmp_path, 2))
    boxes = dict.fromkeys(COLOURS, constant((50, 60, 40, 30), 2))
    picture = draw_filmstrip(frames, boxes, constant((np.nan,) * 4, 2), COLOURS, count=1)
    assert at(picture, 0, 50, 75) == RED


def test_ground_truth_is_a_dashed_white_line_over_the_boxes(tmp_path: Path) -> None:
    frames = ImageFiles(tmp_path, grey_files(tmp_path, 2))
    truth = constant((50, 60, 40, 30), 2)
    picture = draw_filmstrip(frames, {'red': truth}, truth, COLOURS, count=1)
    edge = picture[GAP + 60 * SCALE, GAP + 50 * SCALE : GAP + 89 * SCALE].tolist()
    white, red = edge.count([255, 255, 255]), edge.count(RED)
    assert white + red == len(edge)
    assert min(white, red) > len(edge) / 3


def test_number_is_in_the_upper_left_corner(tmp_path: Path) -> None:
    frames = ImageFiles(tmp_path, grey_files(tmp_path, 2))
    picture = draw_filmstrip(frames, {}, constant((np.nan,) * 4, 2), {}, count=1)
    corner, rest = picture[GAP : GAP + 25, GAP : GAP + 45], picture[GAP + 40 : -GAP, GAP:-GAP]
    assert corner.max() > 240
    assert (rest == 10).all()


def test_invalid_and_missing_rows_are_not_drawn(tmp_path: Path) -> None:
    frames = ImageFiles(tmp_path, grey_files(tmp_path, 3))
    short, absent = constant((50, 60, 40, 30), 2), constant((50, 60, 40, 30), 3)
    absent[1] = np.nan
    far = constant((1e300, -1e300, 1e300, np.inf), 3)
    truth = constant((np.nan,) * 4, 3)
    colours = {**COLOURS, 'far': '#00ff00'}
    boxes = {'red': short, 'blue': absent, 'far': far}
    picture = draw_filmstrip(frames, boxes, truth, colours, count=2)
    assert at(picture, 0, 50, 75) == RED
    assert at(picture, 1, 50, 75) == BLUE
    assert not (picture == [0, 255, 0]).all(axis=2).any()


def test_only_shown_files_are_read(tmp_path: Path) -> None:
    files = grey_files(tmp_path, 11)
    frames = ImageFiles(tmp_path, files)
    for i in set(range(11)) - {5, 10}:
        files[i].unlink()
    picture = draw_filmstrip(frames, {}, constant((40, 50, 30, 20), 11), {}, count=2)
    assert greys(picture, 2) == [50, 100]


def test_video(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / 'video.mp4', 30.0, SIZE) as writer:
        for i in range(11):
            writer.write(np.full((SIZE[1], SIZE[0], 3), 20 * i, np.uint8))
    frames = open_frames(tmp_path / 'video.mp4')
    picture = draw_filmstrip(frames, {}, constant((40, 50, 30, 20), 11), {}, count=2)
    assert greys(picture, 2) == pytest.approx([100, 200], abs=10)
    with pytest.raises(DataError, match=r'video.mp4: image 12 is missing, but the ground truth'):
        draw_filmstrip(frames, {}, constant((40, 50, 30, 20), 12), {}, count=2)


@pytest.mark.parametrize(('rows', 'shown'), [(1, [0]), (3, [0, 10, 20])])
def test_all_frames_of_short_sequence_are_shown(
    tmp_path: Path, rows: int, shown: list[int]
) -> None:
    frames = ImageFiles(tmp_path, grey_files(tmp_path, rows))
    picture = draw_filmstrip(frames, {}, constant((40, 50, 30, 20), rows), {})
    assert picture.shape[1] == len(shown) * STEP + GAP
    assert greys(picture, len(shown)) == shown


def test_missing_image_raises(tmp_path: Path) -> None:
    frames = ImageFiles(tmp_path, grey_files(tmp_path, 3))
    with pytest.raises(DataError, match=r'image 4 is missing, .* restore'):
        draw_filmstrip(frames, {}, constant((40, 50, 30, 20), 4), {}, count=2)
