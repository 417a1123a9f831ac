"""Exported models: each format computes the same as the trained network, int8 approximately."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from siamffn_model.datasets.sequences import read_sequences
from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import ConfigError, DataError, DependencyError, SiamFFNError, WeightsError
from siamffn_model.export import export_model as exporting
from siamffn_model.export.export_model import export_model
from siamffn_model.export.parity import difference
from siamffn_model.networks.names import DEFAULT_MODEL
from siamffn_model.runtimes.exported import FORMATS, read_manifest
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.runtimes.selection import load_model
from siamffn_model.tracking import Tracker

from ..runtimes.test_selection import candidates

pytestmark = pytest.mark.slow

for package in ('nncf', 'onnxruntime', 'onnxscript', 'openvino'):
    pytest.importorskip(package, reason='extra [export] not installed')


@pytest.fixture(scope='module')
def exported(onnx_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Runtime]:
    """Export the model of the package to each format, in single precision."""
    folder = tmp_path_factory.mktemp('exported')
    export_model(DEFAULT_MODEL, None, 'openvino', folder / 'openvino', [])
    return {
        'openvino': load_model(weights=folder / 'openvino', runtime='openvino-f32'),
        'torchscript': export_model(DEFAULT_MODEL, None, 'torchscript', folder / 'script', []),
        'onnx': load_model(weights=onnx_folder, device='cpu', runtime='onnx'),
    }


@pytest.mark.parametrize('format_name', FORMATS)
def test_each_format_tracks_like_the_trained_network(
    exported: dict[str, Runtime], scene: Scene, format_name: str
) -> None:
    trained, runtime = load_model(device='cpu', runtime='eager'), exported[format_name]
    expected, actual = candidates(trained, scene), candidates(runtime, scene)
    assert np.allclose(actual, expected, rtol=1e-3, atol=1e-3)
    trackers = Tracker(trained), Tracker(runtime)
    for tracker in trackers:
        tracker.init(scene.images[0], scene.boxes[0])
    for image in scene.images[1:6]:
        expected_box, actual_box = (tracker.update(image).box for tracker in trackers)
        # The tolerance allows for another candidate with almost the same score.
        assert np.allclose(actual_box, expected_box, atol=0.1)


def test_the_difference_is_reported(exported: dict[str, Runtime], clips: Path) -> None:
    trained, runtime = load_model(device='cpu', runtime='eager'), exported['onnx']
    text = difference(trained, runtime, read_sequences(clips))
    assert re.fullmatch(
        r'ONNX Runtime, CPU against PyTorch eager, 10 crops: largest difference of scores 0\.00\d\d'
        r', of boxes 0\.0\d\d pixels of the search crop \(median 0\.0\d\d\)',
        text,
    )


def test_int8_is_close_to_single_precision(clips: Path, tmp_path: Path, scene: Scene) -> None:
    sequences = read_sequences(clips)
    export_model(DEFAULT_MODEL, None, 'openvino', tmp_path / 'int8', sequences)
    assert read_manifest(tmp_path / 'int8').precision == 'int8'
    assert 'FakeQuantize' in (tmp_path / 'int8' / 'search.xml').read_text()
    assert 'FakeQuantize' not in (tmp_path / 'int8' / 'template.xml').read_text()
    trained = load_model(device='cpu', runtime='eager')
    runtime = load_model(weights=tmp_path / 'int8', device='cpu')
    expected, actual = (candidates(r, scene)[0] for r in (trained, runtime))
    best = expected[0].argmax()
    assert abs(actual[0, best] - expected[0, best]) < 0.1
    assert np.allclose(actual[1:, best], expected[1:, best], atol=10)
    assert not np.allclose(actual[1:, best], expected[1:, best], atol=1e-3), 'int8 is not exact'


def test_invalid_exports_are_reported(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, sequences = tmp_path / 'out', read_sequences(clips)
    with pytest.raises(DataError, match='already exists: choose a folder'):
        export_model(DEFAULT_MODEL, None, 'onnx', tmp_path, [])
    with pytest.raises(WeightsError, match=r'is a folder: give the \.safetensors file'):
        export_model(DEFAULT_MODEL, tmp_path, 'onnx', out, [])
    with pytest.raises(SiamFFNError, match='unknown model'):
        export_model('resnet', None, 'onnx', out, [])
    with pytest.raises(ConfigError, match='int8 is for the format openvino only, not for onnx'):
        export_model(DEFAULT_MODEL, None, 'onnx', out, sequences)
    monkeypatch.setattr(exporting, 'find_spec', lambda _: None)
    with pytest.raises(
        DependencyError, match=r'nncf is not installed: int8 needs the extra \[export'
    ):
        export_model(DEFAULT_MODEL, None, 'openvino', out, sequences)
    assert not out.exists()
