"""siamffn_ros/demo.py"""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path

import cv2
import pytest
from click.testing import CliRunner
from siamffn.msg import TrackStatus

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import DependencyError
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import open_frames
from siamffn_model.tracking import State
from siamffn_ros import demo
from siamffn_ros.bags.recorder import Observation, ReplayResult
from siamffn_ros.bags.replay import play_and_record


def test_demo_writes_all_outputs(
    tmp_path: Path, sequence: Path, weights: Path, clip: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowly = partial(play_and_record, rate=0.25)  # for a node on a busy machine
    monkeypatch.setattr(demo, 'play_and_record', slowly)
    out = tmp_path / 'out'
    arguments = ['--video', sequence, '--out', out, '--weights', weights]
    result = CliRunner().invoke(demo.main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert 'frames published' in result.output and 'sheet.png' in result.output
    assert {file.name for file in out.iterdir()} == set(demo.OUTPUTS)

    summary = json.loads((out / 'summary.json').read_text())
    total = len(clip.images)
    received = summary['frames_received']
    assert summary['frames_published'] == total
    assert 0.9 * total <= received <= total  # best effort: a busy machine may lose one
    assert summary['frames_tracked'] + summary['frames_dropped'] == received
    assert summary['latency_ms']['p95'] >= summary['latency_ms']['median'] > 0
    assert summary['fps'] > 0 and 0 <= summary['mean_score'] <= 1
    assert set(summary['states']) <= {state.name for state in State}

    rows = list(csv.DictReader((out / 'track.csv').open()))
    assert rows[0]['frame'] == '0' and float(rows[0]['w']) == pytest.approx(clip.boxes[0].w, 0.01)
    assert len(rows) == 1 + sum(summary['states'].values())
    assert open_frames(out / 'overlay.mp4').count == total
    assert cv2.imread(str(out / 'sheet.png')).shape[1] > 4 * 320


def test_summary_of_a_replay() -> None:
    ms = 1_000_000
    box = Box(1, 2, 3, 4)
    run = ReplayResult(
        published={stamp: stamp for stamp in (0, 40 * ms, 80 * ms, 120 * ms)},
        observations={
            40 * ms: Observation(box, 0.9, State.TRACKING, 50 * ms),
            80 * ms: Observation(box, 0.4, State.UNCERTAIN, 110 * ms),
            120 * ms: Observation(None, 0.2, State.LOST, 150 * ms),
        },
        last=TrackStatus(frames_processed=5, frames_dropped=1),
    )
    summary = demo.summarise(run)
    assert summary == {
        'frames_published': 4,
        'frames_received': 6,
        'frames_tracked': 5,
        'frames_dropped': 1,
        'latency_ms': {'median': 30.0, 'p95': 30.0},
        'fps': 20.0,
        'mean_score': 0.5,
        'states': {'TRACKING': 1, 'UNCERTAIN': 1, 'LOST': 1},
    }
    assert '5, 3 of them published' in demo.summary_table(summary)


def test_lost_frames_have_no_box() -> None:
    text = demo.track_csv({7: Observation(None, 0.1, State.LOST, 1)})
    assert text.splitlines()[1] == '7,,,,,0.1000,LOST'


def test_video_without_a_box_is_refused(tmp_path: Path, sequence: Path) -> None:
    out = tmp_path / 'out'
    arguments = ['--video', str(sequence / 'img'), '--out', str(out)]
    result = CliRunner().invoke(demo.main, arguments)
    assert result.exit_code == 1 and '--init x,y,w,h' in result.output
    assert not out.exists()


def test_text_that_is_not_a_box_is_refused(tmp_path: Path) -> None:
    arguments = ['--init', '1,2,3', '--out', str(tmp_path / 'out')]
    result = CliRunner().invoke(demo.main, arguments)
    assert result.exit_code == 2 and "'1,2,3' is not a box: give x,y,w,h" in result.output
    assert list(tmp_path.iterdir()) == []


def test_the_default_video_is_found_or_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        path = demo.find_video()
    except DependencyError:
        pytest.skip(f'{demo.VIDEO[0]}, which carries the demo video, is not installed')
    frames = open_frames(path)
    assert frames.count == 120
    demo.FACE.check(*frames.size)
    monkeypatch.setattr(demo, 'VIDEO', ('no-such-package', 'x.mp4'))
    with pytest.raises(DependencyError, match='pip install no-such-package'):
        demo.find_video()
