"""From a name to a runtime: the quickest that is there, each with the same candidates."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import ConfigError, DependencyError, WeightsError
from siamffn_model.imaging.crop import View
from siamffn_model.networks.zoo import create_model, read_weights, save_weights
from siamffn_model.runtimes.runtime import Floats, Runtime
from siamffn_model.runtimes.selection import RUNTIMES, WEIGHTS, choose, load_model, prepare


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's cache that is empty."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'siamffn' / 'openvino'


def candidates(runtime: Runtime, scene: Scene) -> Floats:
    """What a runtime sees of two targets in the scene's second image, each at its place."""
    (first, second), (box, _) = scene.images[:2], scene.boxes[:2]
    places = [(box.cx, box.cy, 2 * box.w), (100, 80, 60)]
    templates = [runtime.template(View(first, *place, (0, 0, 0))) for place in places]
    views = [View(second, x, y, 2 * side, (9, 9, 9)) for x, y, side in places]
    return runtime.search(views, templates)


# one of each kind of head
@pytest.mark.parametrize('name', ['siamffn_lite0', 'siamban_lite0', 'siamrpn_alex', 'siamfc_alex'])
def test_every_runtime_sees_what_the_trained_network_sees(name: str, scene: Scene) -> None:
    torch.manual_seed(0)
    state = create_model(name).state_dict()
    found = {}
    for runtime in ('eager', 'torch', 'openvino-f32'):
        model = create_model(name)
        model.load_state_dict(state)
        found[runtime] = candidates(prepare(model, 'cpu', runtime), scene)
    expected = found.pop('eager')
    for other in found.values():
        assert other.shape == expected.shape
        scale = np.abs(expected).max(axis=2, keepdims=True)
        assert (np.abs(other - expected) < 1e-3 * scale).all()


def test_the_quickest_runtime_is_near_enough(scene: Scene) -> None:
    expected, found = (candidates(load_model(runtime=r), scene) for r in ('eager', 'auto'))
    best = expected[:, 0].argmax(axis=1)
    each = range(len(best))
    assert np.allclose(found[each, 0, best], expected[each, 0, best], atol=0.1)
    assert np.allclose(found[0, 1:, best[0]], expected[0, 1:, best[0]], rtol=0.1, atol=1)


def test_a_converted_model_is_kept_and_read_the_next_time(cache: Path, scene: Scene) -> None:
    pytest.importorskip('openvino', reason='extra [openvino] not installed')
    expected = candidates(load_model(), scene)
    (kept,) = cache.iterdir()
    program = 'import sys; from siamffn_model.tracking import load_model; load_model(device="cpu")'
    done = subprocess.run(
        [sys.executable, '-c', f'{program}; print("torch" in sys.modules)'],
        capture_output=True,
        text=True,
    )
    assert done.stdout == 'False\n', f'read without PyTorch; {done.stderr}'
    assert np.array_equal(candidates(load_model(), scene), expected)
    (kept / 'search.bin').write_bytes(b'')
    assert np.array_equal(candidates(load_model(), scene), expected), 'a damaged one is made anew'
    assert (kept / 'search.bin').stat().st_size


def test_a_cache_that_cannot_be_written_does_no_harm(cache: Path, scene: Scene) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text('')
    assert candidates(load_model(), scene).shape == (2, 5, 625)


def test_the_cache_keeps_few_models(cache: Path, tmp_path: Path) -> None:
    pytest.importorskip('openvino', reason='extra [openvino] not installed')
    for number in range(4):
        (cache / f'old{number}').mkdir(parents=True)
        os.utime(cache / f'old{number}', (number, number))
    load_model()
    names = {path.name for path in cache.iterdir()}
    assert len(names) == 4 and 'old0' not in names and 'old3' in names


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='unknown model'):
        load_model('resnet')
    with pytest.raises(WeightsError, match=r'none\.safetensors is missing'):
        load_model(weights=tmp_path / 'none.safetensors')
    with pytest.raises(ConfigError, match=f"unknown runtime 'tvm'.*{', '.join(RUNTIMES)}"):
        load_model(runtime='tvm')
    with pytest.raises(ConfigError, match=r"OpenVINO runs on the CPU here, not on 'cuda'"):
        choose('cuda', 'openvino')
    with pytest.raises(WeightsError, match=r'is not an exported model: its model\.json'):
        load_model(weights=tmp_path)


def test_auto_takes_onnx_on_a_cpu_without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    there = ['onnxruntime']
    monkeypatch.setattr(
        'siamffn_model.runtimes.selection.find_spec', lambda name: name in there or None
    )
    assert choose('cpu', 'auto') == ('cpu', 'torch'), 'the model could not be converted'
    there.append('onnxscript')
    assert choose('cpu', 'auto') == ('cpu', 'onnx')


def test_auto_takes_openvino_on_a_cpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose('cpu', 'eager') == ('cpu', 'eager')
    monkeypatch.setattr('siamffn_model.runtimes.selection.find_spec', lambda _: True)
    assert choose('cpu', 'auto') == ('cpu', 'openvino')
    monkeypatch.setattr('siamffn_model.runtimes.selection.find_spec', lambda _: None)
    assert choose('cpu', 'auto') == ('cpu', 'torch')
    with pytest.raises(DependencyError, match='ONNX Runtime is not installed: `pip install onnxr'):
        choose('cpu', 'onnx')
    with pytest.raises(DependencyError, match='OpenVINO is not installed'):
        choose('cpu', 'openvino')


@pytest.mark.parametrize('path', list(WEIGHTS.glob('*.safetensors')), ids=lambda path: path.stem)
def test_shipped_weights_are_small_finite_and_those_of_the_card(path: Path) -> None:
    assert path.stat().st_size < 15e6
    assert hashlib.sha256(path.read_bytes()).hexdigest() in path.with_suffix('.md').read_text()
    assert all(value.isfinite().all() for value in read_weights(path, path.stem).values())


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'x.safetensors'
    save_weights(create_model('siamfc_alex'), 'siamfc_alex', path, {})
    with pytest.raises(WeightsError, match='belongs to siamfc_alex'):
        load_model('siamffn_lite0', path)
