from __future__ import annotations

import csv
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import BoxError, DataError, DependencyError, ImageError
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import open_frames
from siamffn_model.tracking import State, Track, TrackerProtocol
from siamffn_model.tracking.track_video import boxes_csv, first_box, track_video


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def test_results_contain_every_frame(
    sequence_folder: Path, template_matcher: TrackerProtocol, tmp_path: Path
) -> None:
    frames = open_frames(sequence_folder / 'clip1')
    box = first_box(frames, None)
    out = tmp_path / 'out' / 'track'
    tracks = track_video(template_matcher, frames, box, out)
    assert sorted(file.name for file in out.iterdir()) == ['boxes.csv', 'overlay.mp4']
    rows = read_rows(out / 'boxes.csv')
    assert [int(row['frame']) for row in rows] == list(range(30))
    assert rows[0] == {
        'frame': '0',
        **{key: f'{value:.2f}' for key, value in box._asdict().items()},
        'score': '1.0000',
        'state': 'TRACKING',
    }
    for row, track in zip(rows, tracks.values(), strict=True):
        assert [float(row[key]) for key in 'xywh'] == pytest.approx(list(track.box), abs=0.005)
        assert float(row['score']) == pytest.approx(track.score, abs=0.00005)
    overlay = open_frames(out / 'overlay.mp4')
    assert (overlay.count, overlay.size) == (30, (320, 240))
    last, plain = list(overlay)[-1], list(frames)[-1]
    assert np.abs(last.astype(float) - plain).max() > 80, 'the track is drawn'


class FailingTracker:
    """A tracker that raises an exception in its third update."""

    def __init__(self, reason: BaseException) -> None:
        self.reason, self.count = reason, 0

    def init(self, image: np.ndarray, box: Box) -> None:
        self.box = box

    def update(self, image: np.ndarray) -> Track:
        self.count += 1
        if self.count == 3:
            raise self.reason
        return Track(self.box, 0.1, State(1 + self.count))


@pytest.mark.parametrize('reason', [KeyboardInterrupt(), ImageError('000004.jpg: damaged')])
def test_results_before_an_exception_are_written(
    sequence_folder: Path, tmp_path: Path, reason: BaseException
) -> None:
    frames = open_frames(sequence_folder / 'clip1')
    with pytest.raises(type(reason)):
        track_video(FailingTracker(reason), frames, first_box(frames, None), tmp_path / 'out')
    states = [row['state'] for row in read_rows(tmp_path / 'out' / 'boxes.csv')]
    assert states == ['TRACKING', 'UNCERTAIN', 'LOST']
    assert open_frames(tmp_path / 'out' / 'overlay.mp4').count == 3


def test_the_input_is_not_overwritten(
    sequence_folder: Path, template_matcher: TrackerProtocol, tmp_path: Path
) -> None:
    frames = open_frames(sequence_folder / 'clip1')
    track_video(template_matcher, frames, first_box(frames, None), tmp_path)
    video = open_frames(tmp_path / 'overlay.mp4')
    before = video.path.read_bytes()
    with pytest.raises(DataError, match=r'overlay\.mp4 would be overwritten: choose another --out'):
        track_video(template_matcher, video, Box(10, 10, 30, 30), tmp_path)
    assert video.path.read_bytes() == before


def test_first_box(sequence_folder: Path) -> None:
    with_truth = open_frames(sequence_folder / 'clip1')
    without = open_frames(sequence_folder / 'clip1' / 'img')
    given = Box(1, 2, 30, 40)
    assert first_box(with_truth, given) == given
    assert first_box(with_truth, None) == with_truth.groundtruth[0]
    assert first_box(without, given) == given
    with pytest.raises(DataError, match=r'no ground truth for the first frame; .*--init x,y,w,h'):
        first_box(without, None)
    with pytest.raises(BoxError, match='outside the 320x240 image'):
        first_box(with_truth, Box(400, 2, 30, 40))


def test_boxes_csv() -> None:
    tracks = {0: Track(Box(1, 2.345, 3, 4), 1.0, State.TRACKING), 3: Track(Box(0, 0, 1, 1), 0.0, 3)}
    assert boxes_csv(tracks).splitlines() == [
        'frame,x,y,w,h,score,state',
        '0,1.00,2.35,3.00,4.00,1.0000,TRACKING',
        '3,0.00,0.00,1.00,1.00,0.0000,LOST',
    ]


def test_output_folder_that_cannot_be_created(scene: Scene, sequence_folder: Path) -> None:
    frames = open_frames(sequence_folder / 'clip1')
    (sequence_folder / 'file').write_text('')
    with pytest.raises(DataError, match='file: cannot be created as a folder'):
        track_video(FailingTracker(KeyError()), frames, Box(1, 2, 3, 4), sequence_folder / 'file')


def test_show_needs_a_build_with_windows(sequence_folder: Path, tmp_path: Path) -> None:
    if not re.search(r'GUI:\s+NONE', cv2.getBuildInformation()):
        pytest.skip('this OpenCV has windows')
    frames = open_frames(sequence_folder / 'clip1')
    with pytest.raises(
        DependencyError, match='cannot show windows: replace opencv-python-headless'
    ):
        track_video(
            FailingTracker(KeyError()), frames, Box(1, 2, 3, 4), tmp_path / 'out', show=True
        )
    assert not (tmp_path / 'out').exists()
