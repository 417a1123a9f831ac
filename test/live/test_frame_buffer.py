"""siamffn_model/live/frame_buffer.py: no graph needed."""

from __future__ import annotations

import numpy as np
import pytest

from siamffn_model.errors import SiamFFNError
from siamffn_model.live.frame_buffer import JUMP, Frame, FrameBuffer

PERIOD = 100_000_000  # nanoseconds between two frames


def frame(stamp: int, size: int = 1) -> Frame:
    return Frame(stamp, lambda: np.zeros((8, 8, 3), np.uint8), size)


def kept(ring: FrameBuffer, number: int = 0) -> list[Frame]:
    """The frames after this number, in order."""
    found = []
    while one := ring.after(number):
        found.append(one)
        number = one.number
    return found


def stamps(ring: FrameBuffer, number: int = 0) -> list[int]:
    return [one.stamp for one in kept(ring, number)]


def test_frame_is_decoded_when_asked_for_and_let_go() -> None:
    calls: list[int] = []

    def decode() -> np.ndarray:
        calls.append(1)
        return np.ones((2, 2, 3), np.uint8)

    one = Frame(1, decode, 12, 'header')
    assert not calls
    assert one.image is one.image and one.header == 'header'
    assert calls == [1]
    one.release()
    assert one.image.shape == (2, 2, 3) and calls == [1, 1]


def test_ring_numbers_in_order_of_arrival() -> None:
    ring = FrameBuffer(10, 1)
    for stamp in (5, 6, 6, 9):
        ring.add(frame(stamp))
    assert [one.number for one in kept(ring)] == [1, 2, 3, 4] and ring.newest == 4
    assert stamps(ring, 2) == [6, 9]
    assert stamps(ring, 4) == []


def test_ring_forgets_by_time_and_by_memory() -> None:
    ring = FrameBuffer(seconds=1, megabytes=1)
    for n in range(30):
        ring.add(frame(n * PERIOD))
    assert stamps(ring) == [n * PERIOD for n in range(19, 30)]
    ring.add(frame(30 * PERIOD, size=900_000))
    ring.add(frame(31 * PERIOD, size=200_000))
    assert stamps(ring) == [31 * PERIOD]
    ring.add(frame(32 * PERIOD, size=5_000_000))
    assert stamps(ring) == [32 * PERIOD], 'the newest is kept, however large'


def test_ring_starts_afresh_when_time_jumps_back() -> None:
    ring = FrameBuffer(10, 1)
    for stamp in (0, JUMP, JUMP + 100, 50, 60):
        assert ring.add(frame(stamp))
    assert stamps(ring) == [50, 60]
    assert (ring.jumps, ring.newest) == (1, 5)


def test_ring_leaves_out_what_comes_out_of_order() -> None:
    ring = FrameBuffer(10, 1)
    told = [ring.add(frame(stamp)) for stamp in (100, 300, 200, 300, 400)]
    assert told == [True, True, False, True, True], 'a camera without stamps repeats its own'
    assert stamps(ring) == [100, 300, 300, 400]


def test_limits_may_change_and_what_is_kept_is_told() -> None:
    ring = FrameBuffer(10, 1)
    for n in range(10):
        ring.add(frame(n * PERIOD, size=50_000))
    assert ring.kept == (10, 0.5)
    ring.limit(0.2, 1)
    ring.add(frame(10 * PERIOD, size=50_000))
    assert stamps(ring) == [8 * PERIOD, 9 * PERIOD, 10 * PERIOD]
    ring.clear()
    assert ring.kept == (0, 0) and ring.after(0) is None


def test_ring_finds_a_stamp_and_the_latest() -> None:
    ring = FrameBuffer(10, 1)
    for stamp in (100, 200, 300):
        ring.add(frame(stamp))
    assert ring.find(200).stamp == 200
    assert ring.find(0).stamp == 300


@pytest.mark.parametrize(
    ('held', 'stamp', 'told'),
    [
        ([], 0, 'no image has arrived'),
        ([], 5, 'no image has arrived'),
        ([2 * 10**9, 3 * 10**9], 10**9, r'1\.000 is too old.*2\.000 to 3\.000.*buffer_seconds'),
        ([2 * 10**9, 3 * 10**9], 10**10, r'no frame has the stamp 10\.000.*2\.000 to 3\.000'),
        ([2 * 10**9, 3 * 10**9], 2 * 10**9 + 5, 'no frame has the stamp'),
    ],
)
def test_ring_refuses_clearly(held: list[int], stamp: int, told: str) -> None:
    ring = FrameBuffer(10, 1)
    for each in held:
        ring.add(frame(each))
    with pytest.raises(SiamFFNError, match=told):
        ring.find(stamp)
