"""What a user sees of targets, over DDS, the node in a process of its own, against known scenes."""

from __future__ import annotations

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
WIDTH = 480  # of the view in which a target leaves and returns


def seen_boxes(user: Peer, stamp: int) -> dict[str, Box]:
    return {found.id: to_box(found.bbox) for found in user.detections[stamp].detections}


def follow(user: Peer, images: list[np.ndarray], start: int) -> list[dict[str, Box]]:
    """Send images one by one; returns what is seen in each."""
    found = []
    for n, image in enumerate(images):
        user.track(image, start + n * PERIOD)
        found.append(seen_boxes(user, start + n * PERIOD))
    return found


def test_eight_targets_are_followed_as_each_alone(user: Peer, clip: Scene, model: Runtime) -> None:
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
        for image, seen in zip(clip.images[1:], together):
            track = alone.update(image)
            expected = None if track.state is State.LOST else pytest.approx(track.box, abs=0.05)
            assert seen.get(name) == expected


def test_a_box_that_comes_late_follows_the_same_path(user: Peer) -> None:
    start = 1000 * SECOND
    images, boxes = render_scene(60, seed=5)
    user.track(images[0], start)
    assert user.init(boxes[0], start, 'in time').success
    follow(user, images[1:46], start + PERIOD)
    assert user.init(boxes[0], start, 'late').success, '1.5 s late'
    user.until(lambda: user.call_list()[1].frames_processed == 46, 'the present')
    for seen in follow(user, images[46:], start + 46 * PERIOD):
        assert seen['late'] == pytest.approx(seen['in time'], abs=0.05)
    in_time, late = user.call_list()
    assert late.frames_processed == in_time.frames_processed == 60
    assert late.frames_dropped == in_time.frames_dropped == 0


def leaving(seed: int) -> tuple[Scene, list[float]]:
    """A camera that turns away from its target and back, and how much of it is in each image."""
    scene = render_scene(140, (1280, 360), seed)
    far = 1280 - WIDTH if scene.boxes[30].cx < 640 else 0
    images, boxes, visible = [], [], []
    for n, (image, box) in enumerate(zip(*scene)):
        at_home = box.cx - WIDTH * (0.5 if n < 60 else 0.75)  # it is found in another place
        turned = np.clip((n - 30) / 12, 0, 1) - np.clip((n - 80) / 12, 0, 1)
        left = round((1 - turned) * np.clip(at_home, 0, 1280 - WIDTH) + turned * far)
        images.append(np.ascontiguousarray(image[:, left : left + WIDTH]))
        boxes.append(box._replace(x=box.x - left))
        inside = min(boxes[-1].x + box.w, WIDTH) - max(boxes[-1].x, 0)
        visible.append(max(inside, 0.0) / box.w)
    return Scene(images, boxes), visible


@pytest.mark.parametrize('seed', [0, 1, 22])
def test_a_target_that_leaves_is_lost_and_found_again(user: Peer, seed: int) -> None:
    start = (2000 + 100 * seed) * SECOND
    scene, visible = leaving(seed)
    gone = visible.index(0)
    back = len(visible) - visible[::-1].index(0)
    whole = next(n for n in range(back, len(visible)) if visible[n] == 1)
    assert back - gone > 15, 'the scene is of no use'
    user.track(scene.images[0], start)
    assert user.init(scene.boxes[0], start, 'car').success
    seen = [{'car': scene.boxes[0]}, *follow(user, scene.images[1:], start + PERIOD)]
    lost = [n for n in range(140) if not seen[n]]
    assert any(gone <= n <= gone + 10 for n in lost), 'LOST within 10 frames'
    assert not any(seen[gone + 10 : back]), 'no box where there is no target'
    found = [n for n in range(whole, 140) if seen[n]]
    assert found and found[0] <= whole + 30, 'found again within 30 frames'
    overlaps = iou([seen[n]['car'] for n in found], [scene.boxes[n] for n in found])
    assert np.median(overlaps) > 0.6, 'the same target, under the same id'
    assert [status.target_id for status in user.call_list()] == ['car']


def test_no_720p_image_is_lost_on_the_way(user: Peer) -> None:
    (image,), _ = render_scene(1, (1280, 720))
    start = 9000 * SECOND
    user.track(image, start)
    before = user.diagnosed('images received')
    for n in range(1, 61):
        user.send(image, start + n * PERIOD)
        time.sleep(1 / 30)
    user.until(lambda: start + 60 * PERIOD in user.detections, 'the newest image')
    user.until(lambda: user.diagnosed('images received') >= before + 60, 'all images')
