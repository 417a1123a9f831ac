"""Exported folders: what their card says, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from siamffn_model.errors import ConfigError, DataError, WeightsError
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.runtimes.exported import FORMATS, MANIFEST, Manifest, read_manifest, writing
from siamffn_model.runtimes.selection import load_model


def write_card(folder: Path, **changes: object) -> Path:
    """A folder that `writing` made, in whose card these values are others."""
    with writing(folder, Manifest('siamffn_lite0', 'onnx', ScoreMap(25))):
        pass
    values = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**values, **changes}))
    return folder


@pytest.mark.parametrize('form', FORMATS)
def test_a_card_is_read_as_it_was_written(tmp_path: Path, form: str) -> None:
    card = Manifest(
        'siamrpn_alex', form, ScoreMap(17, ((104.0, 32.0), (88.0, 40.0))), 'int8', '1.2.3'
    )
    with writing(tmp_path / 'model', card) as partial:
        (partial / 'search.bin').write_bytes(b'search')
    assert read_manifest(tmp_path / 'model') == card
    assert {path.name for path in (tmp_path / 'model').iterdir()} == {MANIFEST, 'search.bin'}


def test_what_is_there_is_kept_and_what_fails_leaves_nothing(tmp_path: Path) -> None:
    folder = write_card(tmp_path / 'model')
    with pytest.raises(DataError, match='choose a folder that is not there yet'):
        write_card(folder)
    with pytest.raises(ZeroDivisionError), writing(tmp_path / 'other', read_manifest(folder)):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('', 'JSONDecodeError'),
        ('[]', 'TypeError|AttributeError'),
        ('{"model": "siamffn_lite0", "format": "onnx"}', "KeyError\\('score_map'\\)"),
        ('{"model": "x", "format": "onnx", "colour": 1, "score_map": {}}', 'KeyError'),
    ],
)
def test_a_damaged_card_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(WeightsError, match=f'is not an exported model: its {MANIFEST}.*({reason})'):
        read_manifest(tmp_path)


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match='give a folder that `siamffn export` wrote'):
        load_model(weights=tmp_path)
    with pytest.raises(WeightsError, match="format 'tvm', which this version does not know"):
        load_model(weights=write_card(tmp_path / 'tvm', format='tvm'))
    with pytest.raises(
        WeightsError, match='holds siamfc_alex, not siamffn_lite0: choose the model'
    ):
        load_model(weights=write_card(tmp_path / 'alex', model='siamfc_alex'))


@pytest.mark.parametrize(
    ('form', 'runtime', 'fitting'),
    [
        ('onnx', 'eager', 'onnx'),
        ('openvino', 'torch', 'openvino or openvino-f32'),
    ],
)
def test_a_runtime_of_another_format_is_refused(
    tmp_path: Path, form: str, runtime: str, fitting: str
) -> None:
    folder = write_card(tmp_path / 'model', format=form)
    message = f"is of the format {form}, which the runtime '{runtime}' does not compute: choose "
    with pytest.raises(ConfigError, match=f'{message}auto or {fitting}'):
        load_model(weights=folder, device='cpu', runtime=runtime)
    with pytest.raises(ConfigError, match="unknown runtime 'tvm'"):
        load_model(weights=folder, runtime='tvm')


def test_torchscript_is_not_executed(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match='is TorchScript, which is for programs with libtorch'):
        load_model(weights=write_card(tmp_path / 'script', format='torchscript'), device='cpu')
