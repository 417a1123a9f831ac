"""siamffn_ros/latency.py"""

from __future__ import annotations

from collections import deque

import pytest

from siamffn_ros.latency import Latency


def test_statistics() -> None:
    assert Latency.from_milliseconds(range(1, 102)) == Latency(median=51, p95=96, max=101)


def test_order_and_container_do_not_matter() -> None:
    assert Latency.from_milliseconds(deque([30.0, 10.0])) == pytest.approx((20, 29, 30))
    assert Latency.from_milliseconds([4.5]) == (4.5, 4.5, 4.5)
