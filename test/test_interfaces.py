"""The fields of messages and services, on which the programs of users depend."""

from __future__ import annotations

from typing import Any

import pytest
from siamffn.msg import TrackStatus
from siamffn.srv import InitPoint, InitTarget
from vision_msgs import msg as vision

HEADER = ('header', 'std_msgs/Header')
FIELDS = [
    (vision.Point2D, ('x', 'double'), ('y', 'double')),
    (vision.Pose2D, ('position', 'vision_msgs/Point2D'), ('theta', 'double')),
    (
        vision.BoundingBox2D,
        ('center', 'vision_msgs/Pose2D'),
        ('size_x', 'double'),
        ('size_y', 'double'),
    ),
    (vision.ObjectHypothesis, ('class_id', 'string'), ('score', 'double')),
    (
        vision.ObjectHypothesisWithPose,
        ('hypothesis', 'vision_msgs/ObjectHypothesis'),
        ('pose', 'geometry_msgs/PoseWithCovariance'),
    ),
    (
        vision.Detection2D,
        HEADER,
        ('results', 'sequence<vision_msgs/ObjectHypothesisWithPose>'),
        ('bbox', 'vision_msgs/BoundingBox2D'),
        ('id', 'string'),
    ),
    (vision.Detection2DArray, HEADER, ('detections', 'sequence<vision_msgs/Detection2D>')),
    (
        TrackStatus,
        HEADER,
        ('target_id', 'string'),
        ('state', 'uint8'),
        ('score', 'float'),
        ('bbox', 'vision_msgs/BoundingBox2D'),
        ('last_ms', 'float'),
        ('mean_ms', 'float'),
        ('max_ms', 'float'),
        ('frames_processed', 'uint32'),
        ('frames_dropped', 'uint32'),
    ),
    (
        InitTarget.Request,
        HEADER,
        ('bbox', 'vision_msgs/BoundingBox2D'),
        ('target_id', 'string'),
    ),
    (
        InitTarget.Response,
        ('success', 'boolean'),
        ('message', 'string'),
        ('target_id', 'string'),
    ),
    (
        InitPoint.Request,
        HEADER,
        ('point', 'vision_msgs/Point2D'),
        ('radius', 'float'),
        ('target_id', 'string'),
    ),
    (
        InitPoint.Response,
        ('success', 'boolean'),
        ('message', 'string'),
        ('target_id', 'string'),
        ('bbox', 'vision_msgs/BoundingBox2D'),
    ),
]


@pytest.mark.parametrize('expected', FIELDS, ids=lambda fields: fields[0].__name__)
def test_fields_and_their_order(expected: tuple[Any, ...]) -> None:
    message, *fields = expected
    assert list(message.get_fields_and_field_types().items()) == fields


def test_states_have_the_values_of_the_tracker() -> None:
    from siamffn_model.tracking import State

    assert {state.name: getattr(TrackStatus, state.name) for state in State} == {
        'IDLE': 0,
        'TRACKING': 1,
        'UNCERTAIN': 2,
        'LOST': 3,
    }
    assert all(getattr(TrackStatus, state.name) == state for state in State)
