"""Search for a tracker's settings with Optuna, in a study that can be stopped and gone on with."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from tqdm import tqdm

from siamffn_model.errors import ConfigError, DataError, DependencyError
from siamffn_model.tracking.tracker import TrackerSettings

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

# Published trackers of this kind lie well inside: window, penalty and rate of SiamRPN are 0.40,
# 0.16, 0.30, of SiamRPN++ 0.42, 0.05, 0.38 (pysot's configurations), of NanoTrackV2 0.49, 0.15,
# 0.385 (its README); they expect no motion. The ends are where the score or the new size counts
# for almost nothing, or almost alone.
RANGES = {
    'window_influence': (0.1, 0.7),
    'penalty_k': (0.0, 0.3),
    'lr': (0.1, 0.7),
    'motion_gain': (0.0, 1.0),
}
DEFAULTS = {name: getattr(TrackerSettings(), name) for name in RANGES}

PATIENCE = 60.0  # seconds to wait for another process that is writing to the study


def tune(
    study_file: Path,
    name: str,
    objective: Callable[[TrackerSettings], float],
    trials: int,
    identity: dict[str, str],
) -> tuple[TrackerSettings, float]:
    """Search the settings with the highest value of `objective`, by TPE (Bergstra et al., 2011).

    The study is kept in an SQLite file. One that was stopped, by Ctrl-C or otherwise, goes on where
    it was, and several processes may work on one. The default settings are tried first, so that the
    result is never worse.

    Args:
        study_file: made where it is missing.
        name: of the study in the file, which may hold several.
        objective: settings -> what to maximise, such as mean success.
        trials: to be completed in the study as a whole, those of earlier runs and other processes
            included; each process beside this one may bring one more.
        identity: what the values depend on, such as model, weights and set; kept in the study.

    Returns:
        The best settings of the whole study, and their value.

    Raises:
        ConfigError: the study in the file has another identity.
        DataError: the file is damaged, is not a study or cannot be written, or the objective is not
            a finite number.
        DependencyError: Optuna is not installed.
    """
    _silence_optuna()

    def run(trial: Trial) -> float:
        found: dict[str, Any] = {key: trial.suggest_float(key, *RANGES[key]) for key in RANGES}
        settings = TrackerSettings(**found)
        value = objective(settings)
        if not math.isfinite(value):
            raise DataError(f'{settings} gave {value}: there is nothing to tune by; check the set')
        return value

    with _explained(study_file):
        study = _open(study_file, name, identity)
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
        raise DependencyError(
            f'{error.name} is not installed: tuning needs the extra [eval], which '
            "`pip install -e '.[eval]'` brings in the folder of the sources"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@contextmanager
def _explained(study_file: Path) -> Iterator[None]:
    """Turn what a damaged or useless file leads to into a `DataError` that names it."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError, sqlite3.Error) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        raise DataError(
            f'{study_file}: no study, damaged, or cannot be written '
            f'({getattr(cause, "orig", cause)}); give another file by --study'
        ) from error


def _open(study_file: Path, name: str, identity: dict[str, str]) -> Study:
    """Open or make a study of this identity, in which the defaults have their turn."""
    import optuna

    try:
        with FileLock(f'{study_file}.lock'):  # makes the folder
            _check_tables(study_file)
            storage = optuna.storages.RDBStorage(
                f'sqlite:///{study_file}', engine_kwargs={'connect_args': {'timeout': PATIENCE}}
            )
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                direction='maximize',
                load_if_exists=True,
                sampler=optuna.samplers.TPESampler(constant_liar=True),  # heeds other processes
            )
            every = study.get_trials(deepcopy=False)
            if not study.user_attrs and not every:
                study.set_user_attr('identity', identity)
            _check_identity(study_file, study, identity)
            failed = optuna.trial.TrialState.FAIL
            if not any(_of_defaults(trial) for trial in every if trial.state != failed):
                _enqueue_defaults(study)
    except OSError as error:
        raise DataError(
            f'{study_file}: {error.strerror}; give a place that can be written by --study'
        ) from error
    return study


def _check_tables(study_file: Path) -> None:
    """Refuse a database of something else, to which Optuna would add its tables."""
    if not study_file.exists():
        return
    with closing(sqlite3.connect(study_file)) as database:
        tables = [row[0] for row in database.execute('SELECT name FROM sqlite_master')]
    if tables and 'studies' not in tables:
        raise DataError(
            f'{study_file}: a database of something else (it holds {tables[0]}); '
            'give another file by --study'
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
            f"{study_file}: the study '{study.study_name}' was made with {'; '.join(differing)}: "
            'its values do not compare; give another file by --study'
        )


def _finished(study: Study, trials: int, bar: tqdm[Any]) -> bool:
    """Whether enough trials are completed, the defaults among them."""
    completed = _completed(study)
    bar.n = min(len(completed), trials)
    if completed:
        bar.set_postfix_str(f'best {study.best_value:.4f}')
    if len(completed) < trials:
        return False
    if any(map(_of_defaults, completed)):
        return True
    _enqueue_defaults(study)  # the process that had them was killed, or is slow
    return False


def _completed(study: Study) -> list[FrozenTrial]:
    import optuna

    return study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))


def _enqueue_defaults(study: Study) -> None:
    study.enqueue_trial(DEFAULTS, user_attrs={'defaults': DEFAULTS})


def _of_defaults(trial: FrozenTrial) -> bool:
    return bool(trial.user_attrs.get('defaults') == DEFAULTS)
