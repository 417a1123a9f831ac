"""The targets of one camera: initialised on a stamped frame, caught up, tracked, stopped.

`Targets` belongs to one thread; other threads read the `TargetStatus` tuples it returns.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from siamffn_model.errors import ConfigError, ImageError
from siamffn_model.imaging.geometry import Box, iou
from siamffn_model.imaging.image import Image
from siamffn_model.live.frame_buffer import Frame, FrameBuffer
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.tracking import State, Track, Tracker, TrackerSettings, update_all
from siamffn_model.tracking.point_prompt import find_box

MAX_ID_LENGTH = 64  # characters
SAME_OBJECT = 0.7  # IoU


class TargetStatus(NamedTuple):
    """State of a target after the last frame it was searched in.

    Attributes:
        frame_number: number of that frame; `header` is its header.
        track: box, score and state; the box of a LOST target is only where it is searched.
        colour_index: a number that no other current target has, from 0.
        processed, dropped: number of frames that were tracked and that were left out.
        last_ms, mean_ms, max_ms: times of updates in milliseconds.
    """

    id: str
    frame_number: int
    header: Any
    track: Track
    colour_index: int
    processed: int
    dropped: int
    last_ms: float
    mean_ms: float
    max_ms: float


@dataclass
class Target:
    """One target, its tracker and its statistics; see `TargetStatus` for what is not here.

    Attributes:
        frames_behind: number of frames it was behind when it started to catch up to frame `goal`;
            0 when it is up to date.
    """

    id: str
    tracker: Tracker
    frame_number: int
    track: Track
    header: Any
    colour_index: int = 0
    frames_behind: int = 0
    goal: int = 0
    processed: int = 1
    dropped: int = 0
    last_ms: float = 0.0
    max_ms: float = 0.0
    total_ms: float = field(default=0.0, repr=False)

    def status(self) -> TargetStatus:
        """Return an immutable copy of the state."""
        return TargetStatus(
            self.id,
            self.frame_number,
            self.header,
            self.track,
            self.colour_index,
            self.processed,
            self.dropped,
            self.last_ms,
            self.total_ms / max(self.processed - 1, 1),
            self.max_ms,
        )

    def record_update(self, frame: Frame, track: Track, milliseconds: float) -> None:
        """Store the result of a newer frame and the time it took."""
        self.track = track
        self.last_ms = milliseconds
        self.max_ms = max(self.max_ms, milliseconds)
        self.total_ms += milliseconds
        self.processed += 1
        self.skip_to(frame.number - 1)
        self.frame_number = frame.number
        self.header = frame.header

    def skip_to(self, number: int) -> None:
        """Count all frames up to this one as dropped."""
        self.dropped += number - self.frame_number
        self.frame_number = number


class Targets:
    """All targets of one camera, in the order in which they were first given.

    Args:
        model: what `load_model` returned; shared by all targets.
        buffer: receives every frame that arrives.
        settings: of all trackers.
        max_targets: maximum number of targets.
    """

    def __init__(
        self,
        model: Runtime,
        buffer: FrameBuffer,
        settings: TrackerSettings | None = None,
        max_targets: int = 16,
    ) -> None:
        self._model = model
        self._buffer = buffer
        self._settings = settings or TrackerSettings()
        self._targets: dict[str, Target] = {}
        self.max_targets = max_targets

    def __len__(self) -> int:
        return len(self._targets)

    @property
    def all(self) -> list[Target]:
        """The targets, in their order."""
        return list(self._targets.values())

    @property
    def catching_up(self) -> bool:
        """Whether any target is behind the newest frame and has to be caught up."""
        return any(target.frames_behind for target in self._targets.values())

    def statuses(self) -> tuple[TargetStatus, ...]:
        """Return the status of every target, in their order."""
        return tuple(target.status() for target in self._targets.values())

    def set(self, settings: TrackerSettings) -> None:
        """Change the settings of all trackers."""
        self._settings = settings
        for target in self._targets.values():
            target.tracker.settings = settings

    def init(self, box: Box, stamp: int = 0, target_id: str = '') -> Target:
        """Start to track the target in `box` of the frame with this stamp.

        If that frame is not the newest, the target is taken through the later frames by `catch_up`.

        Args:
            box: pixels of that frame.
            stamp: nanoseconds; 0 for the newest frame.
            target_id: a new id is chosen if empty; a target with this id is initialised again. If
                that fails, the target is tracked as before.

        Raises `NotReadyError` (no frame has arrived), `ConfigError` (no frame with this stamp,
        too many targets, an id that is too long or not printable), `BoxError`, `ImageError`.
        """
        return self._init(lambda _: box, stamp, target_id)

    def init_point(
        self,
        point: tuple[float, float],
        radius: float = 0.0,
        stamp: int = 0,
        target_id: str = '',
    ) -> Target:
        """Start to track the object at a point, in pixels of the frame with this stamp.

        `radius` is that of `find_box`; the rest is as in `init`. The target's box is the one that
        was found.

        Raises what `init` raises; `BoxError` also if there is no object at the point.
        """
        return self._init(
            lambda image: find_box(self._model, image, point, radius), stamp, target_id
        )

    def _init(self, find: Callable[[Image], Box], stamp: int, target_id: str) -> Target:
        if len(target_id) > MAX_ID_LENGTH:
            raise ConfigError(
                f'target_id has {len(target_id)} characters: give at most {MAX_ID_LENGTH}'
            )
        if not target_id.isprintable():
            raise ConfigError(f'target_id {target_id!r} has control characters: remove them')
        previous = self._targets.get(target_id)
        if previous is None and len(self) >= self.max_targets:
            raise ConfigError(
                f'{len(self)} targets are tracked already: stop one first, or raise max_targets'
            )
        frame = self._buffer.find(stamp)
        tracker = Tracker(self._model, self._settings)
        try:
            box = find(frame.image)
            tracker.init(frame.image, box)
        finally:
            frame.release()
        target_id = target_id or self._new_id()
        newest = self._buffer.newest
        self._targets[target_id] = target = Target(
            target_id,
            tracker,
            frame.number,
            Track(box, 1.0, State.TRACKING),
            frame.header,
            previous.colour_index if previous else self._new_colour_index(),
            frames_behind=newest - frame.number,
            goal=newest,
        )
        return target

    def stop(self, target_id: str) -> None:
        """Remove a target; raises `ConfigError` naming the existing ones if it is unknown."""
        if target_id not in self._targets:
            known = ', '.join(self._targets) or 'none'
            raise ConfigError(f'no target {target_id[:MAX_ID_LENGTH]!r}: there are {known}')
        del self._targets[target_id]

    def clear(self) -> int:
        """Remove all targets; return how many there were."""
        count = len(self)
        self._targets.clear()
        return count

    def update(self, frame: Frame) -> None:
        """Search every target in the newest frame, with one call of the network.

        Targets that are still catching up are left out. Raises `ImageError`.
        """
        current = []
        for target in self.all:
            if target.frame_number == frame.number - 1:
                target.frames_behind = 0
            if not target.frames_behind and target.frame_number < frame.number:
                current.append(target)
        _update(current, [frame] * len(current))
        _doubt_overlapping(current)

    def catch_up(self) -> bool:
        """Take each late target one frame further; return whether any is still late.

        Frames that arrive meanwhile are tracked too, as long as the number of missing frames falls;
        a tracker that is slower than the camera stops there and continues with the newest frame.
        """
        late, frames = [], []
        for target in self.all:
            if target.frames_behind and (frame := self._next_frame(target)):
                late.append(target)
                frames.append(frame)
        _update(late, frames)
        for target, frame in zip(late, frames):
            frame.release()
            if target.frame_number >= target.goal:
                behind = self._buffer.newest - target.frame_number
                target.frames_behind = behind if behind < target.frames_behind else 0
                target.goal = self._buffer.newest
        return self.catching_up

    def _next_frame(self, target: Target) -> Frame | None:
        """Return the next frame that can be decoded; if there is none, the target is up to date."""
        while frame := self._buffer.after(target.frame_number):
            try:
                _ = frame.image
                return frame
            except ImageError:
                target.skip_to(frame.number)
        target.frames_behind = 0
        return None

    def _new_id(self) -> str:
        return next(name for n in itertools.count(1) if (name := str(n)) not in self._targets)

    def _new_colour_index(self) -> int:
        used = {target.colour_index for target in self.all}
        return next(n for n in itertools.count() if n not in used)


def _doubt_overlapping(targets: Sequence[Target]) -> None:
    """Make targets UNCERTAIN whose boxes overlap so much that both may be on one object."""
    tracking = [target for target in targets if target.track.state == State.TRACKING]
    if len(tracking) < 2:
        return
    boxes = np.array([target.track.box for target in tracking])
    same = iou(boxes[:, None], boxes) > SAME_OBJECT
    for target, others in zip(tracking, same.sum(axis=1), strict=True):
        if others > 1:
            target.track = target.track._replace(state=State.UNCERTAIN)


def _update(targets: Sequence[Target], frames: Sequence[Frame]) -> None:
    """Search each target in its frame, with one call of the network; raises `ImageError`."""
    images = [frame.image for frame in frames]
    start = time.perf_counter()
    tracks = update_all([target.tracker for target in targets], images)
    milliseconds = 1000 * (time.perf_counter() - start)
    for target, frame, track in zip(targets, frames, tracks):
        target.record_update(frame, track, milliseconds)
