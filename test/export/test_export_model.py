"""Exported models: each format tracks as the network that was trained, int8 nearly so."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from siamffn_model.datasets.sequences import read_sequences
from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import ConfigError, DataError, DependencyError, SiamFFNError, WeightsError
from siamffn_model.export import export_model as exporting
from siamffn_model.export.crop_pairs import sequence_pairs
from siamffn_model.export.export_model import export_model
from siamffn_model.export.parity import difference
from siamffn_model.imaging.crop import View
from siamffn_model.runtimes.exported import FORMATS, read_manifest
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.runtimes.selection import load_model
from siamffn_model.tracking import Tracker

from ..runtimes.test_selection import candidates

for package in ('nncf', 'onnxruntime', 'onnxscript', 'openvino'):
    pytest.importorskip(package, reason='extra [export] not installed')


@pytest.fixture(scope='module')
def exported(onnx_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Runtime]:
    """The shipped model in each format, in single precision."""
    folder = tmp_path_factory.mktemp('exported')
    export_model('siamffn_lite0', None, 'openvino', folder / 'openvino', [])
    return {
        'openvino': load_model(weights=folder / 'openvino', runtime='openvino-f32'),
        'torchscript': export_model('siamffn_lite0', None, 'torchscript', folder / 'script', []),
        'onnx': load_model(weights=onnx_folder, device='cpu'),
    }


@pytest.mark.parametrize('form', FORMATS)
def test_each_format_tracks_as_the_trained_network(
    exported: dict[str, Runtime], scene: Scene, form: str
) -> None:
    trained, runtime = load_model(device='cpu', runtime='eager'), exported[form]
    expected, found = candidates(trained, scene), candidates(runtime, scene)
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-3)
    trackers = Tracker(trained), Tracker(runtime)
    for tracker in trackers:
        tracker.init(scene.images[0], scene.boxes[0])
    for image in scene.images[1:6]:
        expected_box, found_box = (tracker.update(image).box for tracker in trackers)
        assert np.allclose(found_box, expected_box, atol=0.1)  # of two like scores another may win


def test_the_difference_is_told(exported: dict[str, Runtime], clips: Path) -> None:
    trained, runtime = load_model(device='cpu', runtime='eager'), exported['onnx']
    text = difference(trained, runtime, read_sequences(clips))
    assert re.fullmatch(
        r'ONNX Runtime, CPU against PyTorch eager, 10 crops: largest difference of scores 0\.00\d\d'
        r', of boxes 0\.0\d\d pixels of the search crop \(median 0\.0\d\d\)',
        text,
    )


def test_int8_is_near(clips: Path, tmp_path: Path, scene: Scene) -> None:
    sequences = read_sequences(clips)
    export_model('siamffn_lite0', None, 'openvino', tmp_path / 'int8', sequences)
    assert read_manifest(tmp_path / 'int8').precision == 'int8'
    assert 'FakeQuantize' in (tmp_path / 'int8' / 'search.xml').read_text()
    assert 'FakeQuantize' not in (tmp_path / 'int8' / 'template.xml').read_text()
    trained = load_model(device='cpu', runtime='eager')
    runtime = load_model(weights=tmp_path / 'int8', device='cpu')
    expected, found = (candidates(r, scene)[0] for r in (trained, runtime))
    best = expected[0].argmax()
    assert abs(found[0, best] - expected[0, best]) < 0.1
    assert np.allclose(found[1:, best], expected[1:, best], atol=10)
    assert not np.allclose(found[1:, best], expected[1:, best], atol=1e-3), 'it is in 8 bits'


def test_pairs_show_the_target_in_the_middle_and_are_the_same_again(clips: Path) -> None:
    truth = clips / 'clip2' / 'groundtruth.txt'
    rows = truth.read_text().splitlines()
    truth.write_text('\n'.join([*rows[:2], 'NaN,NaN,NaN,NaN', *rows[3:]]))
    sequences = read_sequences(clips)
    found = list(sequence_pairs(sequences, 100))
    assert len(found) == 5 + 4, 'of each frame after the first that shows the target'
    for _, search in found[:5]:
        boxes = sequences[0].truth
        off = np.abs(boxes[:, :2] + boxes[:, 2:] / 2 - (search.x, search.y)).max(axis=1).min()
        assert off < 0.1 * search.side
    again = list(sequence_pairs(sequences, 100))
    assert [places(pair) for pair in again] == [places(pair) for pair in found]
    assert len({search.x for _, search in sequence_pairs(sequences, 3)}) == 3
    truth.write_text('\n'.join([rows[0], *['NaN,NaN,NaN,NaN'] * 5]))
    with pytest.raises(DataError, match='no frame after the first'):
        next(sequence_pairs(read_sequences(clips)[1:], 5))


def places(pair: tuple[View, View]) -> list[tuple[float, float, float]]:
    return [(view.x, view.y, view.side) for view in pair]


def test_what_cannot_be_exported_is_refused(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, sequences = tmp_path / 'out', read_sequences(clips)
    with pytest.raises(DataError, match='already exists: choose a folder'):
        export_model('siamffn_lite0', None, 'onnx', tmp_path, [])
    with pytest.raises(WeightsError, match=r'is a folder: give the \.safetensors file'):
        export_model('siamffn_lite0', tmp_path, 'onnx', out, [])
    with pytest.raises(SiamFFNError, match='unknown model'):
        export_model('resnet', None, 'onnx', out, [])
    with pytest.raises(ConfigError, match='int8 is for the format openvino only, not for onnx'):
        export_model('siamffn_lite0', None, 'onnx', out, sequences)
    monkeypatch.setattr(exporting, 'find_spec', lambda _: None)
    with pytest.raises(
        DependencyError, match=r'nncf is not installed: int8 needs the extra \[export'
    ):
        export_model('siamffn_lite0', None, 'openvino', out, sequences)
    assert not out.exists()
