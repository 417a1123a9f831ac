"""siamffn_ros/messages/conversions.py"""

from __future__ import annotations

import math

import pytest
from std_msgs.msg import Header
from vision_msgs.msg import BoundingBox2D

from siamffn_model.errors import BoxError
from siamffn_model.imaging.geometry import Box
from siamffn_model.tracking import State, Track
from siamffn_ros.messages.conversions import (
    to_bbox,
    to_box,
    to_detection,
    to_detections,
    to_nanoseconds,
    to_stamp,
    to_status,
)


def test_box_round_trip() -> None:
    bbox = to_bbox(Box(10, 20, 30, 50))
    assert (bbox.center.position.x, bbox.center.position.y) == (25, 45)
    assert (bbox.size_x, bbox.size_y) == (30, 50)
    assert to_box(bbox) == Box(10, 20, 30, 50)


@pytest.mark.parametrize('theta', [0.1, math.nan])
def test_rotated_box_is_refused(theta: float) -> None:
    bbox = BoundingBox2D(size_x=2.0, size_y=2.0)
    bbox.center.theta = theta
    with pytest.raises(BoxError, match='theta = 0'):
        to_box(bbox)


def test_detection_carries_header_id_box_and_score() -> None:
    header = Header(stamp=to_stamp(7), frame_id='eye')
    detection = to_detection('car', Box(1, 2, 3, 4), 0.75, header)
    assert detection.header == header and detection.id == 'car'
    assert detection.results[0].hypothesis.score == 0.75
    assert detection.results[0].hypothesis.class_id == '', 'an id would be read as a class'
    assert to_box(detection.bbox) == Box(1, 2, 3, 4)


def test_the_status_of_a_lost_target_has_its_last_box() -> None:
    track = Track(Box(-27, 40, 60, 20), 0.1, State.LOST)
    status = to_status('car', track, Header(), frames_processed=3)
    assert to_box(status.bbox) == track.box
    assert (status.target_id, status.state, status.frames_processed) == ('car', State.LOST, 3)
    assert to_detections([('car', track)], Header()).detections == []


def test_boxes_are_clipped_to_the_image_of_a_given_size() -> None:
    tracks = [('a', Track(Box(-27, 40, 60, 20), 0.9, State.TRACKING))]
    (raw,) = to_detections(tracks, Header()).detections
    assert to_box(raw.bbox) == Box(-27, 40, 60, 20)
    (clipped,) = to_detections(tracks, Header(), (320, 50)).detections
    assert to_box(clipped.bbox) == Box(0, 40, 33, 10)


@pytest.mark.parametrize('nanoseconds', [0, 1, 10**9 - 1, 10**9, 1_795_369_850_227_748_866])
def test_stamp_round_trip(nanoseconds: int) -> None:
    assert to_nanoseconds(to_stamp(nanoseconds)) == nanoseconds
