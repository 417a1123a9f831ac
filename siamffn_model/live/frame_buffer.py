"""The last frames of a camera, kept for boxes that come late."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siamffn_model.errors import SiamFFNError

JUMP = 500_000_000  # nanoseconds back that are no longer an image out of order: time has jumped


class Frame:
    """One received image, decoded while it is needed.

    Args:
        stamp: time of the image in nanoseconds.
        decode: returns the image as BGR uint8 (H, W, 3), the same each time.
        size: bytes that `decode` holds on to.
        header: whatever belongs to the image; handed back untouched.
        arrival: time it was received, in seconds of the monotonic clock.
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
        self.number = 0  # place in the order of arrival, given by the ring
        self._decode = decode
        self._image: NDArray[np.uint8] | None = None

    @property
    def image(self) -> NDArray[np.uint8]:
        """The image, BGR uint8 (H, W, 3); raises what `decode` does."""
        if self._image is None:
            self._image = self._decode()
        return self._image

    def release(self) -> None:
        """Let go of the decoded image, which may be many times as large as what came."""
        self._image = None


class FrameBuffer:
    """The frames of the last seconds, numbered in order of arrival, bounded in time and memory.

    One thread may fill it while another reads it.
    """

    def __init__(self, seconds: float, megabytes: float) -> None:
        self._frames: deque[Frame] = deque()
        self._size = 0
        self._newest = 0
        self._lock = threading.Lock()
        self.jumps = 0
        self.limit(seconds, megabytes)

    def limit(self, seconds: float, megabytes: float) -> None:
        """Change how much is kept."""
        with self._lock:
            self._seconds, self._bytes = seconds, megabytes * 1e6

    def add(self, frame: Frame) -> bool:
        """Keep the newest frame and forget those too old; returns False for one out of order.

        That is one older than the last by no more than JUMP, and is not kept. Where a stamp lies
        farther back, time itself has jumped, as when a bag starts again: all before are forgotten.
        """
        with self._lock:
            if self._frames and frame.stamp < (last := self._frames[-1].stamp):
                if last - frame.stamp <= JUMP:
                    return False
                self._clear()
                self.jumps += 1
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
        """Forget all frames."""
        with self._lock:
            self._clear()

    def _clear(self) -> None:
        self._frames.clear()
        self._size = 0

    @property
    def newest(self) -> int:
        """Number of the newest frame; 0: none has arrived."""
        return self._newest

    @property
    def kept(self) -> tuple[int, float]:
        """How many frames are kept, and their megabytes."""
        with self._lock:
            return len(self._frames), self._size / 1e6

    def find(self, stamp: int) -> Frame:
        """Return the frame of this stamp (nanoseconds), the newest for 0.

        Raises `SiamFFNError` when no frame has arrived yet, or none of this stamp is kept.
        """
        with self._lock:
            if not self._frames:
                raise SiamFFNError(
                    'no image has arrived yet: check the image topic and its QoS, then try again'
                )
            if stamp == 0:
                return self._frames[-1]
            for frame in reversed(self._frames):
                if frame.stamp == stamp:
                    return frame
            first, last = self._frames[0].stamp, self._frames[-1].stamp
        kept = f'frames from {first / 1e9:.3f} to {last / 1e9:.3f} are kept'
        if stamp < first:
            raise SiamFFNError(
                f'stamp {stamp / 1e9:.3f} is too old: {kept}; '
                'draw the box on a newer frame or raise buffer_seconds and buffer_megabytes'
            )
        raise SiamFFNError(
            f'no frame has the stamp {stamp / 1e9:.3f}: {kept}; '
            'give the stamp of the frame the box was drawn on, or zero for the latest'
        )

    def after(self, number: int) -> Frame | None:
        """Return the oldest kept frame that arrived after frame `number`, if there is any."""
        with self._lock:
            first = self._frames[0].number if self._frames else 0
            place = max(number + 1 - first, 0)
            return next(itertools.islice(self._frames, place, None), None)
