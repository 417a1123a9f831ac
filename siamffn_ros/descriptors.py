"""Descriptors with which nodes declare their parameters."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor


def parameter_descriptor(
    default: Any, description: str, limits: tuple[float, float] | None, **fields: Any
) -> ParameterDescriptor:
    """Return the descriptor of a parameter.

    Args:
        default: a value of the parameter's type.
        description: one line.
        limits: smallest and largest value of a number; None if any is allowed.
        fields: other fields of `ParameterDescriptor`.
    """
    descriptor = ParameterDescriptor(description=description, **fields)
    if limits is None:
        return descriptor
    low, high = limits
    if isinstance(default, int):
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    else:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
        ]
    return descriptor
