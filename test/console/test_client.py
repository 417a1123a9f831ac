"""The quality that a page gets over links of different kinds, in simulated time."""

from __future__ import annotations

import pytest

pytest.importorskip('aiohttp', reason='extra [console] not installed')

from siamffn_model.console.client import FIRST_LEVEL, Quality, Sent
from siamffn_model.console.picture import LEVELS

SIZES = [200_000, 110_000, 55_000, 25_000, 14_000, 8_000]  # bytes of an image of each level


def simulate(bandwidth: float, delay: float, seconds: float = 60) -> tuple[float, int]:
    """Return the median round trip of the last half, and the level at the end.

    Two images are in flight, so that each waits for the one before.
    """
    now, before = 0.0, FIRST_LEVEL
    quality = Quality()
    quality.fit(1920)
    trips = []
    while now < seconds:
        level = quality.level
        transfer = SIZES[level] / bandwidth
        in_flight = SIZES[level] + SIZES[before]
        trip = delay + in_flight / bandwidth
        now += max(transfer, (delay + transfer) / 2, 1 / 30)
        quality.on_round_trip(trip, Sent(now, level, SIZES[level], in_flight))
        trips.append(trip)
        before = level
    late = sorted(trips[len(trips) // 2 :])
    return late[len(late) // 2], quality.level


def test_a_fast_link_gets_the_best_images() -> None:
    assert simulate(100e6, 0.002)[1] == 0


@pytest.mark.parametrize('bandwidth', [100e3, 200e3, 500e3])
def test_a_narrow_link_stays_under_half_a_second(bandwidth: float) -> None:
    trip, level = simulate(bandwidth, 0.01)
    assert trip < 0.5
    assert level > 0


def test_a_link_with_a_long_delay_keeps_its_quality() -> None:
    assert simulate(100e6, 1.0)[1] <= 1


@pytest.mark.parametrize(
    ('width', 'expected'), [(300, 320), (320, 320), (321, 480), (1280, 1280), (4000, 1920)]
)
def test_no_more_pixels_than_the_page_shows(width: int, expected: int) -> None:
    quality = Quality()
    quality.fit(width)
    for _ in range(1000):
        quality.on_round_trip(0.001, Sent(0, quality.level, 1, 2))
    assert LEVELS[quality.level].width == expected
