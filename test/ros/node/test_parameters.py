"""siamffn_ros/node/parameters.py: no graph needed."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from siamffn_model.tracking import TrackerSettings
from siamffn_ros.node.parameters import PARAMETERS, settings_of, validate

DEFAULTS = {parameter.name: parameter.default for parameter in PARAMETERS}


def test_defaults_are_those_of_the_tracker_and_may_be_set() -> None:
    assert settings_of(DEFAULTS) == TrackerSettings()
    assert validate(DEFAULTS, DEFAULTS, configured=False) == ''
    for parameter in PARAMETERS:
        assert parameter.text.endswith('.')
        assert not parameter.choices or parameter.default in parameter.choices
        if parameter.limits:
            low, high = parameter.limits
            assert low <= parameter.default <= high


def test_every_setting_of_the_tracker_reaches_it() -> None:
    changed = {f'tracking.{name}': value + 1 for name, value in asdict(TrackerSettings()).items()}
    assert all(
        value == getattr(TrackerSettings(), name) + 1
        for name, value in asdict(settings_of(DEFAULTS | changed)).items()
    )


@pytest.mark.parametrize('name', [one.name for one in PARAMETERS if one.fixed])
def test_what_configure_reads_can_be_set_before_only(name: str) -> None:
    assert validate(DEFAULTS, [name], configured=False) == ''
    assert f'{name} is read by configure' in validate(DEFAULTS, [name], configured=True)


@pytest.mark.parametrize(
    ('changes', 'told'),
    [
        ({'image_qos': 'best'}, "'sensor_data' or 'reliable'"),
        ({'image_transport': ''}, "'auto' or 'raw' or 'compressed'"),
        ({'tracking.lost_threshold': 0.9}, 'tracking.lost_threshold 0.9'),
        ({'tracking.reacquire_threshold': 0.5}, 'tracking.reacquire_threshold 0.5'),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object], told: str) -> None:
    assert told in validate(DEFAULTS | changes, changes, configured=True)
