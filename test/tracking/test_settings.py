"""siamffn_model/tracking/settings.py"""

from __future__ import annotations

import itertools
from dataclasses import asdict

import pytest

from siamffn_model.errors import ConfigError
from siamffn_model.tracking.settings import RANGES, TrackerSettings

THRESHOLDS = ('lost_threshold', 'uncertain_threshold', 'reacquire_threshold')


def test_every_setting_has_a_range_with_its_default() -> None:
    defaults = asdict(TrackerSettings())
    assert RANGES.keys() == defaults.keys()
    assert all(low <= defaults[name] <= high for name, (low, high) in RANGES.items())


@pytest.mark.parametrize('name', RANGES)
def test_values_outside_the_range_are_refused(name: str) -> None:
    low, high = RANGES[name]
    for value in (low, high):
        assert getattr(TrackerSettings(**{name: value}), name) == value
    for value in (low - 0.01, high + 0.01, float('nan'), float('inf')):
        with pytest.raises(ConfigError, match=f'{name} is .*: give a number from {low} to {high}'):
            TrackerSettings(**{name: value})


def test_thresholds_are_ordered_by_raising_the_later_ones() -> None:
    for values in itertools.product((0.1, 0.5, 0.9), repeat=3):
        settings = TrackerSettings(lr=0.7, **dict(zip(THRESHOLDS, values, strict=True)))
        ordered = [getattr(settings.ordered, name) for name in THRESHOLDS]
        assert ordered == list(itertools.accumulate(values, max))
        assert settings.ordered.lr == 0.7
        assert settings.ordered.ordered == settings.ordered
