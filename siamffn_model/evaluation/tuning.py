"""Search for the best settings of a tracker with Optuna, in a study that can be resumed."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from tqdm import tqdm

from siamffn_model.errors import ConfigError, DataError, missing_package
from siamffn_model.tracking.settings import TrackerSettings

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

# The settings of published trackers are well inside these ranges: window influence, penalty_k and
# lr are 0.40, 0.16, 0.30 for SiamRPN and 0.42, 0.05, 0.38 for SiamRPN++ (pysot's configurations),
# and 0.49, 0.15, 0.385 for NanoTrackV2 (its README); these trackers have no motion model. At the
# ends of a range, the score or the new size has almost no effect, or almost the only one.
RANGES = {
    'window_influence': (0.1, 0.7),
    'penalty_k': (0.0, 0.3),
    'lr': (0.1, 0.7),
    'motion_gain': (0.0, 1.0),
}
DEFAULTS = {name: getattr(TrackerSettings(), name) for name in RANGES}

DATABASE_TIMEOUT = 60.0  # seconds to wait for another process that writes to the study


def tune(
    study_file: Path,
    name: str,
    objective: Callable[[TrackerSettings], float],
    trials: int,
    identity: dict[str, str],
) -> tuple[TrackerSettings, float]:
    """Search for the settings with the highest objective, by TPE (Bergstra et al., 2011).

    The study is stored in an SQLite file. A study that was stopped is resumed, and several
    processes can work on the same study. The default settings are tried first; the result is
    therefore never worse than the defaults.

    Args:
        study_file: created if it does not exist.
        name: name of the study; a file can contain several studies.
        objective: function of the settings to maximise, such as the mean success.
        trials: total number of trials to complete, including those of earlier runs and of other
            processes; each other process may add one more.
        identity: everything that the objective depends on, such as model, weights and data set;
            stored in the study.

    Returns:
        The best settings of the study, and their objective.

    Raises:
        ConfigError: the study in the file has another identity.
        DataError: the file is damaged, is not a study or cannot be written, or the objective is not
            a finite number.
        DependencyError: Optuna is not installed.
    """
    _silence_optuna()

    def run(trial: Trial) -> float:
        suggested: dict[str, Any] = {key: trial.suggest_float(key, *RANGES[key]) for key in RANGES}
        settings = TrackerSettings(**suggested)
        value = objective(settings)
        if not math.isfinite(value):
            raise DataError(
                f'{settings} gave {value}, which cannot be maximised; check the data set'
            )
        return value

    with _database_errors(study_file):
        study = _open_study(study_file, name, identity)
        done = min(len(_completed(study)), trials)
        with tqdm(total=trials, initial=done, desc=name, disable=None) as bar:
            while not _finished(study, trials, bar):
                study.optimize(run, n_trials=1)
        best = study.best_trial
        return TrackerSettings(**best.params), study.best_value


def _silence_optuna() -> None:
    try:
        import optuna
    except ImportError as error:
        raise missing_package(str(error.name), 'tuning', 'eval') from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@contextmanager
def _database_errors(study_file: Path) -> Iterator[None]:
    """Convert errors caused by a damaged or unsuitable file to a `DataError` with its path."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError, sqlite3.Error) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        raise DataError(
            f'{study_file}: not a study, damaged, or not writable '
            f'({getattr(cause, "orig", cause)}); give another file with --study'
        ) from error


def _open_study(study_file: Path, name: str, identity: dict[str, str]) -> Study:
    """Open or create the study, check its identity, and enqueue the defaults if necessary."""
    import optuna

    try:
        with FileLock(f'{study_file}.lock'):  # also creates the folder
            _check_tables(study_file)
            storage = optuna.storages.RDBStorage(
                f'sqlite:///{study_file}',
                engine_kwargs={'connect_args': {'timeout': DATABASE_TIMEOUT}},
            )
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                direction='maximize',
                load_if_exists=True,
                sampler=optuna.samplers.TPESampler(
                    constant_liar=True
                ),  # avoids the trials of other processes
            )
            all_trials = study.get_trials(deepcopy=False)
            if not study.user_attrs and not all_trials:
                study.set_user_attr('identity', identity)
            _check_identity(study_file, study, identity)
            failed = optuna.trial.TrialState.FAIL
            if not any(_has_defaults(trial) for trial in all_trials if trial.state != failed):
                _enqueue_defaults(study)
    except OSError as error:
        raise DataError(
            f'{study_file}: {error.strerror}; give a writable path with --study'
        ) from error
    return study


def _check_tables(study_file: Path) -> None:
    """Raise `DataError` for another database, to which Optuna would add its tables."""
    if not study_file.exists():
        return
    with closing(sqlite3.connect(study_file)) as database:
        tables = [row[0] for row in database.execute('SELECT name FROM sqlite_master')]
    if tables and 'studies' not in tables:
        raise DataError(
            f'{study_file}: a database that is not a study (it has the table {tables[0]}); '
            'give another file with --study'
        )


def _check_identity(study_file: Path, study: Study, identity: dict[str, str]) -> None:
    known = study.user_attrs.get('identity', {})
    differing = [
        f'{key} {known.get(key)}, not {identity.get(key)}'
        for key in {**known, **identity}
        if known.get(key) != identity.get(key)
    ]
    if differing:
        raise ConfigError(
            f"{study_file}: study '{study.study_name}' was created with {'; '.join(differing)}: "
            'the results cannot be compared; give another file with --study'
        )


def _finished(study: Study, trials: int, bar: tqdm[Any]) -> bool:
    """Return whether enough trials are completed, including one with the default settings."""
    completed = _completed(study)
    bar.n = min(len(completed), trials)
    if completed:
        bar.set_postfix_str(f'best {study.best_value:.4f}')
    if len(completed) < trials:
        return False
    if any(map(_has_defaults, completed)):
        return True
    _enqueue_defaults(study)  # the process that ran them was killed or is slow
    return False


def _completed(study: Study) -> list[FrozenTrial]:
    import optuna

    return study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))


def _enqueue_defaults(study: Study) -> None:
    study.enqueue_trial(DEFAULTS, user_attrs={'defaults': DEFAULTS})


def _has_defaults(trial: FrozenTrial) -> bool:
    return bool(trial.user_attrs.get('defaults') == DEFAULTS)
