"""The most recent frames of a camera, kept for boxes that arrive late."""

from __future__ import annotations

import itertools
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siamffn_model.errors import ConfigError, NotReadyError

LOST_IMAGE = 250_000_000  # nanoseconds between the frames before and after a lost image
TIME_JUMP = 500_000_000  # nanoseconds: a stamp further back is a time jump, not an old image


class Frame:
    """One received image, decoded on first use.

    Args:
        stamp: time of the image in nanoseconds.
        decode: returns the image as BGR uint8 (H, W, 3), the same each time.
        size: bytes that `decode` keeps in memory.
        header: any object that belongs to the image; returned unchanged.
        arrival: time of reception in seconds of the monotonic clock.
    """

    def __init__(
        self,
        stamp: int,
        decode: Callable[[], NDArray[np.uint8]],
        size: int,
        header: Any = None,
        arrival: float = 0.0,
    ) -> None:
        self.stamp = stamp
        self.size = size
        self.header = header
        self.arrival = arrival
        self.number = 0  # position in the order of arrival, assigned by the buffer
        self._decode = decode
        self._image: NDArray[np.uint8] | None = None

    @property
    def image(self) -> NDArray[np.uint8]:
        """The image, BGR uint8 (H, W, 3); raises what `decode` raises."""
        if self._image is None:
            self._image = self._decode()
        return self._image

    def release(self) -> None:
        """Free the decoded image, which may be many times larger than the received data."""
        self._image = None


class FrameBuffer:
    """The frames of the last seconds, numbered in order of arrival, bounded in time and memory.

    One thread may add frames while another reads them.

    Attributes:
        time_jumps: how often time has jumped back; see `add`.
        refused: why the last image that could not be used was not added; empty if there was none.
    """

    def __init__(self, seconds: float, megabytes: float) -> None:
        self._frames: deque[Frame] = deque()
        self._size = 0
        self._newest = 0
        self._lock = threading.Lock()
        self.time_jumps = 0
        self.refused = ''
        self.set_limits(seconds, megabytes)

    def set_limits(self, seconds: float, megabytes: float) -> None:
        """Change how much is kept."""
        with self._lock:
            self._seconds, self._bytes = seconds, megabytes * 1e6

    def add(self, frame: Frame) -> bool:
        """Keep the newest frame and drop those that are too old; return False if out of order.

        A frame is out of order, and not kept, if its stamp is before the last one by at most
        TIME_JUMP. A stamp further back means that time itself has jumped, for example because a bag
        started again: all earlier frames are dropped.
        """
        with self._lock:
            if self._frames and frame.stamp < (last := self._frames[-1].stamp):
                if last - frame.stamp <= TIME_JUMP:
                    return False
                self._clear()
                self.time_jumps += 1
            self._newest += 1
            frame.number = self._newest
            self._frames.append(frame)
            self._size += frame.size
            oldest = frame.stamp - self._seconds * 1e9
            while len(self._frames) > 1 and (
                self._frames[0].stamp < oldest or self._size > self._bytes
            ):
                self._size -= self._frames.popleft().size
            return True

    def clear(self) -> None:
        """Drop all frames."""
        with self._lock:
            self._clear()
            self.refused = ''

    def _clear(self) -> None:
        self._frames.clear()
        self._size = 0

    @property
    def newest(self) -> int:
        """Number of the newest frame; 0 if none has arrived."""
        return self._newest

    @property
    def usage(self) -> tuple[int, float]:
        """Number of frames that are kept, and their size in megabytes."""
        with self._lock:
            return len(self._frames), self._size / 1e6

    def find(self, stamp: int) -> Frame:
        """Return the frame with this stamp in nanoseconds, or the newest for 0.

        It is the nearest one if the stamp is between two frames that are at most LOST_IMAGE apart:
        an image that was lost on its way here, but shown to who has drawn the box.

        Raises `NotReadyError` if no frame has arrived yet, and `ConfigError` if no frame with this
        stamp is kept.
        """
        with self._lock:
            if not self._frames and self.refused:
                raise NotReadyError(
                    f'images arrive, but none can be used; the last one: {self.refused}'
                )
            if not self._frames:
                raise NotReadyError(
                    'no image has arrived yet: check the image topic and its QoS, then try again'
                )
            if stamp == 0:
                return self._frames[-1]
            stamps = [frame.stamp for frame in self._frames]  # in ascending order
            later = bisect_right(stamps, stamp)
            around = [self._frames[n] for n in (later - 1, later) if 0 <= n < len(stamps)]
        nearest = min(around, key=lambda frame: abs(frame.stamp - stamp))
        is_lost = len(around) == 2 and around[1].stamp - around[0].stamp <= LOST_IMAGE
        if nearest.stamp == stamp or is_lost:
            return nearest
        kept = f'frames from {_seconds(stamps[0])} to {_seconds(stamps[-1])} are kept'
        if stamp < stamps[0]:
            raise ConfigError(
                f'stamp {_seconds(stamp)} is too old: {kept}; '
                'draw the box on a newer frame; a node keeps more of them with a larger '
                'buffer_seconds and buffer_megabytes'
            )
        raise ConfigError(
            f'no frame has the stamp {_seconds(stamp)}, the nearest is {_seconds(nearest.stamp)}: '
            f'{kept}; give the stamp of the frame the box was drawn on, or zero for the latest'
        )

    def after(self, number: int) -> Frame | None:
        """Return the oldest kept frame that arrived after frame `number`, if there is one."""
        with self._lock:
            first = self._frames[0].number if self._frames else 0
            index = max(number + 1 - first, 0)
            return next(itertools.islice(self._frames, index, None), None)


def _seconds(nanoseconds: int) -> str:
    """Return a stamp in seconds with all its digits."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return f'{seconds}.{rest:09d}'
