"""The search for settings, on a hill whose top is known."""

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

IDENTITY = {'model': 'siamffn_lite0', 'weights': '0123abcd', 'set': 'sequences'}
TOP = TrackerSettings(window_influence=0.2, penalty_k=0.05, lr=0.6, motion_gain=0.5)


def hill(settings: TrackerSettings) -> float:
    """1 at the top, less by the squared distance from it."""
    return 1 - sum((getattr(settings, key) - getattr(TOP, key)) ** 2 for key in RANGES)


class Recorder:
    """An objective that keeps what it was asked, and is interrupted at one of its turns."""

    def __init__(self, interrupted: int | None = None) -> None:
        self.asked: list[TrackerSettings] = []
        self.interrupted = interrupted

    def __call__(self, settings: TrackerSettings) -> float:
        self.asked.append(settings)
        if len(self.asked) == self.interrupted:
            raise KeyboardInterrupt
        return hill(settings)


def load(path: Path, name: str = 'study') -> optuna.Study:
    return optuna.load_study(study_name=name, storage=f'sqlite:///{path}')


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / 'folder' / 'study.db'


def test_the_top_is_found_nearly(path: Path) -> None:
    settings, value = tune(path, 'study', hill, 40, IDENTITY)
    assert value == hill(settings) > 0.98 > hill(TrackerSettings()) + 0.05
    assert (settings.uncertain_threshold, settings.lost_threshold) == (
        TrackerSettings().uncertain_threshold,
        TrackerSettings().lost_threshold,
    )


def test_the_defaults_come_first_and_all_stay_in_range(path: Path) -> None:
    objective = Recorder()
    tune(path, 'study', objective, 12, IDENTITY)
    assert objective.asked[0] == TrackerSettings()
    assert len(set(objective.asked)) == 12
    for key, (low, high) in RANGES.items():
        assert all(low <= getattr(settings, key) <= high for settings in objective.asked)


def test_the_defaults_win_where_nothing_is_better(path: Path) -> None:
    assert tune(path, 'study', lambda s: float(s == TrackerSettings()), 5, IDENTITY) == (
        TrackerSettings(),
        1,
    )


def test_a_resumed_study_does_what_is_missing(path: Path) -> None:
    first, second = Recorder(), Recorder()
    tune(path, 'study', first, 4, IDENTITY)
    best, value = tune(path, 'study', second, 7, IDENTITY)
    assert (len(first.asked), len(second.asked)) == (4, 3)
    assert TrackerSettings() not in second.asked
    assert value == max(map(hill, first.asked + second.asked)) == hill(best)
    third = Recorder()
    assert tune(path, 'study', third, 5, IDENTITY) == (best, value)
    assert not third.asked


def test_a_file_holds_several_studies(path: Path) -> None:
    tune(path, 'one', hill, 2, IDENTITY)
    tune(path, 'two', hill, 3, {**IDENTITY, 'weights': 'other'})
    assert [len(load(path, name).trials) for name in ('one', 'two')] == [2, 3]


@pytest.mark.parametrize('turn', [1, 3])
def test_an_interrupted_trial_does_not_count(path: Path, turn: int) -> None:
    """The defaults neither: interrupted in their turn, they are tried again."""
    cut, rest = Recorder(interrupted=turn), Recorder()
    with pytest.raises(KeyboardInterrupt):
        tune(path, 'study', cut, 5, IDENTITY)
    tune(path, 'study', rest, 5, IDENTITY)
    assert len(cut.asked) - 1 + len(rest.asked) == 5
    assert (TrackerSettings() in rest.asked) == (turn == 1)


def test_defaults_whose_process_was_killed_are_tried_again(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        tune(path, 'study', Recorder(interrupted=1), 3, IDENTITY)
    with sqlite3.connect(path) as database:  # as a kill leaves it: running for ever
        database.execute("UPDATE trials SET state = 'RUNNING'")
    objective = Recorder()
    tune(path, 'study', objective, 3, IDENTITY)
    assert objective.asked.index(TrackerSettings()) == 3  # late, as it may be another process's


def test_errors_of_the_objective_go_through_and_do_not_count(path: Path) -> None:
    def broken(settings: TrackerSettings) -> float:
        raise DataError('sequence gone')

    with pytest.raises(DataError, match='sequence gone'):
        tune(path, 'study', broken, 3, IDENTITY)
    with pytest.raises(DataError, match=r'TrackerSettings\(window_influence=0.3.* gave nan'):
        tune(path, 'study', lambda _: float('nan'), 3, IDENTITY)
    objective = Recorder()
    tune(path, 'study', objective, 3, IDENTITY)
    assert len(objective.asked) == 3


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


def test_another_identity_is_refused(path: Path) -> None:
    tune(path, 'study', hill, 2, IDENTITY)
    reason = f'{path}: .* weights 0123abcd, not 4567; set sequences, not None: .* --study'
    with pytest.raises(ConfigError, match=reason):
        tune(path, 'study', hill, 3, {'model': 'siamffn_lite0', 'weights': '4567'})
    assert len(load(path).trials) == 2


def test_a_study_of_other_making_is_refused(path: Path) -> None:
    path.parent.mkdir()
    study = optuna.create_study(study_name='study', storage=f'sqlite:///{path}')
    study.optimize(lambda trial: trial.suggest_float('x', 0, 1), n_trials=1)
    with pytest.raises(ConfigError, match='model None, not siamffn_lite0'):
        tune(path, 'study', hill, 3, IDENTITY)


def test_files_that_are_no_study_are_named_and_kept(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'boxes.csv\n' * 500)
    with pytest.raises(DataError, match=f'{path}: .*file is not a database.*--study'):
        tune(path, 'study', hill, 3, IDENTITY)
    assert path.read_bytes() == b'boxes.csv\n' * 500
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute('CREATE TABLE messages (id INTEGER)')
    before = path.read_bytes()
    with pytest.raises(DataError, match=f'{path}: a database of something else .*messages'):
        tune(path, 'study', hill, 3, IDENTITY)
    assert path.read_bytes() == before


def test_a_damaged_study_is_named(path: Path) -> None:
    tune(path, 'study', hill, 2, IDENTITY)
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + bytes(len(whole) - 8192))
    with pytest.raises(DataError, match=re.escape(str(path)) + '.*malformed'):
        tune(path, 'study', hill, 3, IDENTITY)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(DataError, match=r'file/study.db: .*--study'):
        tune(tmp_path / 'file' / 'study.db', 'study', hill, 3, IDENTITY)
    with pytest.raises(DataError, match='unable to open'):
        tune(tmp_path, 'study', hill, 3, IDENTITY)


def test_missing_optuna_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'optuna', None)
    with pytest.raises(DependencyError, match=r'optuna is not installed: .*\[eval\]'):
        tune(path, 'study', hill, 3, IDENTITY)
