"""Convert between ROS messages and boxes, tracks and time stamps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from builtin_interfaces.msg import Time
from siamffn.msg import TrackStatus
from std_msgs.msg import Header
from vision_msgs.msg import (
    BoundingBox2D,
    Detection2D,
    Detection2DArray,
    ObjectHypothesisWithPose,
)

from siamffn_model.errors import BoxError
from siamffn_model.imaging.geometry import Box

if TYPE_CHECKING:  # imports PyTorch, which `siamffn bag --help` does not need
    from siamffn_model.tracking import Track


def to_box(bbox: BoundingBox2D) -> Box:
    """Return the box in pixels; raises `BoxError` for a rotated one."""
    if bbox.center.theta != 0:
        raise BoxError(
            f'box is rotated by {bbox.center.theta:g} rad: give an upright box, theta = 0'
        )
    center = bbox.center.position
    return Box.from_center(center.x, center.y, bbox.size_x, bbox.size_y)


def to_bbox(box: Box) -> BoundingBox2D:
    """Return the message of a box in pixels."""
    bbox = BoundingBox2D(size_x=float(box.w), size_y=float(box.h))
    bbox.center.position.x = float(box.cx)
    bbox.center.position.y = float(box.cy)
    return bbox


def to_detection(target_id: str, box: Box, score: float, header: Header) -> Detection2D:
    """Return the detection of one target; `class_id` is empty, as the class is unknown."""
    result = ObjectHypothesisWithPose()
    result.hypothesis.score = float(score)
    return Detection2D(header=header, results=[result], bbox=to_bbox(box), id=target_id)


def to_detections(
    tracks: Iterable[tuple[str, Track]], header: Header, size: tuple[int, int] | None = None
) -> Detection2DArray:
    """Return the detections of all (target id, track) that are not lost.

    Their boxes are clipped to the image if its `size`, (width, height) in pixels, is given.
    """
    return Detection2DArray(
        header=header,
        detections=[
            to_detection(
                target_id, track.box.clip(*size) if size else track.box, track.score, header
            )
            for target_id, track in tracks
            if track.state != TrackStatus.LOST
        ],
    )


def to_status(target_id: str, track: Track, header: Header, **statistics: float) -> TrackStatus:
    """Return the status of one target; `statistics` are further fields of the message.

    The box of a LOST target is its last one, round which it is searched for.
    """
    return TrackStatus(
        header=header,
        target_id=target_id,
        state=int(track.state),
        score=float(track.score),
        bbox=to_bbox(track.box),
        **statistics,
    )


def to_nanoseconds(stamp: Time) -> int:
    """Return a time stamp in nanoseconds."""
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def to_stamp(nanoseconds: int) -> Time:
    """Return the time stamp of a time in nanoseconds."""
    sec, nanosec = divmod(nanoseconds, 10**9)
    return Time(sec=sec, nanosec=nanosec)
