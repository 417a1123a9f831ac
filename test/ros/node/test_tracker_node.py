"""Tests of siamffn_ros/node/tracker_node.py with one node process for all tests."""

from __future__ import annotations

import itertools
import re
import time
from array import array
from typing import TYPE_CHECKING

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import Image
from siamffn.srv import InitPoint, StopTarget
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2D

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.imaging.geometry import Box, iou
from siamffn_model.tracking import State
from siamffn_ros.messages.conversions import to_box, to_detection, to_nanoseconds, to_stamp
from siamffn_ros.messages.images import to_bgr
from siamffn_ros.node.services import LOG_PERIOD

if TYPE_CHECKING:
    from conftest import NodeProcess, Peer

SECOND = 10**9
PERIOD = SECOND // 30
THRESHOLDS = ('uncertain_threshold', 'lost_threshold', 'reacquire_threshold')


START_STAMPS = itertools.count(1000 * SECOND, 1000 * SECOND)


@pytest.fixture
def start() -> int:
    """Return the first stamp of a test, much later than those of the previous tests."""
    return next(START_STAMPS)


def test_the_status_is_idle_without_a_target(user: Peer, clip: Scene, start: int) -> None:
    status = user.track(clip.images[0], start)
    assert (status.state, status.target_id) == (State.IDLE, '')
    assert user.detections[start].detections == []
    user.init(clip.boxes[0], start)
    user.track(clip.images[1], start + PERIOD)
    # Messages of a topic arrive in order: one with the first stamp would have arrived before.
    user.until(lambda: start + PERIOD in user.single_detections, 'the single detection')
    assert start not in user.single_detections


def test_a_target_is_tracked_from_the_frame_of_its_box(user: Peer, clip: Scene, start: int) -> None:
    user.track(clip.images[0], start)
    answer = user.init(clip.boxes[0], start, 'car')
    assert answer.success and answer.target_id == 'car', answer.message
    for n in (1, 2, 3):
        stamp = start + n * PERIOD
        status = user.track(clip.images[n], stamp)
        header = Header(stamp=to_stamp(stamp), frame_id='eye')
        assert status.header == header and user.detections[stamp].header == header
        assert (status.target_id, status.frames_processed) == ('car', n + 1)
        if status.state != State.LOST:
            (detection,) = user.detections[stamp].detections
            assert detection.id == 'car' and detection.header == header
            assert detection.results[0].hypothesis.score == pytest.approx(status.score)
            user.until(lambda at=stamp: at in user.single_detections, 'the single detection')
            assert user.single_detections[stamp] == detection


def test_a_click_starts_a_target_on_its_frame(user: Peer, clip: Scene, start: int) -> None:
    for n in (0, 5):
        user.track(clip.images[n], start + n * PERIOD)
    box = clip.boxes[0]
    request = InitPoint.Request(header=Header(stamp=to_stamp(start)), target_id='car')
    request.point.x, request.point.y = box.cx, box.cy
    answer = user.call('init_point', request)
    assert answer.success, answer.message
    assert answer.target_id == 'car' and answer.message.startswith('tracking target car')
    assert iou(to_box(answer.bbox), box) > 0.5
    status = user.track_until(clip.images[6:], start + 6 * PERIOD, 'car')
    assert status.state != State.LOST


def test_a_click_that_cannot_be_used_is_refused(user: Peer, clip: Scene, start: int) -> None:
    user.track(clip.images[0], start)
    request = InitPoint.Request()
    request.point.x = -5.0
    for stamp, message in (
        (0, r'point \(-5, 0\) is outside the \d+x\d+ image'),
        (start - 1, 'stamp'),
    ):
        request.header.stamp = to_stamp(stamp)
        answer = user.call('init_point', request)
        assert not answer.success and answer.target_id == ''
        assert re.search(message, answer.message), answer.message


def test_a_lost_target_has_no_box(user: Peer, clip: Scene, start: int) -> None:
    user.track(clip.images[0], start)
    user.init(clip.boxes[0], start, 'car')
    assert user.track(clip.images[1], start + PERIOD).state == State.TRACKING
    lost = start + 2 * PERIOD
    status = user.track(np.zeros_like(clip.images[0]), lost)
    assert (status.state, status.target_id) == (State.LOST, 'car')
    last = user.statuses[start + PERIOD]
    assert status.bbox == last.bbox == user.detections[start + PERIOD].detections[0].bbox
    assert user.detections[lost].detections == []
    assert user.track(clip.images[1], lost + PERIOD).state == State.TRACKING
    # Messages of a topic arrive in order: one of the lost target would have arrived before.
    user.until(lambda: lost + PERIOD in user.single_detections, 'the next single detection')
    assert lost not in user.single_detections


def test_a_late_target_catches_up_before_it_is_published(
    user: Peer, clip: Scene, start: int
) -> None:
    for n in range(5):
        user.track(clip.images[n], start + n * PERIOD)
    assert user.init(clip.boxes[0], start).success
    status = user.track_until(clip.images[5:], start + 5 * PERIOD, '1')
    assert status.frames_processed >= 6 and status.frames_dropped == 0


def test_targets_are_listed_and_stopped_one_by_one(user: Peer, clip: Scene, start: int) -> None:
    user.track(clip.images[0], start)
    for name in ('', 'car', 'b'):
        assert user.init(clip.boxes[0], start, name).success
    user.track(clip.images[1], start + PERIOD)
    listed = user.list_targets()
    assert [status.target_id for status in listed] == ['1', 'car', 'b']
    assert {to_nanoseconds(status.header.stamp) for status in listed} == {start + PERIOD}
    assert user.detected_ids(start + PERIOD) == ['1', 'car', 'b']
    assert user.call('stop_target', StopTarget.Request(target_id='car')).success
    refusal = user.call('stop_target', StopTarget.Request(target_id='car'))
    assert not refusal.success and "no target 'car': there are 1, b" in refusal.message
    user.track(clip.images[2], start + 2 * PERIOD)
    assert user.detected_ids(start + 2 * PERIOD) == ['1', 'b']


def test_a_target_can_be_initialised_on_a_topic(
    user: Peer, live_node: NodeProcess, clip: Scene, start: int
) -> None:
    boxes = user.node.create_publisher(Detection2D, 'tracker/init_box', 10)
    user.until(boxes.get_subscription_count, 'the subscription')
    user.track(clip.images[0], start)
    boxes.publish(to_detection('car', clip.boxes[0], 1.0, Header(stamp=to_stamp(start))))
    assert user.track_until(clip.images[1:], start + PERIOD, 'car').frames_processed >= 2
    boxes.publish(to_detection('van', Box(5000, 0, 9, 9), 1.0, Header()))
    live_node.wait_for('init_box refused: ')
    time.sleep(1.2 * LOG_PERIOD)  # until the throttled warning may be logged again
    boxes.publish(to_detection('van', clip.boxes[0], 1.0, Header(stamp=to_stamp(5))))
    live_node.wait_for('too old')
    user.node.destroy_publisher(boxes)


def test_tracking_is_paused_and_resumed(user: Peer, clip: Scene, start: int) -> None:
    user.track(clip.images[0], start)
    user.init(clip.boxes[0], start, 'car')
    assert user.call('enable', SetBool.Request(data=False)).success
    for n in (1, 2, 3):
        user.send(clip.images[n], start + n * PERIOD)
    user.until(lambda: user.init(clip.boxes[3], start + 3 * PERIOD, 'last').success, 'image 3')
    assert user.init(clip.boxes[2], start + 2 * PERIOD, 'late').success, (
        'images are stored while paused'
    )
    assert user.call('enable', SetBool.Request(data=True)).success
    status = user.track_until(clip.images[4:], start + 4 * PERIOD, 'late')
    assert status.frames_dropped == 0 and len(user.list_targets()) == 3
    # Messages of a topic arrive in order: those of images 1 to 3 would have arrived before.
    user.until(lambda: max(user.detections) > start + 3 * PERIOD, 'later detections')
    assert not user.detections.keys() & {start + n * PERIOD for n in (1, 2, 3)}


def test_reset_removes_targets_and_images(user: Peer, clip: Scene, start: int) -> None:
    user.track(clip.images[0], start)
    user.init(clip.boxes[0], start)
    assert user.call('reset', Trigger.Request()).success
    assert user.list_targets() == []
    assert 'no image has arrived' in user.init(clip.boxes[0], start).message
    assert user.track(clip.images[1], start + PERIOD).state == State.IDLE


def test_more_targets_than_allowed_are_refused(user: Peer, clip: Scene, start: int) -> None:
    user.track(clip.images[0], start)
    assert user.set_parameters(max_targets=2).successful
    answers = [user.init(clip.boxes[0], start) for _ in range(100)]
    assert [answer.success for answer in answers[:3]] == [True, True, False]
    assert not any(answer.success for answer in answers[3:])
    assert 'max_targets' in answers[-1].message
    assert 'at most 64' in user.init(clip.boxes[0], start, 'x' * 100_000).message
    assert user.set_parameters(max_targets=16).successful


def test_images_out_of_order_are_dropped_and_counted(user: Peer, clip: Scene, start: int) -> None:
    before = user.diagnostic_value('images out of order')
    user.track(clip.images[1], start)
    user.send(clip.images[0], start - PERIOD)
    user.track(clip.images[2], start + PERIOD)
    assert start - PERIOD not in user.detections
    user.until(lambda: user.diagnostic_value('images out of order') == before + 1, 'the count')


def test_parameters_change_while_tracking(user: Peer, clip: Scene, start: int) -> None:
    user.track(clip.images[0], start)
    user.init(clip.boxes[0], start)
    thresholds = {f'tracking__{name}': 1.0 for name in THRESHOLDS}
    assert user.set_parameters(**thresholds).successful
    assert user.track(clip.images[1], start + PERIOD).state == State.LOST
    assert user.set_parameters(
        tracking__uncertain_threshold=0.8,
        tracking__lost_threshold=0.4,
        tracking__reacquire_threshold=0.9,
    ).successful
    assert user.set_parameters(image_qos='reliable').successful
    user.until(user.camera.get_subscription_count, 'the new subscription')
    assert user.track_until(clip.images[2:], start + 2 * PERIOD, '1').state == State.TRACKING
    assert user.set_parameters(image_qos='sensor_data').successful
    user.until(user.camera.get_subscription_count, 'the old subscription')


def test_thresholds_may_be_set_one_after_the_other(
    user: Peer, live_node: NodeProcess, clip: Scene, start: int
) -> None:
    """As `ros2 param load` does; what is not in order is corrected, which one warning says."""
    user.track(clip.images[0], start)
    user.init(clip.boxes[0], start)
    values = {'lost_threshold': 0.4, 'uncertain_threshold': 0.8, 'reacquire_threshold': 0.9}
    assert user.set_parameters(tracking__lost_threshold=1.0).successful
    assert user.track(clip.images[1], start + PERIOD).state == State.LOST
    live_node.wait_for('tracking.uncertain_threshold 0.8 is used as 1 and tracking.reacquire_')
    for name in ('uncertain_threshold', 'reacquire_threshold', 'lost_threshold'):
        assert user.set_parameters(**{f'tracking__{name}': values[name]}).successful
    assert user.track(clip.images[1], start + 2 * PERIOD).state == State.TRACKING


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'model': 'siamffn_r50'}, 'model is read by configure: clean the node up first'),
        ({'device': 'cuda'}, 'device is read by configure'),
        ({'output_qos': 'sensor_data'}, 'output_qos is read by configure'),
        ({'image_qos': 'fast'}, "image_qos is 'fast': set it to 'sensor_data' or 'reliable'"),
        ({'image_transport': 'h264'}, "'auto' or 'raw' or 'compressed'"),
        ({'buffer_seconds': float('nan')}, 'range'),
        ({'buffer_seconds': -1.0}, 'range'),
        ({'max_targets': 0}, 'range'),
        ({'tracking__lost_threshold': 1.5}, 'range'),
        ({'autostart': False}, 'read-only'),
        ({'image_timeout': 'soon'}, 'type'),
    ],
)
def test_invalid_parameter_changes_are_refused_with_a_reason(
    user: Peer, changes: dict[str, object], reason: str
) -> None:
    result = user.set_parameters(**changes)
    assert not result.successful and reason in result.reason


def test_diagnostics_report_state_and_statistics(user: Peer, clip: Scene, start: int) -> None:
    user.track(clip.images[0], start)
    user.init(clip.boxes[0], start, 'car')
    stamps = itertools.count(start + PERIOD, PERIOD)

    def track_until_reported(text: str, image: np.ndarray) -> DiagnosticStatus:
        """Track the image repeatedly until the message of the diagnostics contains the text."""

        def track_and_check() -> DiagnosticStatus | None:
            user.track(image, next(stamps))
            time.sleep(0.05)
            return user.diagnostics[-1] if text in user.diagnostics[-1].message else None

        user.until(lambda: user.diagnostics, 'diagnostics')
        return user.until(track_and_check, f'diagnostics with {text!r}')

    status = track_until_reported('tracking', clip.images[0])
    assert (status.level, status.name) == (DiagnosticStatus.OK, 'tracker: tracking')
    values = {pair.key: pair.value for pair in status.values}
    assert values['target car'].startswith('TRACKING') and values['device'] == 'cpu'
    low, middle, high = (float(values[f'latency {kind} (ms)']) for kind in ('median', 'p95', 'max'))
    assert 0 < low <= middle <= high
    assert float(values['images tracked per second']) > 0 and float(values['memory (MB)']) > 50
    status = track_until_reported('lost: car', np.zeros_like(clip.images[0]))
    assert status.level == DiagnosticStatus.WARN


def test_targets_are_logged(user: Peer, live_node: NodeProcess, clip: Scene, start: int) -> None:
    user.track(clip.images[0], start)
    user.init(clip.boxes[0], start, 'logged')
    live_node.wait_for('target logged started and has the box ')
    user.track(np.zeros_like(clip.images[0]), start + PERIOD)
    live_node.wait_for('target logged is lost')
    user.call('stop_target', StopTarget.Request())
    live_node.wait_for('target logged stopped')


def test_a_zero_stamp_selects_the_newest_image(user: Peer, clip: Scene, start: int) -> None:
    user.track(clip.images[0], start)
    assert user.init(clip.boxes[0]).success
    assert user.track(clip.images[1], start + PERIOD).frames_processed == 2


def test_a_target_is_initialised_again_and_stopped(user: Peer, clip: Scene, start: int) -> None:
    user.track(clip.images[0], start)
    user.init(clip.boxes[0], start, 'car')
    user.track(clip.images[1], start + PERIOD)
    assert user.init(clip.boxes[1], start + PERIOD, 'car').success
    assert user.track(clip.images[2], start + 2 * PERIOD).frames_processed == 2
    answer = user.call('stop_target', StopTarget.Request())
    assert answer.success and '1 target' in answer.message
    assert user.track(clip.images[3], start + 3 * PERIOD).state == State.IDLE
    assert user.detections[start + 3 * PERIOD].detections == []


@pytest.mark.parametrize(
    ('box', 'offset', 'reason'),
    [
        (Box(10, 10, 20, 20), -500 * SECOND, 'too old'),
        (Box(10, 10, 20, 20), SECOND, 'no frame has the stamp'),
        (Box(5000, 10, 20, 20), 0, 'outside'),
        (Box(10, 10, 0, 20), 0, 'no area'),
        (Box(float('nan'), 10, 20, 20), 0, 'not finite'),
    ],
)
def test_invalid_boxes_and_stamps_are_refused_with_a_reason(
    user: Peer, clip: Scene, start: int, box: Box, offset: int, reason: str
) -> None:
    user.track(clip.images[0], start)
    answer = user.init(box, start + offset)
    assert not answer.success and reason in answer.message
    assert user.track(clip.images[1], start + PERIOD).state == State.IDLE


def test_debug_image_shows_the_target(user: Peer, clip: Scene, start: int) -> None:
    debug_images: dict[int, Image] = {}
    subscription = user.subscribe(Image, 'debug_image', debug_images)
    user.until(lambda: user.node.count_subscribers('tracker/debug_image'), 'the subscription')
    user.track(clip.images[0], start)
    user.init(clip.boxes[0], start)
    number = 0
    while max(debug_images, default=0) <= start:  # the node discovers its subscriber a little later
        number += 1
        user.track(clip.images[number], start + number * PERIOD)
    stamp, debug_image = user.until(lambda: debug_images, 'a debug image').popitem()
    image = clip.images[(stamp - start) // PERIOD]
    assert debug_image.header.frame_id == 'eye'
    drawn = to_bgr(debug_image)
    assert drawn.shape == image.shape
    assert (drawn != image).any(), 'nothing is drawn'
    user.node.destroy_subscription(subscription)


def invalid_images(start: int) -> dict[str, Image]:
    """Return images, all but "large and valid" of which a node must refuse."""
    header = Header(stamp=to_stamp(start), frame_id='eye')
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
        'huge size, little data': Image(
            header=header, height=2**31, width=2**31, encoding='mono8', step=2**31, data=bytes(4)
        ),
        'large and valid': Image(
            header=header, height=1, width=6_000_000, encoding='mono8', step=6_000_000,
            data=array('B', bytes(6_000_000)),
        ),
    }  # fmt: skip


def test_invalid_images_are_skipped_and_counted(
    user: Peer, live_node: NodeProcess, clip: Scene, start: int
) -> None:
    before = {key: user.diagnostic_value(f'images {key}') for key in ('received', 'bad')}
    user.track(clip.images[0], start)
    user.init(clip.boxes[0], start)
    images = invalid_images(start + 1)
    for message in images.values():
        user.camera.publish(message)
    status = user.track(clip.images[1], start + PERIOD)
    assert status.frames_processed >= 2 and status.target_id == '1'
    assert user.track(clip.images[2], start + 2 * PERIOD).target_id == '1'
    received = before['received'] + 3 + len(images)
    user.until(lambda: user.diagnostic_value('images received') >= received, 'all images')
    bad = before['bad'] + len(images) - 1
    user.until(lambda: user.diagnostic_value('images bad') == bad, 'the count of bad images')
    live_node.wait_for('image skipped')
    assert 'Traceback' not in live_node.log_text()


def test_refused_images_are_the_reason_that_a_box_is(user: Peer, clip: Scene, start: int) -> None:
    user.camera.publish(invalid_images(start)['unknown encoding'])
    answer = user.until(
        lambda: 'no image' not in (reply := user.init(clip.boxes[0]).message) and reply, 'images'
    )
    assert "images arrive, but none can be used; the last one: image encoding 'h264'" in answer
    user.until(
        lambda: any("image encoding 'h264'" in status.message for status in user.diagnostics),
        'diagnostics with the reason',
    )


def test_large_images_are_received(user: Peer, start: int) -> None:
    """Fast DDS transports images of 720p only with the profile that the node uses."""
    image = np.zeros((720, 1280, 3), np.uint8)
    for n in range(10):
        assert user.track(image, start + n * PERIOD).state == State.IDLE


def test_tracking_continues_when_stamps_jump_back(user: Peer, clip: Scene, start: int) -> None:
    """Stamps jump back when a bag is played in a loop."""
    user.track(clip.images[0], start)
    user.init(clip.boxes[0], start)
    status = user.track(clip.images[1], start - 100 * SECOND)
    assert (status.target_id, status.frames_processed) == ('1', 2)
    assert user.init(clip.boxes[1], start - 100 * SECOND, '1').success
