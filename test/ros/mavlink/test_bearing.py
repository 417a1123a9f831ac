"""siamffn_ros/mavlink/bearing.py"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from siamffn_model.errors import ConfigError
from siamffn_ros.mavlink.bearing import Bearing, CameraModel, to_bearing_message

WIDTH, HEIGHT = 640, 480
MATRIX = np.array([[510.0, 0, 331.5], [0, 505.0, 236.25], [0, 0, 1]])
DISTORTION = {
    'plumb_bob': [-0.28, 0.09, 0.0007, -0.0004, -0.01],
    'rational_polynomial': [-0.2, 0.05, 0.0005, 0.0003, 0.01, 0.06, -0.02, 0.004],
    'equidistant': [-0.02, 0.004, -0.001, 0.0002],
}
DIRECTIONS = [
    Bearing(math.radians(yaw), math.radians(pitch))
    for yaw in (-25, -7, 0, 12, 25)
    for pitch in (-20, -3, 0, 8, 20)
]


def camera_info(model: str = 'plumb_bob') -> CameraInfo:
    return CameraInfo(
        width=WIDTH,
        height=HEIGHT,
        distortion_model=model,
        d=DISTORTION.get(model, []),
        k=MATRIX.ravel().tolist(),
    )


def ray(bearing: Bearing) -> np.ndarray:
    """Return the direction (1, 1, 3) in the frame of OpenCV: right, down, forward."""
    yaw, pitch = bearing
    forward = math.cos(pitch) * math.cos(yaw)
    return np.array([[[math.cos(pitch) * math.sin(yaw), -math.sin(pitch), forward]]])


def project(bearing: Bearing, model: str) -> tuple[float, float]:
    """Return the pixel of a direction, computed by OpenCV, with the origin of `Box`."""
    function = cv2.fisheye.projectPoints if model == 'equidistant' else cv2.projectPoints
    arguments = (np.zeros(3), np.zeros(3), MATRIX, np.array(DISTORTION[model]))
    points, _ = function(ray(bearing), *arguments)
    x, y = points.ravel().tolist()
    return x + 0.5, y + 0.5


@pytest.mark.parametrize('model', DISTORTION)
def test_the_bearing_is_the_direction_that_opencv_projects_to_the_pixel(model: str) -> None:
    camera = CameraModel.from_camera_info(camera_info(model))
    for expected in DIRECTIONS:
        assert camera.bearing(*project(expected, model)) == pytest.approx(
            expected, abs=2e-5
        )  # 0.01 pixels


def test_without_distortion_coefficients_the_camera_is_a_pinhole() -> None:
    info = camera_info('')
    focal, cx = MATRIX[0, 0], MATRIX[0, 2] + 0.5
    camera = CameraModel.from_camera_info(info)
    assert camera.bearing(cx + focal, MATRIX[1, 2] + 0.5) == pytest.approx((math.pi / 4, 0))


def test_the_field_of_view_ends_at_the_edges_of_the_image() -> None:
    camera = CameraModel.from_field_of_view(math.radians(60), WIDTH, HEIGHT)
    assert camera.bearing(WIDTH / 2, HEIGHT / 2) == pytest.approx((0, 0), abs=1e-9)
    assert camera.bearing(0, HEIGHT / 2) == pytest.approx((math.radians(-30), 0), abs=1e-9)
    assert camera.bearing(WIDTH, HEIGHT / 2) == pytest.approx((math.radians(30), 0), abs=1e-9)
    top = math.atan(math.tan(math.radians(30)) * HEIGHT / WIDTH)
    assert camera.bearing(WIDTH / 2, 0) == pytest.approx((0, top), abs=1e-9)


def test_a_scaled_image_has_the_same_bearings() -> None:
    camera = CameraModel.from_camera_info(camera_info())
    half = camera.bearing(50, 30, size=(WIDTH // 2, HEIGHT // 2))
    assert half == pytest.approx(camera.bearing(100, 60))


@pytest.mark.parametrize('angle', [0, -1, math.pi, math.nan, math.inf])
def test_an_impossible_field_of_view_is_refused(angle: float) -> None:
    with pytest.raises(ConfigError, match=r'field of view is .* rad: give more than 0'):
        CameraModel.from_field_of_view(angle, WIDTH, HEIGHT)


def test_a_camera_that_is_not_calibrated_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'not calibrated.*field of view'):
        CameraModel.from_camera_info(CameraInfo(width=WIDTH, height=HEIGHT))


@pytest.mark.parametrize(
    ('model', 'changed', 'reason'),
    [
        ('', {'width': 0}, 'width or height'),
        ('', {'height': 0}, 'width or height'),
        ('', {'k': [math.inf, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]}, 'K or D'),
        ('', {'k': [500.0, 0.0, 1e308, 0.0, 500.0, 0.0, 0.0, 0.0, 1.0]}, 'K or D'),
        ('plumb_bob', {'d': [math.nan, 0.0, 0.0, 0.0, 0.0]}, 'K or D'),
        ('plumb_bob', {'d': [0.1, 0.2, 0.3]}, 'K or D'),
        ('equidistant', {'d': [math.nan, 0.0, 0.0, 0.0]}, 'K or D'),
        ('equidistant', {'d': [0.1, 0.2, 0.3]}, 'K or D'),
    ],
)
def test_a_calibration_that_gives_no_direction_is_refused(
    model: str, changed: dict[str, Any], reason: str
) -> None:
    info = camera_info(model)
    for name, value in changed.items():
        setattr(info, name, value)
    with pytest.raises(ConfigError, match=f'{reason} .*field of view'):
        CameraModel.from_camera_info(info)


def test_an_unknown_distortion_model_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'thin_prism'.*plumb_bob, rational_polynomial or equi"):
        CameraModel.from_camera_info(camera_info('thin_prism'))


def test_the_message_has_the_pitch_about_y_and_the_yaw_about_z() -> None:
    header = Header(frame_id='camera')
    message = to_bearing_message(Bearing(yaw=0.2, pitch=-0.1), header)
    assert message.header == header
    assert (message.vector.x, message.vector.y, message.vector.z) == (0.0, -0.1, 0.2)
