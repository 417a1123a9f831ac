"""The state of a GPU run: its options, results and files."""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

import gpu_files
import gpu_processes
import gpu_report

from siamffn_model.atomic_io import write_bytes, write_text
from siamffn_model.errors import DataError, SiamFFNError

if TYPE_CHECKING:
    from siamffn_model.training.recipe import Recipe

FULL_TIME = 600  # seconds; with less time, the steps before the training take proportionally less
LIMITS = {'tests': 60, 'benchmark': 90, 'speed_r50': 30, 'speed': 30}  # seconds of FULL_TIME
# What a step needs at least, in seconds. It is skipped if the training would not have that much.
NEEDS = {'tests': 15, 'benchmark': 30, 'speed_r50': 25, 'speed': 20, 'training': 20}
CPU_NEEDS = {'tests': 30, 'benchmark': 60, 'speed_r50': 240, 'speed': 30}
VALIDATION_NEEDS, VALIDATION_LIMIT = 25, 45  # seconds: at least, and of FULL_TIME
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
        """Copy weights, checkpoint and log to the results if they have changed and fit.

        A file that cannot be written is reported, and does not end the training.
        """
        try:
            self._store_all()
        except (OSError, SiamFFNError) as error:
            print(f'the results of the training cannot be stored: {error}', flush=True)

    def _store_all(self) -> None:
        weights = next(filter(Path.is_file, self._weight_files()), None)
        checkpoint = self.training / CHECKPOINT
        size = _size(weights or self.options.weights)
        if weights:
            self._store(weights, self.weights, gpu_files.fits(size))
        if checkpoint.is_file():
            self._store(checkpoint, CHECKPOINT, gpu_files.fits(size, _size(checkpoint)))

    def _weight_files(self) -> list[Path]:
        """Return the weight files in the order in which they are preferred."""
        validated = self.work / 'validated' / self.weights
        return [validated, self.training / 'best.safetensors', self.training / self.weights]

    def _store(self, source: Path, name: str, fits: bool) -> None:
        """Copy a file that has changed, and the log of the training, to the results.

        The log is never older than the checkpoint: a training that continues cuts it.
        """
        changed = source.stat().st_mtime
        if self._stored.get(name) == changed:
            return
        self._stored[name] = changed
        data = source.read_bytes() if fits else b''
        log = self.training / 'log.jsonl'
        if log.is_file():
            write_text(self.out / 'training.jsonl', log.read_text()[-gpu_files.PART :])
        if fits:
            gpu_files.store(data, self.out / name)
            self.results['files'].pop(name, None)
        else:
            gpu_files.remove(self.out / name)
            self.results['files'][name] = f'too large, only in {source}: {_size(source)} bytes'
        self.save()

    def restore(self) -> None:
        """Copy checkpoint, weights and log from the results if the training has no checkpoint.

        The weights are the best so far: the checkpoint has only their score.
        """
        checkpoint, stored = self.training / CHECKPOINT, self.out / CHECKPOINT
        if checkpoint.is_file() and is_complete(checkpoint.read_bytes()):
            return
        checkpoint.unlink(missing_ok=True)
        data = gpu_files.load(stored)
        if not data or not is_complete(data):
            if data:
                print(f'{stored} is damaged or its parts differ in age: the training starts again')
            return
        _write(self.training / 'best.safetensors', gpu_files.load(self.out / self.weights))
        _write(self.training / 'log.jsonl', gpu_files.load(self.out / 'training.jsonl'))
        _write(checkpoint, data)


def _write(path: Path, data: bytes) -> None:
    """Write a file, unless there is nothing to write."""
    if data:
        write_bytes(path, data)


def is_complete(checkpoint: bytes) -> bool:
    """Return whether the bytes are a zip file, as PyTorch writes it, with correct checksums."""
    try:
        return ZipFile(io.BytesIO(checkpoint)).testzip() is None
    except BadZipFile:
        return False


def work_folder(out: Path) -> Path:
    """Return the folder beside the results for everything that need not come back."""
    return out.resolve().with_name(f'{out.resolve().name}.work')


def _size(path: Path | None) -> int:
    return path.stat().st_size if path else 0


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the content of a JSON file that a step has written, or None if it has not.

    Raises `DataError` for a damaged file.
    """
    if not path.is_file():
        return None
    try:
        values: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f'{path} is damaged ({error}): remove it') from None
    return values
