"""Tests of tracker specifications: pickling, identities and errors."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import SiamFFNError, WeightsError
from siamffn_model.evaluation.jobs import run_one_pass
from siamffn_model.evaluation.tracker_specs import TrackerSpec, opencv_tracker, siamffn_tracker
from siamffn_model.networks.names import DEFAULT_MODEL
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.networks.zoo import create_model, save_weights
from siamffn_model.runtimes import nanotrack
from siamffn_model.runtimes.exported import Manifest, write_exported
from siamffn_model.tracking import Tracker, TrackerSettings, load_model

from ..tracking.test_opencv import write_nano


@pytest.mark.slow
def test_siamffn_tracker_is_the_same_in_another_process(scene: Scene, random_weights: Path) -> None:
    settings = TrackerSettings(window_influence=0.3)
    spec = siamffn_tracker(DEFAULT_MODEL, random_weights, 'cpu', 'auto', settings)
    unpickled = pickle.loads(pickle.dumps(spec))
    expected = Tracker(load_model(DEFAULT_MODEL, random_weights, 'cpu'), settings)
    images, first = scene.images[:5], scene.boxes[0]
    found = run_one_pass(unpickled.make(), images, first).boxes
    assert found.tolist() == run_one_pass(expected, images, first).boxes.tolist()


def test_identity_depends_on_weights_settings_and_runtime(random_weights: Path) -> None:
    def identity(
        weights: Path | None = None, runtime: str = 'auto', **settings: float
    ) -> dict[str, str]:
        settings_of = TrackerSettings(**settings)
        return siamffn_tracker(DEFAULT_MODEL, weights, 'cpu', runtime, settings_of).identity

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


@pytest.fixture
def nano(tmp_path: Path) -> Path:
    """A folder with model files of OpenCV's NanoTrack."""
    folder = tmp_path / 'nano'
    folder.mkdir()
    write_nano(folder, logit=2, distance=30)
    return folder


def test_opencv_trackers_with_other_model_files_have_other_names(nano: Path) -> None:
    copy = shutil.copytree(nano, nano.parent / 'elsewhere' / 'nano')
    spec, same = (opencv_tracker(f'opencv:nano={folder}') for folder in (nano, copy))
    assert spec.name.startswith('opencv-nano-nano-')
    assert (spec.name, spec.identity) == (same.name, same.identity), 'the same files'
    write_nano(copy, logit=2, distance=31)
    other = opencv_tracker(f'opencv:nano={copy}')
    assert other.name != spec.name and other.identity != spec.identity


def write_openvino(folder: Path, content: bytes) -> None:
    """Write an exported model with this content in place of its modules."""
    with write_exported(folder, Manifest(DEFAULT_MODEL, 'openvino', ScoreMap(15))) as partial:
        (partial / 'search.xml').write_bytes(content)


@pytest.mark.parametrize('kind', ['opencv', 'nanotrack', 'exported', 'file'])
def test_identity_depends_on_the_content_of_model_files(
    kind: str, nano: Path, tmp_path: Path, random_weights: Path
) -> None:
    """`--resume` compares identities: a changed file of any kind of tracker changes them."""
    model, path, changed = DEFAULT_MODEL, tmp_path / 'weights', ''
    if kind == 'opencv':
        path = nano
    elif kind == 'nanotrack':
        model, changed = 'nanotrack', nanotrack.FILES[1]
        path.mkdir()
        for name in nanotrack.FILES:
            (path / name).write_bytes(b'before')
    elif kind == 'exported':
        write_openvino(path, b'before')
    else:
        shutil.copy(random_weights, path)

    def spec() -> TrackerSpec:
        if kind == 'opencv':
            return opencv_tracker(f'opencv:nano={path}')
        return siamffn_tracker(model, path, 'cpu', 'auto', TrackerSettings())

    before = spec().identity
    assert spec().identity == before
    if kind == 'opencv':
        write_nano(path, logit=3, distance=30)
    elif kind == 'file':
        save_weights(create_model(model), model, path, {'data': 'others'})
    elif kind == 'exported':
        shutil.rmtree(path)
        write_openvino(path, b'after')
    else:
        (path / changed).write_bytes(b'after')
    assert spec().identity != before
