"""Bearings: the direction of a point of the image, as yaw and pitch from the optical axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from geometry_msgs.msg import Vector3, Vector3Stamped
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from siamffn_model.errors import ConfigError

PINHOLE_MODELS = ('', 'plumb_bob', 'rational_polynomial')
FISHEYE_MODEL = 'equidistant'


class Bearing(NamedTuple):
    """A direction in rad from the optical axis: yaw is positive to the right, pitch upwards."""

    yaw: float
    pitch: float

    @property
    def is_finite(self) -> bool:
        """Whether both angles are numbers."""
        return math.isfinite(self.yaw) and math.isfinite(self.pitch)


@dataclass(frozen=True)
class CameraModel:
    """Projection of a camera with lens distortion.

    Attributes:
        size: (width, height) in pixels of the images that the matrix is for.
        matrix: (3, 3) camera matrix of OpenCV, in which the first pixel's centre is (0, 0).
        distortion: (N,) coefficients of OpenCV for `fisheye` or for other lenses.
    """

    size: tuple[int, int]
    matrix: NDArray[np.float64]
    distortion: NDArray[np.float64]
    fisheye: bool = False

    @classmethod
    def from_field_of_view(cls, angle: float, width: int, height: int) -> CameraModel:
        """Return the model of a camera without distortion.

        Args:
            angle: horizontal field of view in rad, above 0 and below pi.
            width, height: of the image in pixels.

        Raises `ConfigError` for another angle.
        """
        if not 0 < angle < math.pi:  # also true for NaN
            raise ConfigError(
                f'the horizontal field of view is {angle:g} rad: give more than 0 and less than '
                f'{math.pi:.2f}'
            )
        focal = width / 2 / math.tan(angle / 2)
        center = (width - 1) / 2, (height - 1) / 2
        matrix = np.array([[focal, 0, center[0]], [0, focal, center[1]], [0, 0, 1]])
        return cls((width, height), matrix, np.zeros(4))

    @classmethod
    def from_camera_info(cls, info: CameraInfo) -> CameraModel:
        """Return the model of a calibrated camera, for its images as they are, not rectified.

        Raises `ConfigError` if the camera is not calibrated or its distortion model is unknown.
        """
        matrix = np.array(info.k, float).reshape(3, 3)
        if not (matrix[0, 0] > 0 and matrix[1, 1] > 0):
            raise ConfigError(
                'the camera is not calibrated, K of its camera_info is zero: calibrate it, or give '
                'its field of view'
            )
        if not (info.width and info.height):
            raise ConfigError(
                'width or height of camera_info is zero: complete the calibration, or give the '
                'field of view'
            )
        if info.distortion_model not in (*PINHOLE_MODELS, FISHEYE_MODEL):
            raise ConfigError(
                f'the distortion model {info.distortion_model!r} of camera_info is not known: use '
                f'{", ".join(filter(None, PINHOLE_MODELS))} or {FISHEYE_MODEL}, or give the field '
                'of view'
            )
        fisheye = info.distortion_model == FISHEYE_MODEL
        distortion = np.array(info.d, float) if len(info.d) else np.zeros(4)
        model = cls((info.width, info.height), matrix, distortion, fisheye)
        finite = np.isfinite(matrix).all() and np.isfinite(distortion).all()
        try:
            usable = finite and model.bearing(0.0, 0.0).is_finite
        except cv2.error:  # D has another number of coefficients
            usable = False
        if not usable:
            raise ConfigError(
                'K or D of camera_info are not those of its distortion model: calibrate the '
                'camera, or give its field of view'
            )
        return model

    def bearing(self, x: float, y: float, size: tuple[int, int] | None = None) -> Bearing:
        """Return the bearing of a point of the image.

        Args:
            x, y: the point in pixels, where (0, 0) is the top-left corner of the first pixel, as
                for `Box`.
            size: (width, height) of the image, if it is scaled.

        The angles are NaN where the distortion cannot be inverted.
        """
        scale_x, scale_y = (1.0, 1.0) if size is None else np.divide(self.size, size)
        point = np.array([[[x * scale_x - 0.5, y * scale_y - 0.5]]])
        undistort = cv2.fisheye.undistortPoints if self.fisheye else cv2.undistortPoints
        ray = undistort(point, self.matrix, self.distortion)
        right, down = ray.ravel().tolist()
        return Bearing(math.atan(right), math.atan2(-down, math.hypot(1, right)))


def to_bearing_message(bearing: Bearing, header: Header) -> Vector3Stamped:
    """Return the message of a bearing in rad: `z` is its yaw, `y` its pitch, `x` (roll) is 0.

    `header` is that of the image.
    """
    return Vector3Stamped(header=header, vector=Vector3(x=0.0, y=bearing.pitch, z=bearing.yaw))
