"""The targets of one camera: initialised at a stamped frame, caught up, followed, stopped.

Nothing here needs a ROS graph; the node feeds it frames. A `FrameRing` may be filled by one thread
while another reads it; `Targets` belongs to one thread.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siamffn_model.errors import SiamFFNError
from siamffn_model.geometry import Box
from siamffn_model.tracking import State, Track, Tracker


class Frame:
    """One received image.

    Args:
        stamp: time of the image in nanoseconds.
        decode: returns the image as BGR uint8 (H, W, 3); called once, when it is first asked for.
        size: bytes of the decoded image.
        header: whatever belongs to the image; handed back untouched.
    """

    def __init__(
        self, stamp: int, decode: Callable[[], NDArray[np.uint8]], size: int, header: Any = None
    ) -> None:
        self.stamp = stamp
        self.size = size
        self.header = header
        self.number = 0  # place in the order of arrival, given by the ring
        self._decode: Callable[[], NDArray[np.uint8]] | None = decode
        self._image: NDArray[np.uint8] | None = None

    @property
    def image(self) -> NDArray[np.uint8]:
        """The image, BGR uint8 (H, W, 3)."""
        if self._image is None:
            assert self._decode is not None
            self._image = self._decode()
            self._decode = None  # lets go of the message
        return self._image


class FrameRing:
    """The frames of the last seconds, numbered in order of arrival, bounded in time and memory."""

    def __init__(self, seconds: float, megabytes: float) -> None:
        self._seconds = seconds
        self._bytes = megabytes * 1e6
        self._frames: deque[Frame] = deque()
        self._size = 0
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def add(self, frame: Frame) -> None:
        """Keep the newest frame and forget those too old. A stamp that jumps back starts afresh."""
        with self._lock:
            frame.number = next(self._numbers)
            if self._frames and frame.stamp < self._frames[-1].stamp:
                self._frames.clear()
                self._size = 0
            self._frames.append(frame)
            self._size += frame.size
            oldest = frame.stamp - self._seconds * 1e9
            while len(self._frames) > 1 and (
                self._frames[0].stamp < oldest or self._size > self._bytes
            ):
                self._size -= self._frames.popleft().size

    def clear(self) -> None:
        """Forget all frames."""
        with self._lock:
            self._frames.clear()
            self._size = 0

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

    def since(self, number: int) -> list[Frame]:
        """Return the kept frames that arrived after frame `number`, oldest first."""
        with self._lock:
            return [frame for frame in self._frames if frame.number > number]


@dataclass
class Target:
    """One followed target and its figures."""

    id: str
    tracker: Tracker
    number: int  # of the last frame it was seen on
    track: Track
    processed: int = 1
    dropped: int = 0
    last_ms: float = 0.0
    max_ms: float = 0.0
    total_ms: float = field(default=0.0, repr=False)

    @property
    def mean_ms(self) -> float:
        """Mean time of an update."""
        return self.total_ms / max(self.processed - 1, 1)

    def follow(self, frame: Frame) -> None:
        """Find the target on a newer frame; raises `ImageError`."""
        image = frame.image
        start = time.perf_counter()
        self.track = self.tracker.update(image)
        self.last_ms = 1000 * (time.perf_counter() - start)
        self.max_ms = max(self.max_ms, self.last_ms)
        self.total_ms += self.last_ms
        self.processed += 1
        self.dropped += frame.number - self.number - 1
        self.number = frame.number


class Targets:
    """All targets of one camera, in the order they were first given.

    Args:
        model: what `load_model` returned; shared by all targets.
        ring: where the node puts every frame that arrives.
    """

    def __init__(self, model: Any, ring: FrameRing) -> None:
        self._model = model
        self._ring = ring
        self._targets: dict[str, Target] = {}

    def __len__(self) -> int:
        return len(self._targets)

    def init(self, box: Box, stamp: int = 0, target_id: str = '') -> str:
        """Follow the target in `box` of the frame with this stamp (nanoseconds; 0: the latest).

        A box drawn on an older frame is followed through the frames that came since, up to the
        newest. Returns the id: `target_id`, or a new one where that is empty. A target that has
        this id already is initialised anew; after an error it is followed as before.

        Raises `SiamFFNError` (stamp unknown or too old, no frame), `BoxError`, `ImageError`.
        """
        frame = self._ring.find(stamp)
        tracker = Tracker(self._model)
        tracker.init(frame.image, box)
        target_id = target_id or self._new_id()
        track = Track(box, 1.0, State.TRACKING)
        target = Target(target_id, tracker, frame.number, track)
        self._catch_up(target)
        self._targets[target_id] = target
        return target_id

    def stop(self) -> int:
        """Forget all targets; returns how many there were."""
        count = len(self._targets)
        self._targets.clear()
        return count

    def update(self, frame: Frame) -> list[Target]:
        """Find every target on the newest frame; raises `ImageError`.

        Returns the targets seen on this very frame: one that has caught up beyond it waits for the
        next. A LOST target is among them, but its `track.box` is only where it is searched for.
        """
        for target in self._targets.values():
            if target.number < frame.number:
                target.follow(frame)
        return [target for target in self._targets.values() if target.number == frame.number]

    def _catch_up(self, target: Target) -> None:
        """Follow a target through the kept frames to the newest.

        Frames that arrive meanwhile are followed too, as long as they get fewer; a tracker slower
        than the camera stops there and jumps to the newest frame, as it does ever after.
        """
        before = None
        frames = self._ring.since(target.number)
        while frames and (before is None or len(frames) < before):
            for frame in frames:
                target.follow(frame)
            before = len(frames)
            frames = self._ring.since(target.number)

    def _new_id(self) -> str:
        return next(name for n in itertools.count(1) if (name := str(n)) not in self._targets)
