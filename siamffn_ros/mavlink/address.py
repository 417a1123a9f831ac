"""Who sends and receives MAVLink messages."""

from __future__ import annotations

from typing import NamedTuple


class Address(NamedTuple):
    """A MAVLink component: its system id and its component id."""

    system: int
    component: int
