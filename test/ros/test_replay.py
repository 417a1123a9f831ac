"""siamffn_ros/replay.py: a bag with known ground truth, played into the real node over DDS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import DataError
from siamffn_model.geometry import Box, iou
from siamffn_model.tracking import State
from siamffn_ros.bag import START, open_bag
from siamffn_ros.replay import Run, run

PERIOD = 10**9 / 30


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('replay')


@pytest.fixture(scope='module')
def replayed(bag: Path, weights: Path, clip: Scene, folder: Path) -> Run:
    # best effort may lose an image where the machine is busy: it promises no more
    reliable = ['-p', 'image_qos:=reliable']
    return run(bag, clip.boxes[0], folder, [*reliable, '-p', f'weights:={weights}'])


def test_every_published_frame_arrives(replayed: Run, clip: Scene) -> None:
    assert len(replayed.published) == len(clip.images)
    last = replayed.last
    assert last.frames_processed + last.frames_dropped == len(clip.images)


def test_stamps_and_id_are_those_of_the_images(replayed: Run) -> None:
    assert set(replayed.seen) <= set(replayed.published)
    assert replayed.last.target_id == '1'
    assert replayed.last.header.frame_id == 'camera'


def test_status_holds_together(replayed: Run) -> None:
    last = replayed.last
    assert 0 < last.mean_ms <= last.max_ms and 0 < last.last_ms <= last.max_ms
    for seen in replayed.seen.values():
        assert 0 <= seen.score <= 1
        assert (seen.box is None) == (seen.state is State.LOST)


def test_results_are_in_the_bag(replayed: Run, folder: Path) -> None:
    with open_bag(folder / 'detections.mcap') as bag:
        assert bag.topics == {
            '/tracker/detections': 'vision_msgs/msg/Detection2DArray',
            '/tracker/status': 'siamffn/msg/TrackStatus',
        }
        assert bag.count >= 2 * len(replayed.seen)


def test_boxes_lie_on_the_target(replayed: Run, clip: Scene) -> None:
    overlaps = []
    for stamp, seen in replayed.seen.items():
        truth = clip.boxes[round((stamp - START) / PERIOD)]
        overlaps.append(float(iou(seen.box or Box(0, 0, 0, 0), truth)))
    assert np.mean(overlaps) > 0.5 and np.median(overlaps) > 0.6


def test_a_node_that_dies_ends_the_run_with_its_log(tmp_path: Path, bag: Path) -> None:
    with pytest.raises(DataError, match=r'(?s)the node died \(exit code 1\).*nowhere\.safetensors'):
        run(bag, Box(1, 1, 9, 9), tmp_path, ['-p', 'weights:=nowhere.safetensors'])
    assert not (tmp_path / 'detections.mcap').exists()


def test_a_refused_box_ends_the_run(tmp_path: Path, bag: Path, weights: Path) -> None:
    with pytest.raises(DataError, match=r'refused the box.*outside'):
        run(bag, Box(5000, 1, 9, 9), tmp_path, ['-p', f'weights:={weights}'])
