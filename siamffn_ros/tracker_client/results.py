"""Assemble the targets of each image from the messages of a tracker."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

from siamffn.msg import TrackStatus

from siamffn_model.errors import BoxError
from siamffn_model.imaging.crop import search_region
from siamffn_model.live.frame_buffer import TIME_JUMP
from siamffn_model.live.results import Result, Target
from siamffn_model.tracking import State
from siamffn_ros.messages.conversions import to_box


class ResultAssembler:
    """Collects what a tracker publishes for each image: detections, then a status of each target.

    The detections tell which targets are visible, but not how many are LOST. A result is therefore
    complete with a status of every target in the detections and in the last result, and of IDLE;
    else when the next image begins. A target that appears after that is reported in a second result
    for the same image.

    Args:
        on_result: receives the results, in the order of the images.
    """

    def __init__(self, on_result: Callable[[Result], None]) -> None:
        self._on_result = on_result
        self._last_ids: frozenset[str] = frozenset()  # in the result for the last image
        self._begin(None)

    def _begin(self, stamp: int | None) -> None:
        self._stamp = stamp
        self._detected: frozenset[str] | None = None  # None: the detections have not arrived
        self._targets: dict[str, Target] = {}
        self._reported: frozenset[str] | None = None

    def add_detections(self, stamp: int, ids: Collection[str]) -> None:
        """Add the ids of the detections of an image."""
        if self._enter(stamp):
            self._detected = frozenset(ids)
            self._report_if_complete()

    def add_status(self, stamp: int, target: Target | None) -> None:
        """Add a target of an image; None if there is no target."""
        if not self._enter(stamp):
            return
        if target is None:
            self._report()
        else:
            self._targets[target.id] = target
            self._report_if_complete()

    def _enter(self, stamp: int) -> bool:
        """Begin an image, unless it is the current one; return False if it is an earlier one.

        What there is of the image before is reported.
        """
        if self._stamp is None:
            self._begin(stamp)
        elif 0 < self._stamp - stamp <= TIME_JUMP:
            return False
        elif stamp != self._stamp:
            self._report()
            self._last_ids = frozenset(self._targets)
            self._begin(stamp)
        return True

    def _report_if_complete(self) -> None:
        if self._detected is not None and self._targets.keys() >= self._detected | self._last_ids:
            self._report()

    def _report(self) -> None:
        """Report the targets, unless the same ones have been reported for this image."""
        ids = frozenset(self._targets)
        if self._stamp is not None and ids != self._reported:
            self._reported = ids
            self._on_result(Result(self._stamp, tuple(self._targets.values())))


def to_target(status: TrackStatus) -> Target | None:
    """Return the target of a status, None for IDLE.

    Raises `BoxError` or `ValueError` for values that no tracker publishes.
    """
    state = State(status.state)
    if state == State.IDLE:
        return None
    box = to_box(status.bbox)
    if not all(map(math.isfinite, (*box, status.score, status.last_ms))) or min(box.w, box.h) <= 0:
        raise BoxError(f'box {tuple(box)}, score {status.score}: they must be finite')
    lost = state == State.LOST
    return Target(
        status.target_id,
        state,
        None if lost else box,
        search_region(box) if lost else None,
        status.score,
        status.frames_processed,
        status.frames_dropped,
        status.last_ms,
    )
