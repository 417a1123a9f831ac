"""Images of a camera on a gimbal, with a moving target."""

from __future__ import annotations

import math

import cv2
import numpy as np

from siamffn_model.datasets import synthetic
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image

from .simulated_gimbal import FIELD_OF_VIEW

WIDTH, HEIGHT = 320, 240
FOCAL = WIDTH / 2 / math.tan(FIELD_OF_VIEW / 2)
SCENE = 1600, 1200  # pixels; a plane, seen by a camera with the same focal length


def motion(time: float) -> tuple[float, float]:
    """Return yaw and pitch of the target, whose largest speed is 20 deg/s."""
    return math.radians(17.14) * math.sin(time + 0.8), math.radians(12.85) * math.cos(time)


def offset(box: Box) -> float:
    """Return the distance of a box's centre from the image's, in either direction, in widths."""
    return max(abs(box.cx - WIDTH / 2), abs(box.cy - HEIGHT / 2)) / WIDTH


class Scenery:
    """A textured plane at right angles to the gimbal's forward direction, with a target on it."""

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        self.ground = synthetic._ground(rng, (SCENE[0] // 2, SCENE[1] // 2))
        self.patch, self.mask = synthetic._target(rng, 46)

    def place(self, yaw: float, pitch: float) -> Box:
        """Return the box in the plane of a target in a direction, in rad."""
        x = SCENE[0] / 2 + FOCAL * math.tan(yaw)
        y = SCENE[1] / 2 - FOCAL * math.tan(pitch) / math.cos(yaw)
        return Box.from_center(x, y, self.patch.shape[1], self.patch.shape[0])

    def render(self, box: Box, gimbal: np.ndarray) -> tuple[Image, Box]:
        """Return the image of a camera at (yaw, pitch), and the target's box in it."""
        scene = self.ground.copy()
        synthetic._paste(scene, self.patch, self.mask, box)
        yaw, pitch = gimbal
        # To the axes of the camera: right, down, forward.
        turn, _ = cv2.Rodrigues(np.array([0.0, -yaw, 0.0]))
        tilt, _ = cv2.Rodrigues(np.array([-pitch, 0.0, 0.0]))
        plane = np.linalg.inv(camera_matrix(*SCENE))
        view = camera_matrix(WIDTH, HEIGHT) @ tilt @ turn @ plane
        image = cv2.warpPerspective(scene, view, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        corners = np.array([[[box.x, box.y]], [[box.x + box.w, box.y + box.h]]])
        (x1, y1), (x2, y2) = cv2.perspectiveTransform(corners, view)[:, 0].tolist()
        return image, Box(x1, y1, x2 - x1, y2 - y1)


def camera_matrix(width: int, height: int) -> np.ndarray:
    return np.array([[FOCAL, 0, width / 2], [0, FOCAL, height / 2], [0, 0, 1]])
