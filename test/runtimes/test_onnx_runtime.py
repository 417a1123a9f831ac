"""ONNX Runtime: results, devices, and ONNX files that TensorRT can read as well."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import ConfigError, DependencyError, WeightsError
from siamffn_model.networks.names import DEFAULT_MODEL
from siamffn_model.networks.zoo import create_model
from siamffn_model.runtimes import cache, onnx_format, selection
from siamffn_model.runtimes.exported import read_manifest
from siamffn_model.runtimes.selection import choose_runtime, load_model, prepare, weight_file

from .test_selection import candidates

pytestmark = pytest.mark.slow

onnx = pytest.importorskip('onnx', reason='extra [export] not installed')
for package in ('onnxruntime', 'onnxscript'):
    pytest.importorskip(package, reason='extra [export] not installed')
onnx_runtime = pytest.importorskip('siamffn_model.runtimes.onnx_runtime')


def test_a_model_with_anchors_gives_the_same_candidates(scene: Scene) -> None:
    torch.manual_seed(0)
    models = create_model('siamrpn_alex'), create_model('siamrpn_alex')
    models[1].load_state_dict(models[0].state_dict())
    expected, actual = (
        candidates(prepare(model, 'cpu', runtime), scene)
        for model, runtime in zip(models, ('eager', 'onnx'), strict=True)
    )
    scale = np.abs(expected).max(axis=2, keepdims=True)
    assert (np.abs(actual - expected) < 1e-3 * scale).all()


def test_shapes_are_constant_and_tensors_are_named(onnx_folder: Path) -> None:
    template, search = (onnx.load(onnx_folder / f'{name}.onnx') for name in ('template', 'search'))
    assert template.opset_import[0].version >= 17
    sides = 5, 5, 5, 7  # three kernels and the template of the pixel-wise correlation
    levels = {f'template{number}': [1, 96, side, side] for number, side in enumerate(sides)}
    assert shapes(template.graph.input) == {'crop': [1, 127, 127, 3]}
    assert shapes(template.graph.output) == levels
    assert shapes(search.graph.input) == {'crop': [1, 255, 255, 3], **levels}
    assert shapes(search.graph.output) == {'candidates': [1, 5, 225]}


def shapes(values: list[onnx.ValueInfoProto]) -> dict[str, list[int]]:
    return {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


def test_the_first_operation_on_a_crop_is_a_cast(onnx_folder: Path) -> None:
    for name in ('template', 'search'):
        nodes = onnx.load(onnx_folder / f'{name}.onnx').graph.node
        assert [node.op_type for node in nodes if 'crop' in node.input] == ['Cast']


def test_the_correlations_are_one_grouped_convolution(onnx_folder: Path) -> None:
    graph = onnx.load(onnx_folder / 'search.onnx').graph
    kinds = {node.op_type for node in graph.node}
    assert kinds.isdisjoint({'Shape', 'ConstantOfShape', 'Loop', 'If', 'Constant'}), (
        'all shapes are constant'
    )
    constants = {tensor.name for tensor in graph.initializer}
    made_by = {output: node for node in graph.node for output in node.output}
    kernels = []
    for node in graph.node:
        if node.op_type == 'Conv' and node.input[1] not in constants:
            attributes = {item.name: item for item in node.attribute}
            assert attributes['group'].i == 3 * 96
            assert list(attributes['kernel_shape'].ints) == [5, 5]
            kernel = node.input[1]
            while made_by[kernel].op_type in ('Expand', 'Reshape', 'Unsqueeze'):
                kernel = made_by[kernel].input[0]
            assert made_by[kernel].op_type == 'Concat'
            kernels.append(list(made_by[kernel].input))
    assert kernels == [['template0', 'template1', 'template2']]


def test_a_converted_model_is_cached_and_read_without_pytorch(
    onnx_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    modules = onnx_format.read_modules(onnx_folder, read_manifest(onnx_folder).score_map)
    weights = weight_file(DEFAULT_MODEL)
    monkeypatch.setattr(cache, 'convert', lambda *_: modules)
    runtime = load_model(weights=weights, device='cpu', runtime='onnx')
    assert (runtime.name, runtime.device) == ('ONNX Runtime, CPU', 'cpu')
    (cached,) = (tmp_path / 'siamffn' / 'onnx').iterdir()
    program = 'import sys; from siamffn_model.tracking import load_model'
    load = f'load_model(weights={str(weights)!r}, device="cpu", runtime="onnx")'
    load += '; print("torch" in sys.modules)'
    done = subprocess.run(
        [sys.executable, '-c', f'{program}; {load}'], capture_output=True, text=True
    )
    assert done.stdout == 'False\n', f'PyTorch must not be imported; {done.stderr}'
    (cached / 'search.onnx').write_bytes(modules.search[:1000])
    load_model(weights=weights, device='cpu', runtime='onnx')
    assert (cached / 'search.onnx').read_bytes() == modules.search, (
        'a damaged model is converted again'
    )


def test_damaged_modules_are_refused(onnx_folder: Path, tmp_path: Path) -> None:
    score_map = read_manifest(onnx_folder).score_map
    with pytest.raises(WeightsError, match='contains no ONNX model'):
        onnx_format.read_modules(tmp_path, score_map)
    modules = onnx_format.read_modules(onnx_folder, score_map)._replace(search=b'search')
    with pytest.raises(WeightsError, match='ONNX Runtime cannot load the model'):
        onnx_runtime.ONNXRuntime(modules, 'cpu')


CPU, CUDA, TENSORRT = (f'{name}ExecutionProvider' for name in ('CPU', 'CUDA', 'Tensorrt'))


@pytest.mark.parametrize(
    ('device', 'available', 'expected'),
    [
        ('cpu', [TENSORRT, CUDA, CPU], [CPU]),
        ('cuda', [CUDA, CPU], [CUDA]),
        ('cuda:1', [CPU, CUDA, TENSORRT], [TENSORRT, CUDA]),
    ],
)
def test_the_fastest_provider_is_first(
    device: str,
    available: list[str],
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    requested = onnx_runtime.providers(device, available, b'model')
    assert [name for name, _ in requested] == expected
    if device == 'cuda:1':
        assert [options['device_id'] for _, options in requested] == [1, 1]
        assert requested[0][1]['trt_fp16_enable'] is True


def engine_folder(model: bytes) -> Path:
    (_, options), _ = onnx_runtime.providers('cuda', [TENSORRT, CUDA], model)
    assert options['trt_engine_cache_enable'] is True
    folder = Path(options['trt_engine_cache_path'])
    assert folder.is_dir(), 'ONNX Runtime does not create parent folders'
    return folder


def test_each_model_and_each_tensorrt_version_has_its_own_engines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    first = engine_folder(b'weights of Monday')
    assert first.is_relative_to(tmp_path / 'siamffn')
    assert engine_folder(b'weights of Tuesday') != first
    assert engine_folder(b'weights of Monday') == first
    with monkeypatch.context() as patch:
        patch.setattr(onnx_runtime, '_tensorrt_version', lambda: '101401')
        newer = engine_folder(b'weights of Monday')
        patch.setattr(onnx_runtime.onnxruntime, '__version__', '99.0')
        folders = {first, newer, engine_folder(b'weights of Monday')}
    assert len(folders) == 3


def test_old_engines_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    folders = [engine_folder(bytes([n])) for n in range(onnx_runtime.MAX_ENGINES)]
    for age, folder in enumerate(folders):
        os.utime(folder, (age, age))
    assert engine_folder(bytes([0])) == folders[0], 'it is used, so it is the newest now'
    engine_folder(b'another model')
    assert [folder.exists() for folder in folders] == [True, False] + [True] * 6


def test_engines_are_not_cached_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'file').touch()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    (_, options), _ = onnx_runtime.providers('cuda', [TENSORRT, CUDA], b'model')
    assert options == {'device_id': 0, 'trt_fp16_enable': True}


def test_an_unusable_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DependencyError, match="cannot use 'cuda': `pip install onnxruntime-gpu`"):
        onnx_runtime.providers('cuda', ['AzureExecutionProvider', CPU], b'model')
    with pytest.raises(ConfigError, match="unknown device 'toaster'"):
        choose_runtime('toaster', 'onnx')
    assert choose_runtime('cuda:1', 'onnx') == ('cuda:1', 'onnx')
    monkeypatch.setattr(selection, 'has_driver', lambda: False)
    assert choose_runtime('auto', 'onnx') == ('cpu', 'onnx')


def test_a_missing_exporter_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_format, 'find_spec', lambda _: None)
    with pytest.raises(
        DependencyError, match=r'onnx is not installed: conversion to ONNX needs .* \[export\]'
    ):
        prepare(create_model('siamfc_alex'), 'cpu', 'onnx')
