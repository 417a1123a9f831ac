"""Tests of siamffn_ros/node/stamp_rate.py."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from siamffn_ros.node.stamp_rate import Loss, StampRate

SECOND = 10**9


def loss_of(stamps: Iterable[float]) -> Loss | None:
    """Return the result after stamps in seconds."""
    rate = StampRate()
    for stamp in stamps:
        rate.add(round(stamp * SECOND))
    return rate.loss()


def stamps(rate: float, count: int, jitter: float = 0.0, kept: float = 1.0) -> list[float]:
    """Return the stamps that arrive of `count` images; `jitter` as a fraction of the period."""
    random = np.random.default_rng(0)
    times = 1e9 + (np.arange(count) + jitter * random.uniform(-0.5, 0.5, count)) / rate
    return [float(each) for each in times[random.random(count) < kept]]


@pytest.mark.parametrize('jitter', [0, 0.1, 0.2])
@pytest.mark.parametrize(('rate', 'kept'), [(15, 4 / 15), (30, 0.5), (5, 0.6)])
def test_lost_images_are_noticed(rate: float, kept: float, jitter: float) -> None:
    """As 4 of 15 images per second at 720p without the publisher's profile."""
    loss = loss_of(stamps(rate, 600, jitter, kept))
    assert loss is not None
    assert loss.taken == pytest.approx(rate, rel=0.05)
    assert loss.lost / loss.taken == pytest.approx(1 - kept, abs=0.12)


@pytest.mark.parametrize(
    'times',
    [
        stamps(30, 600),
        stamps(30, 600, jitter=0.5),
        stamps(30, 600, kept=0.9),
        stamps(30, 40, kept=0.5),
        stamps(30, 600)[::3],
        [0.0] * 600,
        np.cumsum(np.random.default_rng(0).uniform(0.03, 0.2, 600)).tolist(),
        np.cumsum(np.random.default_rng(0).exponential(0.1, 600)).tolist(),
    ],
    ids=['all', 'jitter', 'few lost', 'too few', 'every third', 'none', 'uniform', 'events'],
)
def test_other_streams_are_not_reported(times: list[float]) -> None:
    assert loss_of(times) is None


def test_changes_of_the_rate_are_never_reported() -> None:
    """A camera that halves its rate in the dark, a pause, and a bag that starts again."""
    fast, slow = stamps(30, 300), stamps(15, 300)
    for first, second in ((fast, slow), (slow, fast), (slow, slow)):
        for offset in (1 / 15, 3.0, -2.0):
            rate = StampRate()
            moved = [each + first[-1] - second[0] + offset for each in second]
            for stamp in [*first, *moved]:
                rate.add(round(stamp * SECOND))
                assert rate.loss() is None
