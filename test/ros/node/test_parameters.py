"""Tests of siamffn_ros/node/parameters.py."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from siamffn_model.tracking.settings import RANGES, TrackerSettings
from siamffn_ros.node.parameters import (
    PARAMETERS,
    NodeParameters,
    threshold_correction,
    validate,
)

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
    largest = {name: high for name, (_, high) in RANGES.items()}
    changed = {f'tracking.{name}': value for name, value in largest.items()}
    settings = NodeParameters.from_values(DEFAULTS | changed).tracking
    assert asdict(settings) == largest != asdict(TrackerSettings())


@pytest.mark.parametrize('name', [each.name for each in PARAMETERS if each.read_by_configure])
def test_parameters_read_by_configure_can_only_be_set_before_it(name: str) -> None:
    assert validate(NodeParameters(), [name], configured=False) == ''
    assert f'{name} is read by configure' in validate(NodeParameters(), [name], configured=True)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'image_qos': 'best'}, "'sensor_data' or 'reliable'"),
        ({'image_transport': ''}, "'auto' or 'raw' or 'compressed'"),
    ],
)
def test_invalid_values_are_refused(changes: dict[str, object], message: str) -> None:
    assert message in validate(
        NodeParameters.from_values(DEFAULTS | changes), changes, configured=True
    )


def test_thresholds_out_of_order_are_corrected() -> None:
    """The intermediate states of `ros2 param load` are allowed."""
    values = DEFAULTS | {'tracking.lost_threshold': 0.97}
    parameters = NodeParameters.from_values(values)
    assert validate(parameters, ['tracking.lost_threshold'], configured=True) == ''
    correction = threshold_correction(parameters.tracking)
    assert 'tracking.uncertain_threshold 0.8 is used as 0.97' in correction
    assert 'tracking.reacquire_threshold 0.9 is used as 0.97' in correction
    assert threshold_correction(parameters.tracking.ordered) == ''
    assert threshold_correction(TrackerSettings()) == ''


def test_descriptors_name_choices_ranges_and_when_they_change() -> None:
    constraints = {parameter.name: parameter.constraints for parameter in PARAMETERS}
    assert constraints['image_qos'] == "'sensor_data' or 'reliable'"
    assert constraints['max_targets'] == 'a whole number from 1 to 256'
    assert constraints['tracking.lr'] == 'a decimal number from 0 to 1'
    assert constraints['runtime'].startswith("'auto' or ")
    for parameter in PARAMETERS:
        assert ('read by configure' in constraints[parameter.name]) == parameter.read_by_configure
        assert ('read at the start' in constraints[parameter.name]) == parameter.read_at_start
