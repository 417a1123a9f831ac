"""Tests of tracking in rendered scenes, with the node in a separate process."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.imaging.geometry import Box, iou
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.tracking import State, Tracker
from siamffn_ros.messages.conversions import to_box

if TYPE_CHECKING:
    from conftest import Peer

SECOND = 10**9
PERIOD = SECOND // 30
VIEW_WIDTH = 480  # pixels; width of the view that the target leaves and enters again


def follow(user: Peer, images: list[np.ndarray], start: int) -> list[dict[str, Box]]:
    """Track the images one by one; return the detected boxes by target id for each image."""
    boxes = []
    for stamp, image in zip(itertools.count(start, PERIOD), images):
        user.track(image, stamp)
        detections = user.detections[stamp].detections
        boxes.append({detection.id: to_box(detection.bbox) for detection in detections})
    return boxes


def test_eight_targets_are_tracked_like_single_targets(
    user: Peer, clip: Scene, model: Runtime
) -> None:
    start = 10 * SECOND
    places = [Box(20 + 34 * n, 30 + 22 * n, 30 + 2 * n, 40 - 2 * n) for n in range(7)]
    boxes = {str(n): box for n, box in enumerate([clip.boxes[0], *places])}
    user.track(clip.images[0], start)
    for name, box in boxes.items():
        assert user.init(box, start, name).success
    together = follow(user, clip.images[1:10], start + PERIOD)
    for name, box in boxes.items():
        alone = Tracker(model)
        alone.init(clip.images[0], box)
        for image, detected in zip(clip.images[1:], together):
            track = alone.update(image)
            expected = None if track.state is State.LOST else pytest.approx(track.box, abs=0.05)
            assert detected.get(name) == expected


def test_a_late_target_follows_the_same_path(user: Peer) -> None:
    start = 1000 * SECOND
    images, boxes = render_scene(60, seed=5)
    user.track(images[0], start)
    assert user.init(boxes[0], start, 'in time').success
    follow(user, images[1:46], start + PERIOD)
    assert user.init(boxes[0], start, 'late').success, '1.5 s late'
    user.until(lambda: user.list_targets()[1].frames_processed == 46, 'the late target to catch up')
    for detected in follow(user, images[46:], start + 46 * PERIOD):
        assert detected['late'] == pytest.approx(detected['in time'], abs=0.05)
    in_time, late = user.list_targets()
    assert late.frames_processed == in_time.frames_processed == 60
    assert late.frames_dropped == in_time.frames_dropped == 0


def render_leaving_target(seed: int) -> tuple[Scene, list[float]]:
    """Render a camera that turns away from its target and back.

    Returns the scene, and the visible fraction of the target's width in each image.
    """
    scene = render_scene(140, (1280, 360), seed)
    away = 1280 - VIEW_WIDTH if scene.boxes[30].cx < 640 else 0
    images, boxes, visible = [], [], []
    for n, (image, box) in enumerate(zip(*scene)):
        # The target leaves from the centre of the view and returns at another place.
        towards = box.cx - VIEW_WIDTH * (0.5 if n < 60 else 0.75)
        turned = np.clip((n - 30) / 12, 0, 1) - np.clip((n - 80) / 12, 0, 1)
        left = round((1 - turned) * np.clip(towards, 0, 1280 - VIEW_WIDTH) + turned * away)
        images.append(np.ascontiguousarray(image[:, left : left + VIEW_WIDTH]))
        boxes.append(box._replace(x=box.x - left))
        inside = min(boxes[-1].x + box.w, VIEW_WIDTH) - max(boxes[-1].x, 0)
        visible.append(max(inside, 0.0) / box.w)
    return Scene(images, boxes), visible


@pytest.mark.parametrize('seed', [0, 1, 22])
def test_a_target_that_leaves_is_lost_and_redetected(user: Peer, seed: int) -> None:
    start = (2000 + 100 * seed) * SECOND
    scene, visible = render_leaving_target(seed)
    gone = visible.index(0)
    back = len(visible) - visible[::-1].index(0)
    complete = next(n for n in range(back, len(visible)) if visible[n] == 1)
    assert back - gone > 15, 'the target must be invisible for some time'
    user.track(scene.images[0], start)
    assert user.init(scene.boxes[0], start, 'car').success
    detected = [{'car': scene.boxes[0]}, *follow(user, scene.images[1:], start + PERIOD)]
    lost = [n for n in range(140) if not detected[n]]
    assert any(gone <= n <= gone + 10 for n in lost), 'LOST within 10 frames'
    assert not any(detected[gone + 10 : back]), 'no box while the target is invisible'
    redetected = [n for n in range(complete, 140) if detected[n]]
    assert redetected and redetected[0] <= complete + 30, 'redetected within 30 frames'
    overlaps = iou([detected[n]['car'] for n in redetected], [scene.boxes[n] for n in redetected])
    assert np.median(overlaps) > 0.6, 'the same target with the same id'
    assert [status.target_id for status in user.list_targets()] == ['car']


def test_all_720p_images_are_received(user: Peer) -> None:
    (image,), _ = render_scene(1, (1280, 720))
    start = 9000 * SECOND
    user.track(image, start)
    before = user.diagnostic_value('images received')
    for n in range(1, 61):
        user.send(image, start + n * PERIOD)
        time.sleep(1 / 30)
    user.until(lambda: start + 60 * PERIOD in user.detections, 'the newest image')
    user.until(lambda: user.diagnostic_value('images received') >= before + 60, 'all images')
