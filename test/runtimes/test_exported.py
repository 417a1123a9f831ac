"""Exported models: the manifest, and folders that are refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from siamffn_model.errors import ConfigError, DataError, WeightsError
from siamffn_model.networks.names import DEFAULT_MODEL
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.runtimes.exported import (
    FORMATS,
    MANIFEST,
    Manifest,
    read_manifest,
    write_exported,
)
from siamffn_model.runtimes.selection import WEIGHTS, check_weights, load_model


def write_manifest(folder: Path, **changes: object) -> Path:
    """Write an exported model without modules, with changes to its manifest; return the folder."""
    with write_exported(folder, Manifest(DEFAULT_MODEL, 'onnx', ScoreMap(25))):
        pass
    values = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**values, **changes}))
    return folder


@pytest.mark.parametrize('form', FORMATS)
def test_a_manifest_is_read_as_it_was_written(tmp_path: Path, form: str) -> None:
    manifest = Manifest(
        'siamrpn_alex',
        form,
        ScoreMap(17, ((104.0, 32.0), (88.0, 40.0)), stride=16),
        'int8',
        '1.2.3',
        weights='ab',
    )
    with write_exported(tmp_path / 'model', manifest) as partial:
        (partial / 'search.bin').write_bytes(b'search')
    checksums = {'search.bin': hashlib.sha256(b'search').hexdigest()}
    assert read_manifest(tmp_path / 'model') == replace(manifest, checksums=checksums)
    assert {path.name for path in (tmp_path / 'model').iterdir()} == {MANIFEST, 'search.bin'}


@pytest.mark.parametrize('change', [Path.unlink, lambda path: path.write_bytes(b'else')])
def test_a_damaged_file_is_refused(tmp_path: Path, change: Callable[[Path], object]) -> None:
    with write_exported(tmp_path / 'model', Manifest('x', 'onnx', ScoreMap(25))) as partial:
        (partial / 'search.onnx').write_bytes(b'search')
    change(tmp_path / 'model' / 'search.onnx')
    with pytest.raises(WeightsError, match=r'search\.onnx is missing or damaged: copy or install'):
        read_manifest(tmp_path / 'model')


@pytest.mark.parametrize('runtime', ['openvino', 'onnx'])
def test_another_number_of_candidates_is_refused(tmp_path: Path, runtime: str) -> None:
    folder = shutil.copytree(WEIGHTS / DEFAULT_MODEL, tmp_path / 'model')
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest['score_map']['side'] = 14
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(WeightsError, match=r'has 225 candidates, but model\.json describes 196'):
        load_model(weights=folder, device='cpu', runtime=runtime)


def test_a_manifest_without_a_stride_has_stride_8(tmp_path: Path) -> None:
    folder = write_manifest(tmp_path / 'old', score_map={'side': 25, 'anchors': [], 'sized': True})
    assert read_manifest(folder).score_map == ScoreMap(25, stride=8)


def test_existing_folders_are_kept_and_failed_writes_leave_nothing(tmp_path: Path) -> None:
    folder = write_manifest(tmp_path / 'model')
    with pytest.raises(DataError, match='choose a folder that is not there yet'):
        write_manifest(folder)
    with (
        pytest.raises(ZeroDivisionError),
        write_exported(tmp_path / 'other', read_manifest(folder)),
    ):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('', 'JSONDecodeError'),
        ('[]', 'KeyError'),
        ('null', 'TypeError'),
        ('"text"', 'ValueError'),
        ('{"model": "x", "format": "onnx", "score_map": {}, "checksums": null}', 'TypeError'),
        ('{"model": "siamffn_lite0", "format": "onnx"}', "KeyError\\('score_map'\\)"),
        ('{"model": "x", "format": "onnx", "colour": 1, "score_map": {}}', 'KeyError'),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(WeightsError, match=f'is not an exported model: its {MANIFEST}.*({reason})'):
        read_manifest(tmp_path)


def test_a_folder_of_another_model_or_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match='give a folder that `siamffn export` wrote'):
        load_model(weights=tmp_path)
    with pytest.raises(WeightsError, match="format 'tvm', which this version does not support"):
        load_model(weights=write_manifest(tmp_path / 'tvm', format='tvm'))
    with pytest.raises(
        WeightsError, match='contains siamfc_alex, not siamffn_lite0_s16: choose the model'
    ):
        load_model(weights=write_manifest(tmp_path / 'alex', model='siamfc_alex'))


@pytest.mark.parametrize(
    ('form', 'runtime', 'supported'),
    [
        ('onnx', 'eager', 'openvino or openvino-f32 or onnx'),
        ('openvino', 'torch', 'openvino or openvino-f32'),
    ],
)
def test_a_runtime_of_another_format_is_refused(
    tmp_path: Path, form: str, runtime: str, supported: str
) -> None:
    folder = write_manifest(tmp_path / 'model', format=form)
    message = f"has the format {form}, which the runtime '{runtime}' does not support: choose "
    with pytest.raises(ConfigError, match=f'{message}auto or {supported}'):
        load_model(weights=folder, device='cpu', runtime=runtime)
    with pytest.raises(ConfigError, match="unknown runtime 'tvm'"):
        load_model(weights=folder, runtime='tvm')


def test_torchscript_is_not_executed(tmp_path: Path) -> None:
    folder = write_manifest(tmp_path / 'script', format='torchscript')
    message = 'is TorchScript, which is for programs that use libtorch'
    for runtime in ('auto', 'torch', 'onnx'):
        with pytest.raises(WeightsError, match=message):
            load_model(weights=folder, device='cpu', runtime=runtime)
    with pytest.raises(WeightsError, match=message):
        check_weights(DEFAULT_MODEL, folder)
