"""Loading models: choice of the runtime, the cache, and equal candidates from all runtimes."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.errors import ConfigError, DependencyError, WeightsError
from siamffn_model.imaging.crop import View
from siamffn_model.imaging.geometry import iou
from siamffn_model.imaging.sources import open_frames
from siamffn_model.networks.names import DEFAULT_MODEL
from siamffn_model.networks.zoo import create_model, read_weights, save_weights
from siamffn_model.runtimes import onnx_runtime, selection
from siamffn_model.runtimes.exported import fingerprint, read_manifest
from siamffn_model.runtimes.runtime import Floats, Runtime
from siamffn_model.runtimes.selection import (
    RUNTIMES,
    WEIGHTS,
    choose_runtime,
    load_model,
    prepare,
    weight_file,
)
from siamffn_model.tracking import Tracker

from ..command import environment_without, siamffn_process


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of OpenVINO models."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'siamffn' / 'openvino'


def candidates(runtime: Runtime, scene: Scene) -> Floats:
    """Return the candidates of a runtime for two targets in the second image of the scene."""
    (first, second), (box, _) = scene.images[:2], scene.boxes[:2]
    squares = [(box.cx, box.cy, 2 * box.w), (100, 80, 60)]
    templates = [runtime.template(View(first, *square, (0, 0, 0))) for square in squares]
    views = [View(second, x, y, 2 * side, (9, 9, 9)) for x, y, side in squares]
    return runtime.search(views, templates)


# one of each kind of head
@pytest.mark.slow
@pytest.mark.parametrize(
    'name', ['siamffn_lite0', 'siamffn_lite0_s16', 'siamban_lite0', 'siamrpn_alex', 'siamfc_alex']
)
def test_every_runtime_agrees_with_the_eager_model(name: str, scene: Scene) -> None:
    torch.manual_seed(0)
    state = create_model(name).state_dict()
    results = {}
    for runtime in ('eager', 'torch', 'openvino-f32'):
        model = create_model(name)
        model.load_state_dict(state)
        results[runtime] = candidates(prepare(model, 'cpu', runtime), scene)
    expected = results.pop('eager')
    for other in results.values():
        assert other.shape == expected.shape
        scale = np.abs(expected).max(axis=2, keepdims=True)
        assert (np.abs(other - expected) < 1e-3 * scale).all()


def test_the_fastest_runtime_is_close_to_eager(scene: Scene) -> None:
    expected, fastest = (candidates(load_model(runtime=r), scene) for r in ('eager', 'auto'))
    best = expected[:, 0].argmax(axis=1)
    each = range(len(best))
    assert np.allclose(fastest[each, 0, best], expected[each, 0, best], atol=0.1)
    assert np.allclose(fastest[0, 1:, best[0]], expected[0, 1:, best[0]], rtol=0.1, atol=1)


@pytest.mark.slow
def test_engines_agree_on_a_face_to_a_pixel() -> None:
    demo = pytest.importorskip('siamffn_ros.demo', reason='ROS is not installed')
    frames = list(itertools.islice(open_frames(demo.find_video()), 101))
    boxes = []
    for name in ('openvino-f32', 'onnx'):
        tracker = Tracker(load_model(device='cpu', runtime=name))
        tracker.init(frames[0], demo.FACE)
        boxes.append([tracker.update(frame).box for frame in frames[1:]])
    difference = np.abs(np.array(boxes[0]) - np.array(boxes[1]))
    assert difference.max() < 1


@pytest.mark.slow
def test_a_converted_model_is_cached_and_read_without_pytorch(cache: Path, scene: Scene) -> None:
    pytest.importorskip('openvino', reason='extra [openvino] not installed')
    weights = weight_file(DEFAULT_MODEL)

    def load() -> Floats:
        return candidates(load_model(weights=weights, runtime='openvino-f32'), scene)

    expected = load()
    (cached,) = cache.iterdir()
    program = 'import sys; from siamffn_model.tracking import load_model; '
    program += f'load_model(weights={str(weights)!r}, device="cpu")'
    done = subprocess.run(
        [sys.executable, '-c', f'{program}; print("torch" in sys.modules)'],
        capture_output=True,
        text=True,
    )
    assert done.stdout == 'False\n', f'PyTorch must not be imported; {done.stderr}'
    assert_equal_candidates(
        candidates(load_model(weights=weights, runtime='openvino-f32'), scene), expected
    )
    (cached / 'search.bin').write_bytes(b'')
    assert_equal_candidates(
        candidates(load_model(weights=weights, runtime='openvino-f32'), scene), expected
    )
    assert (cached / 'search.bin').stat().st_size, 'a damaged model is converted again'


def assert_equal_candidates(actual: Floats, expected: Floats) -> None:
    """Compare with tolerances far below those that change a tracked box.

    OpenVINO's sums in several threads differ by rounding from one compilation to the next.
    """
    np.testing.assert_allclose(actual[:, 0], expected[:, 0], rtol=0, atol=1e-5)  # scores
    np.testing.assert_allclose(actual[:, 1:], expected[:, 1:], rtol=1e-5, atol=1e-3)  # pixels


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_ignored(cache: Path, scene: Scene) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text('')
    weights = weight_file(DEFAULT_MODEL)
    assert candidates(load_model(weights=weights), scene).shape == (2, 5, 225)


@pytest.mark.slow
def test_old_models_are_evicted_from_the_cache(cache: Path, tmp_path: Path) -> None:
    pytest.importorskip('openvino', reason='extra [openvino] not installed')
    for number in range(4):
        (cache / f'old{number}').mkdir(parents=True)
        os.utime(cache / f'old{number}', (number, number))
    load_model(weights=weight_file(DEFAULT_MODEL))
    names = {path.name for path in cache.iterdir()}
    assert len(names) == 4 and 'old0' not in names and 'old3' in names


def test_unknown_names_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='unknown model'):
        load_model('resnet')
    with pytest.raises(WeightsError, match=r'none\.safetensors is missing'):
        load_model(weights=tmp_path / 'none.safetensors')
    with pytest.raises(ConfigError, match=f"unknown runtime 'tvm'.*{', '.join(RUNTIMES)}"):
        load_model(runtime='tvm')
    with pytest.raises(ConfigError, match=r"OpenVINO is supported on the CPU only, not on 'cuda'"):
        choose_runtime('cuda', 'openvino')
    with pytest.raises(WeightsError, match=r'is not an exported model: its model\.json'):
        load_model(weights=tmp_path)


def test_auto_selects_onnx_on_a_cpu_without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = ['onnxruntime', 'torch']
    monkeypatch.setattr(
        'siamffn_model.runtimes.selection.find_spec', lambda name: name in installed or None
    )
    assert choose_runtime('cpu', 'auto') == ('cpu', 'torch'), (
        'onnxscript, which conversion needs, is missing'
    )
    monkeypatch.setattr(selection, '_start', lambda modules, *started: started)
    assert load_model(device='cpu') == ('cpu', 'onnx'), 'it ships converted'
    installed.append('onnxscript')
    assert choose_runtime('cpu', 'auto') == ('cpu', 'onnx')


@pytest.mark.parametrize(
    ('driver', 'onnx_device', 'device', 'chosen'),
    [
        (True, 'cuda', 'auto', ('cuda', 'onnx')),
        (True, 'cuda', 'cpu', ('cpu', 'openvino')),
        (True, 'cpu', 'auto', ('cpu', 'openvino')),
        (False, 'cuda', 'auto', ('cpu', 'openvino')),
        (False, 'cpu', 'cuda:1', ('cuda:1', 'onnx')),
    ],
)
def test_onnx_files_run_on_the_gpu_that_onnx_runtime_supports(
    monkeypatch: pytest.MonkeyPatch,
    driver: bool,
    onnx_device: str,
    device: str,
    chosen: tuple[str, str],
) -> None:
    monkeypatch.setattr(selection, 'has_driver', lambda: driver)
    monkeypatch.setattr(onnx_runtime, 'fastest_device', lambda: onnx_device)
    monkeypatch.setattr(selection, '_start', lambda modules, *started: started)
    assert load_model(weights=WEIGHTS / DEFAULT_MODEL, device=device) == chosen


def test_auto_selects_openvino_on_a_cpu_if_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_runtime('cpu', 'eager') == ('cpu', 'eager')
    monkeypatch.setattr('siamffn_model.runtimes.selection.find_spec', lambda _: True)
    assert choose_runtime('cpu', 'auto') == ('cpu', 'openvino')
    installed = ['torch']
    monkeypatch.setattr(
        'siamffn_model.runtimes.selection.find_spec', lambda name: name in installed or None
    )
    assert choose_runtime('cpu', 'auto') == ('cpu', 'torch')
    with pytest.raises(DependencyError, match=r'onnxruntime is not installed: .* \[onnx\].*Jetson'):
        choose_runtime('cpu', 'onnx')
    with pytest.raises(DependencyError, match=r'openvino is not installed: .* \[openvino\]; run'):
        choose_runtime('cpu', 'openvino')
    installed.clear()
    with pytest.raises(DependencyError, match=r'tracking needs .* \[openvino\].* \[onnx\] or'):
        choose_runtime('cpu', 'auto')
    with pytest.raises(DependencyError, match="torch is not installed: the runtime 'eager' needs"):
        choose_runtime('cpu', 'eager')


@pytest.mark.parametrize('engine', ['openvino', 'onnxruntime'])
def test_the_default_model_needs_one_inference_engine_and_nothing_else(
    engine: str, sequence: Path, tmp_path: Path
) -> None:
    others = {'torch', 'onnx', 'onnxscript', 'openvino', 'onnxruntime'} - {engine}
    home = tmp_path / 'home'
    home.mkdir(mode=0o500)
    environment = {**environment_without(tmp_path, others), 'HOME': str(home)}
    words = 'track', sequence, '--init', '60,60,30,30', '--out', tmp_path / 'out'
    result = siamffn_process(environment, *words)
    assert result.returncode == 0, result.stderr
    assert 'see ' in result.stdout and list(home.iterdir()) == []


@pytest.mark.parametrize('name', [path.parent.name for path in WEIGHTS.glob('*/model.json')])
def test_shipped_onnx_files_are_those_of_the_shipped_weights(name: str, scene: Scene) -> None:
    manifest = read_manifest(WEIGHTS / name)
    assert manifest.weights == fingerprint(weight_file(name)), 'run `siamffn export` again'
    expected, actual = (
        candidates(load_model(name, device='cpu', runtime=runtime), scene)
        for runtime in ('eager', 'openvino-f32')
    )
    scale = np.abs(expected).max(axis=2, keepdims=True)
    assert (np.abs(actual - expected) < 1e-4 * scale).all()


@pytest.mark.parametrize('name', [path.stem for path in WEIGHTS.glob('*.safetensors')])
def test_shipped_weights_track_a_rendered_target(name: str) -> None:
    scene = render_scene(20, (640, 480), seed=1)
    tracker = Tracker(load_model(name, device='cpu'))
    tracker.init(scene.images[0], scene.boxes[0])
    boxes = [tracker.update(image).box for image in scene.images[1:]]
    assert iou(boxes, scene.boxes[1:]).min() > 0.5


@pytest.mark.parametrize('path', list(WEIGHTS.glob('*.safetensors')), ids=lambda path: path.stem)
def test_shipped_weights_are_small_finite_and_match_their_card(path: Path) -> None:
    assert path.stat().st_size < 15e6
    assert hashlib.sha256(path.read_bytes()).hexdigest() in path.with_suffix('.md').read_text()
    assert all(value.isfinite().all() for value in read_weights(path, path.stem).values())


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'x.safetensors'
    save_weights(create_model('siamfc_alex'), 'siamfc_alex', path, {})
    with pytest.raises(WeightsError, match='belongs to siamfc_alex'):
        load_model(DEFAULT_MODEL, path)
