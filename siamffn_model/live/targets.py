"""The targets of one camera: initialised at a stamped frame, caught up, followed, stopped.

Nothing here needs a ROS graph; the node feeds it frames. `Targets` belongs to one thread.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from siamffn_model.errors import ImageError, SiamFFNError
from siamffn_model.imaging.geometry import Box
from siamffn_model.live.frame_buffer import Frame, FrameBuffer
from siamffn_model.tracking import State, Track, Tracker, TrackerSettings, update_all

LONGEST_ID = 64  # characters


@dataclass
class Target:
    """One followed target and its figures.

    Attributes:
        number: number of the last frame it was searched in, whose header is `header`.
        colour: a number that no other target has meanwhile, from 0.
        frames_behind: number of frames it was behind when it started to catch up to frame `goal`;
            0 when it is up to date.
    """

    id: str
    tracker: Tracker
    number: int
    track: Track
    header: Any
    colour: int = 0
    frames_behind: int = 0
    goal: int = 0
    processed: int = 1
    dropped: int = 0
    last_ms: float = 0.0
    max_ms: float = 0.0
    total_ms: float = field(default=0.0, repr=False)

    @property
    def mean_ms(self) -> float:
        """Mean time of an update."""
        return self.total_ms / max(self.processed - 1, 1)

    def record_update(self, frame: Frame, track: Track, milliseconds: float) -> None:
        """Take what was found on a newer frame, and how long it took."""
        self.track = track
        self.last_ms = milliseconds
        self.max_ms = max(self.max_ms, milliseconds)
        self.total_ms += milliseconds
        self.processed += 1
        self.skip_to(frame.number - 1)
        self.number = frame.number
        self.header = frame.header

    def skip_to(self, number: int) -> None:
        """Leave out all frames up to this one."""
        self.dropped += number - self.number
        self.number = number


class Targets:
    """All targets of one camera, in the order they were first given.

    Args:
        model: what `load_model` returned; shared by all targets.
        ring: where the node puts every frame that arrives.
        settings: of all trackers.
        limit: how many targets there may be.
    """

    def __init__(
        self,
        model: Any,
        ring: FrameBuffer,
        settings: TrackerSettings | None = None,
        limit: int = 16,
    ) -> None:
        self._model = model
        self._ring = ring
        self._settings = settings or TrackerSettings()
        self._targets: dict[str, Target] = {}
        self.limit = limit

    def __len__(self) -> int:
        return len(self._targets)

    @property
    def all(self) -> list[Target]:
        """The targets, in their order."""
        return list(self._targets.values())

    def set(self, settings: TrackerSettings) -> None:
        """Change the settings of all trackers."""
        self._settings = settings
        for target in self._targets.values():
            target.tracker.settings = settings

    def init(self, box: Box, stamp: int = 0, target_id: str = '') -> Target:
        """Follow the target in `box` of the frame with this stamp (nanoseconds; 0: the latest).

        A box drawn on an older frame is followed through the frames that came since by `catch_up`.
        Returns the target, its id `target_id`, or a new one where that is empty. A target that has
        this id already is initialised anew; after an error it is followed as before.

        Raises `SiamFFNError` (stamp unknown or too old, no frame, too many targets, an id that is
        too long), `BoxError`, `ImageError`.
        """
        if len(target_id) > LONGEST_ID:
            raise SiamFFNError(
                f'target_id has {len(target_id)} characters: give at most {LONGEST_ID}'
            )
        before = self._targets.get(target_id)
        if before is None and len(self) >= self.limit:
            raise SiamFFNError(
                f'{len(self)} targets are followed already: stop one first, or raise max_targets'
            )
        frame = self._ring.find(stamp)
        tracker = Tracker(self._model, self._settings)
        try:
            tracker.init(frame.image, box)
        finally:
            frame.release()
        target_id = target_id or self._new_id()
        newest = self._ring.newest
        self._targets[target_id] = target = Target(
            target_id,
            tracker,
            frame.number,
            Track(box, 1.0, State.TRACKING),
            frame.header,
            before.colour if before else self._new_colour(),
            frames_behind=newest - frame.number,
            goal=newest,
        )
        return target

    def stop(self, target_id: str) -> None:
        """Forget a target; raises `SiamFFNError` that names those there are."""
        if target_id not in self._targets:
            known = ', '.join(self._targets) or 'none'
            raise SiamFFNError(f'no target {target_id[:LONGEST_ID]!r}: there are {known}')
        del self._targets[target_id]

    def clear(self) -> int:
        """Forget all targets; returns how many there were."""
        count = len(self)
        self._targets.clear()
        return count

    def update(self, frame: Frame) -> list[Target]:
        """Find every target on the newest frame, by one search; raises `ImageError`.

        Returns the targets seen on this very frame: one that catches up is not among them. A LOST
        target is, but its `track.box` is only where it is searched for.
        """
        present = []
        for target in self.all:
            if target.number == frame.number - 1:
                target.frames_behind = 0
            if not target.frames_behind and target.number < frame.number:
                present.append(target)
        _follow(present, [frame] * len(present))
        return [target for target in self.all if target.number == frame.number]

    def catch_up(self) -> bool:
        """Take each target that is late one frame farther; returns whether any still is.

        Frames that arrive meanwhile are followed too, as long as they get fewer; a tracker slower
        than the camera stops there and jumps to the newest frame, as it does ever after.
        """
        late, frames = [], []
        for target in self.all:
            if target.frames_behind and (frame := self._next_frame(target)):
                late.append(target)
                frames.append(frame)
        _follow(late, frames)
        for target, frame in zip(late, frames):
            frame.release()
            if target.number >= target.goal:
                behind = self._ring.newest - target.number
                target.frames_behind = behind if behind < target.frames_behind else 0
                target.goal = self._ring.newest
        return any(target.frames_behind for target in self.all)

    def _next_frame(self, target: Target) -> Frame | None:
        """Return the next frame that can be decoded; without any, the target is at the present."""
        while frame := self._ring.after(target.number):
            try:
                _ = frame.image
                return frame
            except ImageError:
                target.skip_to(frame.number)
        target.frames_behind = 0
        return None

    def _new_id(self) -> str:
        return next(name for n in itertools.count(1) if (name := str(n)) not in self._targets)

    def _new_colour(self) -> int:
        used = {target.colour for target in self.all}
        return next(n for n in itertools.count() if n not in used)


def _follow(targets: Sequence[Target], frames: Sequence[Frame]) -> None:
    """Find each target on a newer frame, all by one search; raises `ImageError`."""
    images = [frame.image for frame in frames]
    start = time.perf_counter()
    tracks = update_all([target.tracker for target in targets], images)
    milliseconds = 1000 * (time.perf_counter() - start)
    for target, frame, track in zip(targets, frames, tracks):
        target.record_update(frame, track, milliseconds)
