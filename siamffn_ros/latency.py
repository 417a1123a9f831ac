"""Latency statistics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class Latency(NamedTuple):
    """Median, 95th percentile and maximum of some latencies, in milliseconds."""

    median: float
    p95: float
    max: float

    @classmethod
    def from_milliseconds(cls, latencies: Iterable[float]) -> Latency:
        """Return the statistics of latencies in milliseconds; there must be at least one."""
        return cls(*map(float, np.percentile(list(latencies), (50, 95, 100))))
