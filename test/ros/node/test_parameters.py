"""Tests of siamffn_ros/node/parameters.py."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from siamffn_model.tracking import TrackerSettings
from siamffn_ros.node.parameters import PARAMETERS, NodeParameters, validate

DEFAULTS = {parameter.name: parameter.default for parameter in PARAMETERS}


def test_defaults_are_valid_and_equal_those_of_the_tracker() -> None:
    assert NodeParameters.from_values(DEFAULTS) == NodeParameters()
    assert NodeParameters().tracking == TrackerSettings()
    assert validate(NodeParameters(), DEFAULTS, configured=False) == ''
    for parameter in PARAMETERS:
        assert parameter.description.endswith('.')
        assert not parameter.choices or parameter.default in parameter.choices
        if parameter.limits:
            low, high = parameter.limits
            assert low <= parameter.default <= high


def test_every_tracking_parameter_is_passed_to_the_tracker() -> None:
    changed = {f'tracking.{name}': value + 1 for name, value in asdict(TrackerSettings()).items()}
    settings = NodeParameters.from_values(DEFAULTS | changed).tracking
    assert all(
        value == getattr(TrackerSettings(), name) + 1 for name, value in asdict(settings).items()
    )


@pytest.mark.parametrize('name', [each.name for each in PARAMETERS if each.read_by_configure])
def test_parameters_read_by_configure_can_only_be_set_before_it(name: str) -> None:
    assert validate(NodeParameters(), [name], configured=False) == ''
    assert f'{name} is read by configure' in validate(NodeParameters(), [name], configured=True)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'image_qos': 'best'}, "'sensor_data' or 'reliable'"),
        ({'image_transport': ''}, "'auto' or 'raw' or 'compressed'"),
        ({'tracking.lost_threshold': 0.9}, 'tracking.lost_threshold 0.9'),
        ({'tracking.reacquire_threshold': 0.5}, 'tracking.reacquire_threshold 0.5'),
    ],
)
def test_invalid_values_are_refused(changes: dict[str, object], message: str) -> None:
    assert message in validate(
        NodeParameters.from_values(DEFAULTS | changes), changes, configured=True
    )
