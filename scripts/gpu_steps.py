"""The steps of a GPU run: what each runs, and for how long."""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gpu_files
import gpu_processes
import gpu_report

from siamffn_model.atomic_io import atomic_write, write_text

if TYPE_CHECKING:
    from siamffn_model.training.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
FULL_TIME = 600  # seconds; with less time, the steps before the training take proportionally less
LIMITS = {'tests': 60, 'benchmark': 90, 'speed_r50': 30, 'speed': 30}  # seconds of FULL_TIME
# What a step needs at least, in seconds. It is skipped if the training would not have that much.
NEEDS = {'tests': 15, 'benchmark': 30, 'speed_r50': 25, 'speed': 20, 'training': 20}
CPU_NEEDS = {'tests': 30, 'benchmark': 60, 'speed_r50': 240, 'speed': 30}
VALIDATION_NEEDS, VALIDATION_LIMIT = 25, 45  # seconds: at least, and of FULL_TIME
START_UP = 12  # seconds in which a process imports and loads
TRAINING_GRACE = 8  # seconds in which a training writes its checkpoint after SIGTERM
STORE_SECONDS = 2  # between looks for a new checkpoint to copy to --out
FILL = 0.85  # part of the training's time that its pairs take; epochs also validate and save
REPEATED = ('failed', 'skipped', 'stopped early', 'running')  # a second start repeats these steps
CHECKPOINT = 'checkpoint.pt'


@dataclass
class Run:
    """One start of this script.

    Attributes:
        options: the command line.
        recipe: the recipe of the training as given.
        results: the content of results.json.
        deadline: the end, as a value of `time.monotonic`.
        environment: environment variables of all steps.
    """

    options: argparse.Namespace
    recipe: Recipe
    results: dict[str, Any]
    deadline: float
    environment: dict[str, str]

    def __post_init__(self) -> None:
        self.out: Path = self.options.out
        self.work = work_folder(self.out)
        self.training = self.work / 'training'
        self.weights = f'{self.recipe.model}.safetensors'
        self.on_cpu = self.options.device == 'cpu'
        self.scale = min(1.0, 60 * self.options.minutes / FULL_TIME)
        self.validation_seconds = max(VALIDATION_NEEDS, self.scale * VALIDATION_LIMIT)
        self._stored: dict[str, float] = {}  # modification times of the files that are in `out`

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.deadline - time.monotonic()

    def state(self, step: str) -> dict[str, Any]:
        """Return the result of a step so far."""
        return dict(self.results['steps'].get(step, {}))

    def record(self, name: str, status: str, **values: Any) -> None:
        """Write the result of a step to the files."""
        self.results['steps'][name] = {**values, 'status': status}
        print(f'{name}: {status}', flush=True)
        self.save()

    def save(self) -> None:
        """Write results.json and report.md."""
        write_text(self.out / 'results.json', json.dumps(self.results, indent=2))
        write_text(self.out / 'report.md', gpu_report.report(self.results))

    def step(
        self,
        name: str,
        command: Callable[[float], Sequence[str | Path]],
        read: Callable[[int], dict[str, Any] | None],
        log: Path,
    ) -> None:
        """Run a step before the training, unless it is finished or too little time is left.

        `command` returns the arguments of Python for a limit in seconds. `read` returns the results
        for an exit status, or None if the step has failed.
        """
        if self.state(name).get('status', 'failed') not in REPEATED:
            return
        needs = (CPU_NEEDS if self.on_cpu else NEEDS)[name]
        available = self.left() - NEEDS['training'] - self.validation_seconds
        if available < needs:
            reason = f'it needs {needs} s before the training, {max(available, 0):.0f} s are left'
            self.record(name, 'skipped', reason=reason)
            return
        full = LIMITS[name]
        limit = min(max(needs, self.scale * full), available)
        log.unlink(missing_ok=True)
        code, seconds = gpu_processes.run(command(limit), limit, log, self.environment)
        results = read(code)
        status = 'failed' if results is None else 'done'
        if code == gpu_processes.OVERTIME:
            status = 'stopped' if limit >= full else 'stopped early'
        output = (
            {} if status == 'done' else {'exit_status': code, 'output': gpu_processes.tail(log)}
        )
        self.record(name, status, seconds=seconds, limit=limit, **(results or {}), **output)

    # --- files

    def store(self) -> None:
        """Copy weights, checkpoint and log to the results if they have changed and fit."""
        weights = next(filter(Path.is_file, self._weight_files()), None)
        checkpoint = self.training / CHECKPOINT
        size = _size(weights or self.options.weights)
        changed = False
        if weights:
            changed |= self._store(weights, self.weights, gpu_files.fits(size))
        if checkpoint.is_file():
            fits = gpu_files.fits(size, _size(checkpoint))
            changed |= self._store(checkpoint, CHECKPOINT, fits)
        if changed:
            log = (self.training / 'log.jsonl').read_text()
            write_text(self.out / 'training.jsonl', log[-gpu_files.PART :])
            self.save()

    def _weight_files(self) -> list[Path]:
        """Return the weight files in the order in which they are preferred."""
        validated = self.work / 'validated' / self.weights
        return [validated, self.training / 'best.safetensors', self.training / self.weights]

    def _store(self, source: Path, name: str, fits: bool) -> bool:
        """Copy a file that has changed to the results; return whether it has."""
        changed = source.stat().st_mtime
        if self._stored.get(name) == changed:
            return False
        self._stored[name] = changed
        if fits:
            sha256 = gpu_files.store(source.read_bytes(), self.out / name)
            self.results['files'][name] = {'sha256': sha256}
        else:
            gpu_files.remove(self.out / name)
            self.results['files'][name] = f'too large, only in {source}: {_size(source)} bytes'
        return True

    def restore(self) -> None:
        """Copy the checkpoint from the results if the training's folder has none."""
        stored = self.results['files'].get(CHECKPOINT)
        if (self.training / CHECKPOINT).is_file() or not isinstance(stored, dict):
            return
        data = gpu_files.load(self.out / CHECKPOINT, stored['sha256'])
        if data is None:
            print(f'{self.out / CHECKPOINT} is not complete: the training starts again')
            return
        log = self.out / 'training.jsonl'
        with atomic_write(self.training / CHECKPOINT) as partial:
            partial.write_bytes(data)
        if log.is_file():
            write_text(self.training / 'log.jsonl', log.read_text())


def work_folder(out: Path) -> Path:
    """Return the folder beside the results for everything that need not come back."""
    return out.resolve().with_name(f'{out.resolve().name}.work')


def _size(path: Path | None) -> int:
    return path.stat().st_size if path else 0


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the content of a JSON file that a step has written, or None if it has not."""
    if not path.is_file():
        return None
    values: dict[str, Any] = json.loads(path.read_text())
    return values


# --- steps


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
    """Run the tests marked `gpu`, and only their files: others import packages that may miss."""
    folder = ROOT / 'test' / 'gpu'
    tests = [path for path in ROOT.glob('test/**/test_*.py') if 'mark.gpu' in path.read_text()]
    files = [f'--confcutdir={folder}', folder] if folder.is_dir() else tests
    log = run.out / 'pytest.log'
    command = ['-m', 'pytest', '-m', 'gpu', '-v', '--durations=10', '-p', 'no:cacheprovider']

    def read(code: int) -> dict[str, Any] | None:
        lines = gpu_processes.tail(log).splitlines()
        summary = lines[-1].strip('= ') if lines else ''
        return {'passed': code == 0, 'summary': summary} if code in (0, 1) else None

    run.step('tests', lambda _: [*command, *files], read, log)


def run_benchmark(run: Run) -> None:
    """Run `siamffn benchmark`; on a CPU with the default model only."""
    path, log = run.work / 'benchmark.json', run.work / 'benchmark.log'
    models = ['siamffn_lite0'] if run.on_cpu else ['siamffn_r50', 'siamffn_lite0']
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
        seconds = 2.0 if run.on_cpu else limit - START_UP
        options = [*_data(run), '--seconds', str(seconds), '--json', path]
        return ['-m', 'siamffn_model.benchmarking.training_speed', *words, *options]

    def read(code: int) -> dict[str, Any] | None:
        return read_json(path) if code == 0 else None

    run.step(name, command, read, path.with_suffix('.log'))


def run_training(run: Run) -> None:
    """Train until the recipe ends or only the time for the validation is left."""
    state = run.state('training')
    if state.get('status') == 'finished':
        return
    limit = run.left() - run.validation_seconds
    if limit < NEEDS['training']:
        run.record('training', 'skipped', **{**state, 'reason': f'{limit:.0f} s were left'})
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
    folders = [*run.options.data]
    if validation and run.options.validation:
        folders.append(f'validation={run.options.validation}')
    words = [word for folder in folders for word in ('--data', folder)]
    processes = max(len(os.sched_getaffinity(0)) - 1, 1)
    options = ['--workers', str(processes)] if workers else []
    return [*words, *options, '--device', run.options.device]
