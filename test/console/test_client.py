"""The quality that a page gets over links of different kinds, in simulated time."""

from __future__ import annotations

import pytest

pytest.importorskip('aiohttp', reason='extra [console] not installed')

from siamffn_model.console import client as module
from siamffn_model.console.client import Quality
from siamffn_model.console.picture import LEVELS

SIZES = [200e3, 110e3, 55e3, 25e3, 14e3, 8e3]  # bytes of an image of each level


def simulate(
    monkeypatch: pytest.MonkeyPatch, bandwidth: float, delay: float, seconds: float = 60
) -> tuple[float, int]:
    """Return the median round trip of the last half, and the level at the end.

    Two images are in flight, so that each waits for the one before.
    """
    now = 0.0
    monkeypatch.setattr(module.time, 'monotonic', lambda: now)
    quality = Quality()
    quality.fit(1920)
    trips = []
    while now < seconds:
        transfer = SIZES[LEVELS.index(quality.level)] / bandwidth
        trip = delay + 2 * transfer
        now += max(transfer, (delay + transfer) / 2, 1 / 30)
        quality.on_round_trip(trip)
        trips.append(trip)
    late = sorted(trips[len(trips) // 2 :])
    return late[len(late) // 2], LEVELS.index(quality.level)


def test_a_fast_link_gets_the_best_images(monkeypatch: pytest.MonkeyPatch) -> None:
    assert simulate(monkeypatch, 100e6, 0.002)[1] == 0


@pytest.mark.parametrize('bandwidth', [100e3, 200e3, 500e3])
def test_a_narrow_link_stays_under_half_a_second(
    monkeypatch: pytest.MonkeyPatch, bandwidth: float
) -> None:
    trip, level = simulate(monkeypatch, bandwidth, 0.01)
    assert trip < 0.5
    assert level > 0


def test_a_link_with_a_long_delay_keeps_its_quality(monkeypatch: pytest.MonkeyPatch) -> None:
    assert simulate(monkeypatch, 100e6, 1.0)[1] <= 1


def test_no_more_pixels_than_the_page_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    quality = Quality()
    for width, level in [(300, 320), (320, 320), (321, 480), (1280, 1280), (4000, 1920)]:
        quality.fit(width)
        assert quality.level.width == level
