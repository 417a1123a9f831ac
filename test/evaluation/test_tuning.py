"""Tests of the search for settings, on an objective with a known maximum."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from siamffn_model.errors import ConfigError, DataError, DependencyError
from siamffn_model.evaluation.tuning import DEFAULTS, RANGES, tune
from siamffn_model.tracking import TrackerSettings

pytestmark = pytest.mark.slow

IDENTITY = {'model': 'siamffn_lite0', 'weights': '0123abcd', 'set': 'sequences'}
TOP = TrackerSettings(window_influence=0.2, penalty_k=0.05, lr=0.6, motion_gain=0.5)


def hill(settings: TrackerSettings) -> float:
    """An objective of 1 at `TOP` that falls with the squared distance from it."""
    return 1 - sum((getattr(settings, key) - getattr(TOP, key)) ** 2 for key in RANGES)


class Recorder:
    """An objective that records its calls and is interrupted in one of them."""

    def __init__(self, interrupted: int | None = None) -> None:
        self.calls: list[TrackerSettings] = []
        self.interrupted = interrupted

    def __call__(self, settings: TrackerSettings) -> float:
        self.calls.append(settings)
        if len(self.calls) == self.interrupted:
            raise KeyboardInterrupt
        return hill(settings)


def load(path: Path, name: str = 'study') -> optuna.Study:
    return optuna.load_study(study_name=name, storage=f'sqlite:///{path}')


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / 'folder' / 'study.db'


def test_maximum_is_found_approximately(path: Path) -> None:
    settings, value = tune(path, 'study', hill, 40, IDENTITY)
    assert value == hill(settings) > 0.98 > hill(TrackerSettings()) + 0.05
    assert (settings.uncertain_threshold, settings.lost_threshold) == (
        TrackerSettings().uncertain_threshold,
        TrackerSettings().lost_threshold,
    )


def test_defaults_are_tried_first_and_all_settings_are_in_range(path: Path) -> None:
    objective = Recorder()
    tune(path, 'study', objective, 12, IDENTITY)
    assert objective.calls[0] == TrackerSettings()
    assert len(set(objective.calls)) == 12
    for key, (low, high) in RANGES.items():
        assert all(low <= getattr(settings, key) <= high for settings in objective.calls)


def test_defaults_are_returned_if_nothing_is_better(path: Path) -> None:
    assert tune(path, 'study', lambda s: float(s == TrackerSettings()), 5, IDENTITY) == (
        TrackerSettings(),
        1,
    )


def test_resumed_study_runs_the_remaining_trials(path: Path) -> None:
    first, second = Recorder(), Recorder()
    tune(path, 'study', first, 4, IDENTITY)
    best, value = tune(path, 'study', second, 7, IDENTITY)
    assert (len(first.calls), len(second.calls)) == (4, 3)
    assert TrackerSettings() not in second.calls
    assert value == max(map(hill, first.calls + second.calls)) == hill(best)
    third = Recorder()
    assert tune(path, 'study', third, 5, IDENTITY) == (best, value)
    assert not third.calls


def test_file_can_contain_several_studies(path: Path) -> None:
    tune(path, 'one', hill, 2, IDENTITY)
    tune(path, 'two', hill, 3, {**IDENTITY, 'weights': 'other'})
    assert [len(load(path, name).trials) for name in ('one', 'two')] == [2, 3]


@pytest.mark.parametrize('turn', [1, 3])
def test_interrupted_trial_does_not_count(path: Path, turn: int) -> None:
    """If the trial of the defaults is interrupted, they are tried again."""
    cut, rest = Recorder(interrupted=turn), Recorder()
    with pytest.raises(KeyboardInterrupt):
        tune(path, 'study', cut, 5, IDENTITY)
    tune(path, 'study', rest, 5, IDENTITY)
    assert len(cut.calls) - 1 + len(rest.calls) == 5
    assert (TrackerSettings() in rest.calls) == (turn == 1)


def test_defaults_whose_process_was_killed_are_tried_again(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        tune(path, 'study', Recorder(interrupted=1), 3, IDENTITY)
    with sqlite3.connect(path) as database:  # the state after a kill
        database.execute("UPDATE trials SET state = 'RUNNING'")
    objective = Recorder()
    tune(path, 'study', objective, 3, IDENTITY)
    # The defaults come last, because another process may still be running them.
    assert objective.calls.index(TrackerSettings()) == 3


def test_errors_of_the_objective_are_raised_and_do_not_count(path: Path) -> None:
    def broken(settings: TrackerSettings) -> float:
        raise DataError('sequence gone')

    with pytest.raises(DataError, match='sequence gone'):
        tune(path, 'study', broken, 3, IDENTITY)
    with pytest.raises(DataError, match=r'TrackerSettings\(window_influence=0.3.* gave nan'):
        tune(path, 'study', lambda _: float('nan'), 3, IDENTITY)
    objective = Recorder()
    tune(path, 'study', objective, 3, IDENTITY)
    assert len(objective.calls) == 3


WORKER = """
import sys, time
from pathlib import Path
from siamffn_model.evaluation.tuning import tune
assert 'optuna' not in sys.modules  # only to tune
def objective(settings):
    time.sleep(0.02)
    return settings.lr
tune(Path(sys.argv[1]), 'study', objective, 8, {'model': 'm'})
"""


def test_two_processes_share_a_study(path: Path) -> None:
    command = [sys.executable, '-c', WORKER, str(path)]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for worker in workers:
        _, errors = worker.communicate(timeout=60)
        assert worker.returncode == 0, errors
        assert not errors  # neither Optuna's log nor, off a terminal, a bar
    trials = load(path).trials
    assert {trial.state.name for trial in trials} == {'COMPLETE'}
    assert 8 <= len(trials) <= 9
    assert sum(trial.params == DEFAULTS for trial in trials) == 1


def test_another_identity_raises(path: Path) -> None:
    tune(path, 'study', hill, 2, IDENTITY)
    reason = f'{path}: .* weights 0123abcd, not 4567; set sequences, not None: .* --study'
    with pytest.raises(ConfigError, match=reason):
        tune(path, 'study', hill, 3, {'model': 'siamffn_lite0', 'weights': '4567'})
    assert len(load(path).trials) == 2


def test_study_of_another_program_raises(path: Path) -> None:
    path.parent.mkdir()
    study = optuna.create_study(study_name='study', storage=f'sqlite:///{path}')
    study.optimize(lambda trial: trial.suggest_float('x', 0, 1), n_trials=1)
    with pytest.raises(ConfigError, match='model None, not siamffn_lite0'):
        tune(path, 'study', hill, 3, IDENTITY)


def test_files_that_are_no_study_raise_and_are_kept(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'boxes.csv\n' * 500)
    with pytest.raises(DataError, match=f'{path}: .*file is not a database.*--study'):
        tune(path, 'study', hill, 3, IDENTITY)
    assert path.read_bytes() == b'boxes.csv\n' * 500
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute('CREATE TABLE messages (id INTEGER)')
    before = path.read_bytes()
    with pytest.raises(DataError, match=f'{path}: a database that is not a study .*messages'):
        tune(path, 'study', hill, 3, IDENTITY)
    assert path.read_bytes() == before


def test_damaged_study_raises(path: Path) -> None:
    tune(path, 'study', hill, 2, IDENTITY)
    data = path.read_bytes()
    path.write_bytes(data[:8192] + bytes(len(data) - 8192))
    with pytest.raises(DataError, match=re.escape(str(path)) + '.*malformed'):
        tune(path, 'study', hill, 3, IDENTITY)


def test_unwritable_path_raises(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(DataError, match=r'file/study.db: .*--study'):
        tune(tmp_path / 'file' / 'study.db', 'study', hill, 3, IDENTITY)
    with pytest.raises(DataError, match='unable to open'):
        tune(tmp_path, 'study', hill, 3, IDENTITY)


def test_missing_optuna_raises(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'optuna', None)
    with pytest.raises(DependencyError, match=r'optuna is not installed: .*\[eval\]'):
        tune(path, 'study', hill, 3, IDENTITY)
