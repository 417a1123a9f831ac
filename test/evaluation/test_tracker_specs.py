"""Tests of tracker specifications: pickling, identities and errors."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import SiamFFNError, WeightsError
from siamffn_model.evaluation.jobs import run_one_pass
from siamffn_model.evaluation.tracker_specs import opencv_tracker, siamffn_tracker
from siamffn_model.tracking import Tracker, TrackerSettings, load_model


@pytest.mark.slow
def test_siamffn_tracker_is_the_same_in_another_process(scene: Scene, random_weights: Path) -> None:
    settings = TrackerSettings(window_influence=0.3)
    spec = siamffn_tracker('siamffn_lite0', random_weights, 'cpu', 'auto', settings)
    unpickled = pickle.loads(pickle.dumps(spec))
    expected = Tracker(load_model('siamffn_lite0', random_weights, 'cpu'), settings)
    images, first = scene.images[:5], scene.boxes[0]
    found = run_one_pass(unpickled.make(), images, first).boxes
    assert found.tolist() == run_one_pass(expected, images, first).boxes.tolist()


def test_identity_depends_on_weights_settings_and_runtime(random_weights: Path) -> None:
    def identity(
        weights: Path | None = None, runtime: str = 'auto', **settings: float
    ) -> dict[str, str]:
        settings_of = TrackerSettings(**settings)
        return siamffn_tracker('siamffn_lite0', weights, 'cpu', runtime, settings_of).identity

    assert identity() == identity()
    assert identity() != identity(random_weights)
    assert identity() != identity(window_influence=0.2)
    assert identity() != identity(runtime='eager')
    assert identity()['device'] == 'cpu'


def test_invalid_trackers_raise_at_once(tmp_path: Path) -> None:
    with pytest.raises(SiamFFNError, match="unknown model 'yolo'"):
        siamffn_tracker('yolo', None, 'cpu', 'auto', TrackerSettings())
    with pytest.raises(WeightsError, match='is missing'):
        siamffn_tracker('siamffn_r50', None, 'cpu', 'auto', TrackerSettings())
    with pytest.raises(SiamFFNError, match="'opencv:goturn' is no tracker of OpenCV"):
        opencv_tracker('opencv:goturn')


def test_opencv_tracker_has_the_name_of_its_folder() -> None:
    mil = opencv_tracker('opencv:mil')
    assert (mil.name, mil.identity['tracker']) == ('opencv-mil', 'opencv:mil')
    assert pickle.loads(pickle.dumps(mil)).make().name == 'mil'
