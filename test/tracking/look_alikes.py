"""Rendered scenes from which the target goes away while another object remains."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from siamffn_model.datasets import synthetic
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image

LEAVE = 40  # frame in which the target starts to leave
MARGIN = 200  # pixels around the image that are rendered too


class LookAlikeScene(NamedTuple):
    """Images, the target's box in each, and the part of the target's area that is visible."""

    images: list[Image]
    boxes: list[Box]
    visible: list[float]


def render_look_alikes(
    seed: int, same: bool, frames: int = 100, size: tuple[int, int] = (320, 240)
) -> LookAlikeScene:
    """Render two objects, of one texture if `same`, of which the target leaves the image."""
    rng = np.random.default_rng(seed)
    width, height = size
    ground = synthetic._ground(rng, size)
    side = round(synthetic.TARGET_SIDE * height)
    target = synthetic._target(rng, side)
    other = target if same else synthetic._target(rng, side)
    path, other_path = (
        synthetic._target_path(rng, frames, size, patch.shape[1], patch.shape[0])
        for patch, _ in (target, other)
    )
    cameras = synthetic._camera_path(rng, frames, size)
    direction = rng.choice([-1, 1])
    offset_y = rng.uniform(-0.3, 0.3) * height
    images, boxes, visible = [], [], []
    for n, (camera, own, second) in enumerate(zip(cameras, path, other_path, strict=True)):
        image = cv2.warpAffine(ground, camera, size, borderMode=cv2.BORDER_REFLECT)
        image = cv2.copyMakeBorder(image, *[MARGIN] * 4, cv2.BORDER_REPLICATE)
        box = own._replace(x=own.x + direction * max(0, n - LEAVE) * side / 4)
        rest = second._replace(x=second.x - direction * width / 5, y=second.y + offset_y)
        for (patch, mask), place in ((other, rest), (target, box)):
            low, high = 2 - MARGIN, np.array(size) + MARGIN - 2
            x = min(max(place.x, low), high[0] - place.w)
            y = min(max(place.y, low), high[1] - place.h)
            synthetic._paste(image, patch, mask, Box(x + MARGIN, y + MARGIN, place.w, place.h))
        images.append(np.ascontiguousarray(image[MARGIN:-MARGIN, MARGIN:-MARGIN]))
        boxes.append(box)
        visible.append(box.clip(width, height).area / box.area)
    return LookAlikeScene(images, boxes, visible)
