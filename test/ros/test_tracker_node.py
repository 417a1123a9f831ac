"""siamffn_ros/tracker_node.py: one live node in its own process, asked for many things."""

from __future__ import annotations

import time
from array import array
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.geometry import Box
from siamffn_model.tracking import State
from siamffn_ros.conversions import to_bgr, to_stamp

if TYPE_CHECKING:
    from conftest import NodeProcess, Peer

SECOND = 10**9
PERIOD = SECOND // 30


@pytest.fixture
def now(request: pytest.FixtureRequest) -> int:
    """A stamp, far after those of the tests before."""
    now.count += 1  # type: ignore[attr-defined]
    return 1000 * SECOND * now.count  # type: ignore[attr-defined]


now.count = 0  # type: ignore[attr-defined]


def test_without_a_target_it_is_idle(user: Peer, clip: Scene, now: int) -> None:
    status = user.track(clip.images[0], now)
    assert (status.state, status.target_id) == (State.IDLE, '')
    assert user.detections[now].detections == []
    assert now not in user.single


def test_follows_a_target_from_the_frame_it_was_drawn_on(user: Peer, clip: Scene, now: int) -> None:
    user.track(clip.images[0], now)
    answer = user.init(clip.boxes[0], now, 'car')
    assert answer.success and answer.target_id == 'car', answer.message
    for n in (1, 2, 3):
        stamp = now + n * PERIOD
        status = user.track(clip.images[n], stamp)
        header = Header(stamp=to_stamp(stamp), frame_id='eye')
        assert status.header == header and user.detections[stamp].header == header
        assert (status.target_id, status.frames_processed) == ('car', n + 1)
        if status.state != State.LOST:
            (detection,) = user.detections[stamp].detections
            assert detection.id == 'car' and detection.header == header
            assert detection.results[0].hypothesis.score == pytest.approx(status.score)
            user.until(lambda at=stamp: at in user.single, 'the single detection')
            assert user.single[stamp] == detection


def test_a_lost_target_has_no_box(user: Peer, clip: Scene, now: int) -> None:
    user.track(clip.images[0], now)
    user.init(clip.boxes[0], now, 'car')
    assert user.track(clip.images[1], now + PERIOD).state == State.TRACKING
    status = user.track(np.zeros_like(clip.images[0]), now + 2 * PERIOD)
    assert (status.state, status.target_id) == (State.LOST, 'car')
    assert user.detections[now + 2 * PERIOD].detections == []
    user.track(clip.images[2], now + 3 * PERIOD)
    assert now + 2 * PERIOD not in user.single


def test_late_box_catches_up_before_it_publishes(user: Peer, clip: Scene, now: int) -> None:
    for n in range(5):
        user.track(clip.images[n], now + n * PERIOD)
    assert user.init(clip.boxes[0], now).success
    status = user.track(clip.images[5], now + 5 * PERIOD)
    assert (status.frames_processed, status.frames_dropped) == (6, 0)


def test_zero_stamp_means_the_latest(user: Peer, clip: Scene, now: int) -> None:
    user.track(clip.images[0], now)
    assert user.init(clip.boxes[0]).success
    assert user.track(clip.images[1], now + PERIOD).frames_processed == 2


def test_initialised_anew_and_stopped(user: Peer, clip: Scene, now: int) -> None:
    user.track(clip.images[0], now)
    user.init(clip.boxes[0], now, 'car')
    user.track(clip.images[1], now + PERIOD)
    assert user.init(clip.boxes[1], now + PERIOD, 'car').success
    assert user.track(clip.images[2], now + 2 * PERIOD).frames_processed == 2
    answer = user.call('stop', Trigger.Request())
    assert answer.success and '1 target' in answer.message
    assert user.track(clip.images[3], now + 3 * PERIOD).state == State.IDLE
    assert user.detections[now + 3 * PERIOD].detections == []


@pytest.mark.parametrize(
    ('box', 'offset', 'told'),
    [
        (Box(10, 10, 20, 20), -500 * SECOND, 'too old'),
        (Box(10, 10, 20, 20), SECOND, 'no frame has the stamp'),
        (Box(5000, 10, 20, 20), 0, 'outside'),
        (Box(10, 10, 0, 20), 0, 'no area'),
        (Box(float('nan'), 10, 20, 20), 0, 'not finite'),
    ],
)
def test_refusals_say_why(
    user: Peer, clip: Scene, now: int, box: Box, offset: int, told: str
) -> None:
    user.track(clip.images[0], now)
    answer = user.init(box, now + offset)
    assert not answer.success and told in answer.message
    assert user.track(clip.images[1], now + PERIOD).state == State.IDLE


def test_debug_image_shows_the_target(user: Peer, clip: Scene, now: int) -> None:
    pictures: dict[int, Image] = {}
    subscription = user.listen(Image, 'debug_image', pictures)
    user.until(lambda: user.node.count_subscribers('tracker/debug_image'), 'the subscription')
    user.track(clip.images[0], now)
    user.init(clip.boxes[0], now)
    shown = 0
    while max(pictures, default=0) <= now:  # the node notices its subscriber in its own time
        shown += 1
        user.track(clip.images[shown], now + shown * PERIOD)
    stamp, picture = user.until(lambda: pictures, 'a debug image').popitem()
    plain = clip.images[(stamp - now) // PERIOD]
    assert picture.header.frame_id == 'eye'
    drawn = to_bgr(picture)
    assert drawn.shape == plain.shape
    assert (drawn != plain).any(), 'nothing is drawn in'
    user.node.destroy_subscription(subscription)


def garbage(now: int) -> dict[str, Image]:
    header = Header(stamp=to_stamp(now), frame_id='eye')
    return {
        'empty': Image(header=header),
        'unknown encoding': Image(
            header=header, height=2, width=2, encoding='h264', step=6, data=bytes(12)
        ),
        'too few bytes': Image(
            header=header, height=240, width=320, encoding='bgr8', step=960, data=bytes(7)
        ),
        'too many bytes': Image(
            header=header, height=2, width=2, encoding='bgr8', step=6, data=bytes(1000)
        ),
        'huge claim': Image(
            header=header, height=2**31, width=2**31, encoding='mono8', step=2**31, data=bytes(4)
        ),
        'huge and true': Image(
            header=header, height=1, width=6_000_000, encoding='mono8', step=6_000_000,
            data=array('B', bytes(6_000_000)),
        ),
    }  # fmt: skip


def test_garbage_images_are_skipped(
    user: Peer, live_node: NodeProcess, clip: Scene, now: int
) -> None:
    user.track(clip.images[0], now)
    user.init(clip.boxes[0], now)
    for message in garbage(now + 1).values():
        user.camera.publish(message)
        time.sleep(0.1)  # only the newest is kept
    status = user.track(clip.images[1], now + PERIOD)
    assert status.frames_processed >= 2 and status.target_id == '1'
    assert user.track(clip.images[2], now + 2 * PERIOD).target_id == '1'
    live_node.wait_for('image skipped')
    assert 'Traceback' not in live_node.text()


def test_large_images_arrive(user: Peer, now: int) -> None:
    """720p images are more than Fast DDS takes without the profile."""
    image = np.zeros((720, 1280, 3), np.uint8)
    for n in range(10):
        assert user.track(image, now + n * PERIOD).state == State.IDLE


def test_stamps_that_jump_back_do_no_harm(user: Peer, clip: Scene, now: int) -> None:
    """A bag that starts again."""
    user.track(clip.images[0], now)
    user.init(clip.boxes[0], now)
    status = user.track(clip.images[1], now - 100 * SECOND)
    assert (status.target_id, status.frames_processed) == ('1', 2)
    assert user.init(clip.boxes[1], now - 100 * SECOND, '1').success
