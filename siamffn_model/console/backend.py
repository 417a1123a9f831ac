"""What the console's server needs of the trackers behind it: the protocol of both back ends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple, Protocol

from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image
from siamffn_model.live.results import Result


class TrackerInfo(NamedTuple):
    """A tracker that can be watched.

    Attributes:
        name: unique name; of a node, with its namespace.
        camera: topic, file or address of the images.
        problem: why it cannot track at present; empty if it can.
        paused: whether tracking is paused.
    """

    name: str
    camera: str
    problem: str = ''
    paused: bool = False


class CameraFrame(NamedTuple):
    """One image of a tracker's camera.

    Attributes:
        stamp: time of the image in nanoseconds.
        decode: returns the image, BGR uint8 (H, W, 3); may be called in any thread. Raises
            `ImageError`.
        jpeg: the image as a JPEG file, if the camera delivers it so; else None.
    """

    stamp: int
    decode: Callable[[], Image]
    jpeg: bytes | None = None


class Answer(NamedTuple):
    """The answer to a target that was given: its id, and the box it starts from."""

    target_id: str
    box: Box


class Listener(Protocol):
    """Receives what a back end reports, in any thread; must return at once."""

    def on_trackers(self, trackers: Sequence[TrackerInfo]) -> None:
        """Take the list of all trackers, when it has changed."""

    def on_frame(self, tracker: str, frame: CameraFrame) -> None:
        """Take an image of a watched tracker."""

    def on_result(self, tracker: str, result: Result) -> None:
        """Take the targets of a watched tracker in an image."""

    def on_event(self, tracker: str, text: str) -> None:
        """Take a line about a tracker for the operators: why it fails or has recovered."""


class Backend(Protocol):
    """Trackers and their cameras, in this process or in ROS nodes.

    No method waits. Futures hold a `SiamFFNError` if the request is refused; the server waits for
    them at most `server.REQUEST_TIMEOUT`.

    Attributes:
        can_record: whether `record` is supported.
    """

    can_record: bool

    def open(self, listener: Listener) -> None:
        """Start to report the trackers."""

    def watch(self, trackers: Collection[str]) -> None:
        """Report images and results of these trackers only; names that are unknown are ignored."""

    def init(self, tracker: str, box: Box, stamp: int, target_id: str) -> Future[Answer]:
        """Start a target in the box of the image with this stamp; restart it if the id exists."""

    def init_point(
        self, tracker: str, point: tuple[float, float], radius: float, stamp: int, target_id: str
    ) -> Future[Answer]:
        """Start a target from a point on it; a radius of 0 means that its size is unknown."""

    def stop(self, tracker: str, target_id: str) -> Future[None]:
        """Stop a target, or all if the id is empty."""

    def pause(self, tracker: str, paused: bool) -> Future[None]:
        """Pause or resume tracking; the targets are kept."""

    def record(self, tracker: str, images: bool) -> Future[Path]:
        """Start to record detections and given boxes, and the images on request; the result is
        the path of the bag."""

    def stop_recording(self, tracker: str) -> Future[Path]:
        """End the recording; the result is the path of the complete bag."""

    def close(self) -> None:
        """End all threads; may wait. Nothing is reported afterwards."""
