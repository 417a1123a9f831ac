"""siamffn_ros/node/tracker_node.py: one live node in its own process, asked for many things."""

from __future__ import annotations

import itertools
import time
from array import array
from typing import TYPE_CHECKING

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import Image
from siamffn.srv import ListTargets, StopTarget
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2D

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.imaging.geometry import Box
from siamffn_model.tracking import State
from siamffn_ros.messages.conversions import to_detection, to_nanoseconds, to_stamp
from siamffn_ros.messages.images import to_bgr
from siamffn_ros.node.image_subscriber import THROTTLE

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
    status = user.track_until(clip.images[5:], now + 5 * PERIOD, '1')
    assert status.frames_processed >= 6 and status.frames_dropped == 0


def test_targets_are_listed_and_stopped_one_by_one(user: Peer, clip: Scene, now: int) -> None:
    user.track(clip.images[0], now)
    for name in ('', 'car', 'b'):
        assert user.init(clip.boxes[0], now, name).success
    user.track(clip.images[1], now + PERIOD)
    listed = user.call('list_targets', ListTargets.Request()).targets
    assert [status.target_id for status in listed] == ['1', 'car', 'b']
    assert {to_nanoseconds(status.header.stamp) for status in listed} == {now + PERIOD}
    assert [found.id for found in user.detections[now + PERIOD].detections] == ['1', 'car', 'b']
    assert user.call('stop_target', StopTarget.Request(target_id='car')).success
    refusal = user.call('stop_target', StopTarget.Request(target_id='car'))
    assert not refusal.success and "no target 'car': there are 1, b" in refusal.message
    user.track(clip.images[2], now + 2 * PERIOD)
    assert [found.id for found in user.detections[now + 2 * PERIOD].detections] == ['1', 'b']


def test_a_box_may_come_on_a_topic(
    user: Peer, live_node: NodeProcess, clip: Scene, now: int
) -> None:
    boxes = user.node.create_publisher(Detection2D, 'tracker/init_box', 10)
    user.until(boxes.get_subscription_count, 'the subscription')
    user.track(clip.images[0], now)
    boxes.publish(to_detection('car', clip.boxes[0], 1.0, Header(stamp=to_stamp(now))))
    assert user.track_until(clip.images[1:], now + PERIOD, 'car').frames_processed >= 2
    boxes.publish(to_detection('van', Box(5000, 0, 9, 9), 1.0, Header()))
    live_node.wait_for('init_box refused: ')
    time.sleep(1.2 * THROTTLE)
    boxes.publish(to_detection('van', clip.boxes[0], 1.0, Header(stamp=to_stamp(5))))
    live_node.wait_for('too old')
    user.node.destroy_publisher(boxes)


def test_paused_and_gone_on_with(user: Peer, clip: Scene, now: int) -> None:
    user.track(clip.images[0], now)
    user.init(clip.boxes[0], now, 'car')
    assert user.call('enable', SetBool.Request(data=False)).success
    for n in (1, 2, 3):
        user.send(clip.images[n], now + n * PERIOD)
    time.sleep(0.3)
    assert max(user.detections) == now
    assert user.init(clip.boxes[2], now + 2 * PERIOD, 'late').success, 'images are kept'
    assert user.call('enable', SetBool.Request(data=True)).success
    status = user.track_until(clip.images[4:], now + 4 * PERIOD, 'late')
    assert status.frames_dropped == 0 and len(user.call_list()) == 2


def test_reset_forgets_everything(user: Peer, clip: Scene, now: int) -> None:
    user.track(clip.images[0], now)
    user.init(clip.boxes[0], now)
    assert user.call('reset', Trigger.Request()).success
    assert user.call_list() == []
    assert 'no image has arrived' in user.init(clip.boxes[0], now).message
    assert user.track(clip.images[1], now + PERIOD).state == State.IDLE


def test_more_targets_than_allowed_are_refused(user: Peer, clip: Scene, now: int) -> None:
    user.track(clip.images[0], now)
    assert user.set(max_targets=2).successful
    answers = [user.init(clip.boxes[0], now) for _ in range(100)]
    assert [answer.success for answer in answers[:3]] == [True, True, False]
    assert not any(answer.success for answer in answers[3:])
    assert 'max_targets' in answers[-1].message
    assert 'at most 64' in user.init(clip.boxes[0], now, 'x' * 100_000).message
    assert user.set(max_targets=16).successful


def test_images_out_of_order_are_dropped_and_counted(user: Peer, clip: Scene, now: int) -> None:
    before = user.diagnosed('images out of order')
    user.track(clip.images[1], now)
    user.send(clip.images[0], now - PERIOD)
    user.track(clip.images[2], now + PERIOD)
    assert now - PERIOD not in user.detections
    user.until(lambda: user.diagnosed('images out of order') == before + 1, 'the count')


def test_parameters_change_while_it_tracks(user: Peer, clip: Scene, now: int) -> None:
    user.track(clip.images[0], now)
    user.init(clip.boxes[0], now)
    thresholds = {f'tracking__{name}': 1.0 for name in ('uncertain', 'lost', 'found')}
    assert user.set(**thresholds).successful
    assert user.track(clip.images[1], now + PERIOD).state == State.LOST
    assert user.set(
        tracking__uncertain_threshold=0.8,
        tracking__lost_threshold=0.4,
        tracking__reacquire_threshold=0.9,
    ).successful
    assert user.set(image_qos='reliable').successful
    user.until(user.camera.get_subscription_count, 'the new subscription')
    assert user.track_until(clip.images[2:], now + 2 * PERIOD, '1').state == State.TRACKING
    assert user.set(image_qos='sensor_data').successful
    user.until(user.camera.get_subscription_count, 'the old subscription')


@pytest.mark.parametrize(
    ('changes', 'told'),
    [
        ({'model': 'siamffn_r50'}, 'model is read by configure: clean the node up first'),
        ({'device': 'cuda'}, 'device is read by configure'),
        ({'output_qos': 'sensor_data'}, 'output_qos is read by configure'),
        ({'image_qos': 'fast'}, "image_qos is 'fast': set it to 'sensor_data' or 'reliable'"),
        ({'image_transport': 'h264'}, "'auto' or 'raw' or 'compressed'"),
        ({'buffer_seconds': float('nan')}, 'range'),
        ({'buffer_seconds': -1.0}, 'range'),
        ({'max_targets': 0}, 'range'),
        ({'tracking__lost_threshold': 0.95}, 'must not fall'),
        ({'autostart': False}, 'read-only'),
        ({'image_timeout': 'soon'}, 'type'),
    ],
)
def test_changes_that_cannot_be_are_refused_with_a_reason(
    user: Peer, changes: dict[str, object], told: str
) -> None:
    result = user.set(**changes)
    assert not result.successful and told in result.reason


def test_diagnostics_say_how_it_is(user: Peer, clip: Scene, now: int) -> None:
    user.track(clip.images[0], now)
    user.init(clip.boxes[0], now, 'car')
    shown = itertools.count(1)

    def follow(image: np.ndarray) -> None:
        user.track(image, now + next(shown) * PERIOD)
        time.sleep(0.05)

    def told(text: str, image: np.ndarray) -> DiagnosticStatus:
        def look() -> DiagnosticStatus | None:
            follow(image)
            return user.diagnostics[-1] if text in user.diagnostics[-1].message else None

        user.until(lambda: user.diagnostics, 'diagnostics')
        return user.until(look, text)

    well = told('following', clip.images[0])
    assert (well.level, well.name) == (DiagnosticStatus.OK, 'tracker: tracking')
    values = {pair.key: pair.value for pair in well.values}
    assert values['target car'].startswith('TRACKING') and values['device'] == 'cpu'
    low, middle, high = (float(values[f'latency {kind} (ms)']) for kind in ('median', 'p95', 'max'))
    assert 0 < low <= middle <= high
    assert float(values['images tracked per second']) > 0 and float(values['memory (MB)']) > 50
    assert told('lost: car', np.zeros_like(clip.images[0])).level == DiagnosticStatus.WARN


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
    answer = user.call('stop_target', StopTarget.Request())
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
