"""Tests of siamffn_model/live/frame_buffer.py."""

from __future__ import annotations

import numpy as np
import pytest

from siamffn_model.errors import SiamFFNError
from siamffn_model.live.frame_buffer import TIME_JUMP, Frame, FrameBuffer

PERIOD = 100_000_000  # nanoseconds between two frames


def frame(stamp: int, size: int = 1) -> Frame:
    return Frame(stamp, lambda: np.zeros((8, 8, 3), np.uint8), size)


def frames_after(buffer: FrameBuffer, number: int = 0) -> list[Frame]:
    """Return the stored frames with a higher number, in order."""
    frames = []
    while following := buffer.after(number):
        frames.append(following)
        number = following.number
    return frames


def stamps(buffer: FrameBuffer, number: int = 0) -> list[int]:
    """Return the stamps of the stored frames with a higher number, in order."""
    return [each.stamp for each in frames_after(buffer, number)]


def test_a_frame_is_decoded_on_first_use_and_released() -> None:
    calls: list[int] = []

    def decode() -> np.ndarray:
        calls.append(1)
        return np.ones((2, 2, 3), np.uint8)

    lazy = Frame(1, decode, 12, 'header')
    assert not calls
    assert lazy.image is lazy.image and lazy.header == 'header'
    assert calls == [1]
    lazy.release()
    assert lazy.image.shape == (2, 2, 3) and calls == [1, 1]


def test_frames_are_numbered_in_order_of_arrival() -> None:
    buffer = FrameBuffer(10, 1)
    for stamp in (5, 6, 6, 9):
        buffer.add(frame(stamp))
    assert [each.number for each in frames_after(buffer)] == [1, 2, 3, 4] and buffer.newest == 4
    assert stamps(buffer, 2) == [6, 9]
    assert stamps(buffer, 4) == []


def test_frames_are_dropped_by_age_and_by_memory() -> None:
    buffer = FrameBuffer(seconds=1, megabytes=1)
    for n in range(30):
        buffer.add(frame(n * PERIOD))
    assert stamps(buffer) == [n * PERIOD for n in range(19, 30)]
    buffer.add(frame(30 * PERIOD, size=900_000))
    buffer.add(frame(31 * PERIOD, size=200_000))
    assert stamps(buffer) == [31 * PERIOD]
    buffer.add(frame(32 * PERIOD, size=5_000_000))
    assert stamps(buffer) == [32 * PERIOD], 'the newest frame is stored whatever its size'


def test_buffer_is_cleared_when_time_jumps_back() -> None:
    buffer = FrameBuffer(10, 1)
    for stamp in (0, TIME_JUMP, TIME_JUMP + 100, 50, 60):
        assert buffer.add(frame(stamp))
    assert stamps(buffer) == [50, 60]
    assert (buffer.time_jumps, buffer.newest) == (1, 5)


def test_frames_out_of_order_are_not_stored() -> None:
    buffer = FrameBuffer(10, 1)
    added = [buffer.add(frame(stamp)) for stamp in (100, 300, 200, 300, 400)]
    assert added == [True, True, False, True, True], 'equal stamps are allowed'
    assert stamps(buffer) == [100, 300, 300, 400]


def test_limits_can_be_changed_and_usage_is_reported() -> None:
    buffer = FrameBuffer(10, 1)
    for n in range(10):
        buffer.add(frame(n * PERIOD, size=50_000))
    assert buffer.usage == (10, 0.5)
    buffer.set_limits(0.2, 1)
    buffer.add(frame(10 * PERIOD, size=50_000))
    assert stamps(buffer) == [8 * PERIOD, 9 * PERIOD, 10 * PERIOD]
    buffer.clear()
    assert buffer.usage == (0, 0) and buffer.after(0) is None


def test_frames_are_found_by_stamp_and_0_is_the_newest() -> None:
    buffer = FrameBuffer(10, 1)
    for stamp in (100, 200, 300):
        buffer.add(frame(stamp))
    assert buffer.find(200).stamp == 200
    assert buffer.find(0).stamp == 300


def test_the_nearest_frame_stands_for_a_lost_one() -> None:
    buffer = FrameBuffer(10, 100)
    for stamp in (1000, 1100, 1200, 1500):  # milliseconds
        buffer.add(frame(stamp * 10**6))
    for stamp, found in ((1101, 1100), (1149, 1100), (1151, 1200)):
        assert buffer.find(stamp * 10**6).stamp == found * 10**6
    for stamp in (999, 1201, 1350, 1499, 1501):
        with pytest.raises(SiamFFNError, match=r'no frame has|too old'):
            buffer.find(stamp * 10**6)


@pytest.mark.parametrize(
    ('stored', 'stamp', 'message'),
    [
        ([], 0, 'no image has arrived'),
        ([], 5, 'no image has arrived'),
        ([2 * 10**9, 3 * 10**9], 10**9, r'1\.0{9} is too old.*2\.0{9} to 3\.0{9}.*buffer_seconds'),
        ([2 * 10**9, 3 * 10**9], 10**10, r'stamp 10\.0{9}, the nearest is 3\.0{9}: .*2\.0{9} to 3'),
        ([2 * 10**9, 3 * 10**9], 2 * 10**9 + 5, r'stamp 2\.0{8}5, the nearest is 2\.0{9}: '),
    ],
)
def test_a_missing_frame_is_reported_with_the_reason(
    stored: list[int], stamp: int, message: str
) -> None:
    buffer = FrameBuffer(10, 1)
    for stored_stamp in stored:
        buffer.add(frame(stored_stamp))
    with pytest.raises(SiamFFNError, match=message):
        buffer.find(stamp)


def test_images_that_were_refused_are_reported_until_one_is_kept() -> None:
    buffer = FrameBuffer(10, 1)
    buffer.refused = 'encoding x is not supported'
    with pytest.raises(SiamFFNError, match=r'images arrive, but none can be used.*: encoding x is'):
        buffer.find(0)
    buffer.clear()
    with pytest.raises(SiamFFNError, match='no image has arrived'):
        buffer.find(0)
    buffer.refused = 'encoding x is not supported'
    buffer.add(frame(1))
    assert buffer.find(0).stamp == 1
