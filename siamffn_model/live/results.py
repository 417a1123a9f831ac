"""What a tracker tells of its targets in one image, to those who watch it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from siamffn_model.imaging.geometry import Box
from siamffn_model.tracking import State


class Target(NamedTuple):
    """A target in one image.

    Attributes:
        box: the box in pixels; None if the target is LOST.
        search: the region that was searched for a LOST target, in pixels; None else.
        score: 0 to 1.
        processed, dropped: number of images that were tracked and that were left out.
        last_ms: time of the last update in milliseconds.
    """

    id: str
    state: State
    box: Box | None
    search: Box | None
    score: float
    processed: int
    dropped: int
    last_ms: float


class Result(NamedTuple):
    """All targets of a tracker in the image with this stamp; none if there is no target."""

    stamp: int
    targets: Sequence[Target]
