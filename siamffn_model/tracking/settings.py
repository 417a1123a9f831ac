"""The settings of the tracker, with the values that are allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from siamffn_model.errors import ConfigError

RANGES = {  # smallest and largest value of each setting
    'window_influence': (0, 1),
    'penalty_k': (0, 1),
    'lr': (0, 1),
    'motion_gain': (0, 1),
    'uncertain_threshold': (0, 1),
    'lost_threshold': (0, 1),
    'reacquire_threshold': (0, 1),
    'lost_patience': (0, 1000),
    'max_searches': (0, 32),
}


def check_ranges(settings: object, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Raise `ConfigError` for an attribute outside its range: smallest and largest value."""
    for name, (low, high) in ranges.items():
        value = getattr(settings, name)
        if not low <= value <= high:  # also true for NaN
            raise ConfigError(f'{name} is {value:g}: give a number from {low:g} to {high:g}')


@dataclass(frozen=True)
class TrackerSettings:
    """Parameters of the inference: `window_influence`, `penalty_k` and `lr` are those of pysot.

    Attributes:
        window_influence: weight of the Hanning window in the penalised score.
        penalty_k: strength of the penalty on changes of scale and aspect ratio.
        lr: weight of the new width and height, before multiplication by penalty and score.
        motion_gain: factor of the smoothed motion that is added to the search region's centre.
        uncertain_threshold: a score below it makes a TRACKING target UNCERTAIN. The box of an
            UNCERTAIN target keeps its size.
        lost_threshold: a score below it makes a target LOST; with 0 it never is.
        reacquire_threshold: score at which an UNCERTAIN target is TRACKING again. A LOST target
            also needs it to be found in another place, or after `lost_patience` frames.
        lost_patience: number of frames during which `lost_threshold` is enough for a LOST target
            to be found near its last box.
        max_searches: number of search regions per frame while a target is LOST.

    Raises `ConfigError` for a value outside `RANGES`.
    """

    window_influence: float = 0.30
    penalty_k: float = 0.10
    lr: float = 0.30
    motion_gain: float = 0.80
    uncertain_threshold: float = 0.80
    lost_threshold: float = 0.50
    reacquire_threshold: float = 0.90
    lost_patience: int = 5
    max_searches: int = 3

    def __post_init__(self) -> None:
        check_ranges(self, RANGES)

    @property
    def ordered(self) -> TrackerSettings:
        """The settings with each threshold raised to at least the one that must not exceed it.

        The order is `lost_threshold`, `uncertain_threshold`, `reacquire_threshold`.
        """
        uncertain = max(self.uncertain_threshold, self.lost_threshold)
        reacquire = max(self.reacquire_threshold, uncertain)
        return replace(self, uncertain_threshold=uncertain, reacquire_threshold=reacquire)
