"""The steps of a GPU run: what each runs, and for how long."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gpu_files
import gpu_processes
from gpu_state import CHECKPOINT, NEEDS, Run, read_json

from siamffn_model.networks.names import DEFAULT_MODEL

if TYPE_CHECKING:
    from siamffn_model.training.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
START_UP = 12  # seconds in which a process imports and loads
TRAINING_GRACE = 8  # seconds in which a training writes its checkpoint after SIGTERM
STORE_SECONDS = 2  # between looks for a new checkpoint to copy to --out
FILL = 0.85  # part of the training's time that its pairs take; epochs also validate and save


def run_all(run: Run) -> None:
    """Run all steps in order."""
    run_tests(run)
    run_benchmark(run)
    r50 = ROOT / 'config' / 'train' / 'siamffn_r50.yaml'
    run_training_speed(run, 'speed_r50', ['--config', r50, '--pairs-of', run.options.train])
    model = [f'model={run.options.model}'] if run.options.model else []
    run_training_speed(run, 'speed', _recipe(run, model))
    run_training(run)
    run_validation(run)


def run_tests(run: Run) -> None:
    """Run the tests marked `gpu` without test/conftest.py, whose imports may be missing."""
    folder, log = ROOT / 'test' / 'gpu', run.out / 'pytest.log'
    options = ['-m', 'gpu', '-v', '--durations=10', '-p', 'no:cacheprovider']
    command = ['-m', 'pytest', *options, f'--confcutdir={folder}', folder]

    def read(code: int) -> dict[str, Any] | None:
        lines = gpu_processes.tail(log).splitlines()
        summary = lines[-1].strip('= ') if lines else ''
        return {'passed': code == 0, 'summary': summary} if code in (0, 1) else None

    run.step('tests', lambda _: command, read, log)


def run_benchmark(run: Run) -> None:
    """Run `siamffn benchmark`; on a CPU with the default model only."""
    path, log = run.work / 'benchmark.json', run.work / 'benchmark.log'
    models = [DEFAULT_MODEL] if run.on_cpu else ['siamffn_r50', DEFAULT_MODEL]
    words = [word for model in models for word in ('--model', model)]

    def command(limit: float) -> list[str | Path]:
        seconds = limit / 10 if run.on_cpu else limit - 2 * START_UP
        options = ['--device', run.options.device, '--report', path, '--seconds', str(seconds)]
        return ['-m', 'siamffn_model', 'benchmark', *words, *options]

    def read(code: int) -> dict[str, Any] | None:
        if code not in (0, gpu_processes.OVERTIME):
            return None
        tables = log.read_text().partition('| tracker')[1:] if code == 0 else ()
        return {**(read_json(path) or {}), 'tables': ''.join(tables)}

    run.step('benchmark', command, read, log)


def run_training_speed(run: Run, name: str, words: Sequence[str | Path]) -> None:
    """Measure the throughput of training with the recipe in `words`."""
    path = run.work / f'{name}.json'

    def command(limit: float) -> list[str | Path]:
        seconds = 2.0 if run.on_cpu else max(limit - 2 * START_UP, 1.0)
        options = [*_data(run), '--seconds', str(seconds), '--json', path]
        return ['-m', 'siamffn_model.benchmarking.training_speed', *words, *options]

    def read(code: int) -> dict[str, Any] | None:
        return read_json(path) if code in (0, gpu_processes.OVERTIME) else None

    run.step(name, command, read, path.with_suffix('.log'))


def run_training(run: Run) -> None:
    """Train until the recipe ends or only the time for the validation is left."""
    state = run.state('training')
    if state.get('status') == 'finished':
        return
    limit = run.left() - run.validation_seconds
    if limit < NEEDS['training']:
        run.record(
            'training', **{**state, 'status': 'skipped', 'reason': f'{limit:.0f} s were left'}
        )
        return
    run.restore()
    changes = state.get('set') or training_changes(
        run.recipe, run.options.model, run.state('speed').get('with_data', 0.0), limit
    )
    first = checkpoint_step(run)
    run.record('training', 'running', set=changes, step=first)
    words: list[str | Path] = [*_recipe(run, changes), *_data(run, validation=True)]
    if run.options.weights:
        words += ['--weights', run.options.weights]
    if (run.training / CHECKPOINT).is_file():
        words.append('--resume')
    code, seconds = gpu_processes.run(
        ['-m', 'siamffn_model', 'train', *words, '--out', run.training],
        limit,
        run.work / 'training.log',
        run.environment,
        TRAINING_GRACE,
        run.store,
        STORE_SECONDS,
    )
    status = {0: 'finished', gpu_processes.OVERTIME: 'stopped'}.get(code, 'failed')
    step = checkpoint_step(run) if code else _count_steps(run, changes)
    values: dict[str, Any] = {'set': changes, 'first_step': first, 'step': step, 'seconds': seconds}
    values['pairs_per_second'] = (step - first) * run.recipe.batch / seconds
    if status == 'failed':
        values['output'] = gpu_processes.tail(run.work / 'training.log')
    run.record('training', status, **values)
    run.store()
    if status == 'finished':
        gpu_files.remove(run.out / CHECKPOINT)


def training_changes(
    recipe: Recipe, model: str | None, pairs_per_second: float, seconds: float
) -> list[str]:
    """Return the changes of the recipe, as for --set, that let its epochs take this time.

    Every data set gets the same multiple of its pairs, so the schedule keeps its form. Without a
    measured speed, the number of pairs is that of the recipe.
    """
    changes = [f'model={model}'] if model else []
    if pairs_per_second:
        pairs = pairs_per_second * FILL * (seconds - START_UP) / recipe.epochs
        total = sum(source.pairs for source in recipe.data.values())
        factor = max(pairs, recipe.batch) / total
        changes += [
            f'data.{name}.pairs={math.ceil(source.pairs * factor)}'
            for name, source in recipe.data.items()
        ]
    return changes


def checkpoint_step(run: Run) -> int:
    """Return the number of steps that the checkpoint contains; 0 without one."""
    import torch

    path = run.training / CHECKPOINT
    if not path.is_file():
        return 0
    return int(torch.load(path, map_location='cpu', weights_only=True)['step'])


def _count_steps(run: Run, changes: Sequence[str]) -> int:
    from siamffn_model.training.recipe_reader import read_recipe

    recipe = read_recipe(run.options.train, changes)
    return recipe.epochs * recipe.steps


def run_validation(run: Run) -> None:
    """Validate the weights of the training, beside those it started from, in the time left."""
    training, state = run.state('training'), run.state('validation')
    step = training.get('step', 0)
    if not step or (state.get('status') == 'done' and state['step'] == step):
        return
    path, log = run.work / 'validated' / 'validation.json', run.work / 'validation.log'
    path.unlink(missing_ok=True)
    words = [*_recipe(run, training['set']), *_data(run, validation=True, workers=False)]
    if run.options.weights:
        words += ['--start', run.options.weights]
    command = [ROOT / 'scripts' / 'gpu_validate.py', run.training, *words, '--out', path.parent]
    code, seconds = gpu_processes.run(command, run.left(), log, run.environment)
    status = {0: 'done', gpu_processes.OVERTIME: 'stopped early'}.get(code, 'failed')
    output = {} if code == 0 else {'output': gpu_processes.tail(log)}
    scores = read_json(path) or {}
    run.record('validation', status, step=step, seconds=seconds, **scores, **output)
    run.store()


def _recipe(run: Run, changes: Sequence[str]) -> list[str | Path]:
    words = [word for change in changes for word in ('--set', change)]
    return ['--config', run.options.train, *words]


def _data(run: Run, validation: bool = False, workers: bool = True) -> list[str | Path]:
    folders = dict(run.options.data)
    if validation and run.options.validation:
        folders['validation'] = run.options.validation
    words = [word for name in folders for word in ('--data', f'{name}={folders[name]}')]
    processes = max(len(os.sched_getaffinity(0)) - 1, 1)
    options = ['--workers', str(processes)] if workers else []
    return [*words, *options, '--device', run.options.device]
