"""siamffn_ros/console/backend.py over DDS, with one tracker node in a process of its own."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from sensor_msgs.msg import Image
from siamffn.msg import TrackStatus
from std_msgs.msg import Header
from std_srvs.srv import SetBool
from vision_msgs.msg import Detection2D, Detection2DArray

from siamffn_model.console.backend import TrackerInfo
from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import ConfigError, NotReadyError
from siamffn_model.imaging.crop import search_region
from siamffn_model.imaging.geometry import Box, iou
from siamffn_model.live.results import Result
from siamffn_model.tracking import State
from siamffn_ros.bags.commands import command as bag_commands
from siamffn_ros.bags.io import open_bag
from siamffn_ros.messages.conversions import to_box, to_nanoseconds, to_stamp

if TYPE_CHECKING:
    from test.ros.conftest import Peer
    from test.ros.console.conftest import KeptReports, RunningBackend

TRACKER = '/tracker'
SECOND = 1_000_000_000
PERIOD = SECOND // 30
TIMEOUT = 40.0  # seconds; these tests do not measure speed


@pytest.fixture(scope='module')
def running(make_running: Callable[[], RunningBackend], live_peer: Peer) -> RunningBackend:
    """A back end that has found the live node and watches it."""
    running = make_running()
    reports = running.reports
    live_peer.until(lambda: camera_of(reports), 'the tracker and its camera')
    running.backend.watch([TRACKER, '/unknown'])

    def received() -> bool:
        stamp = next(stamps)
        live_peer.track(np.zeros((48, 64, 3), np.uint8), stamp)
        return {(TRACKER, stamp)} <= reports.results.keys() & reports.frames.keys()

    live_peer.until(received, 'an image and its result')
    return running


@pytest.fixture
def user(user: Peer, running: RunningBackend) -> Peer:
    """The peer of the live node, which the back end watches."""
    running.reports.events.clear()
    running.reports.results.clear()
    return user


def times() -> Iterator[int]:
    """Yield stamps that are more than the buffer of the node apart."""
    stamp = 1000 * SECOND
    while True:
        yield stamp
        stamp += 100 * SECOND


stamps = times()


def camera_of(reports: KeptReports) -> str:
    info = reports.trackers.get(TRACKER)
    return info.camera if info else ''


def result_of(running: RunningBackend, user: Peer, image: np.ndarray, stamp: int) -> Result:
    """Publish an image and return its result; that of a target that catches up is empty."""
    user.send(image, stamp)
    results = running.reports.results
    result: Result = user.until(lambda: results.get((TRACKER, stamp)), f'result of {stamp}')
    return result


def test_the_tracker_and_its_camera_are_found(running: RunningBackend, user: Peer) -> None:
    assert running.reports.trackers == {TRACKER: TrackerInfo(TRACKER, '/image')}
    assert running.backend.can_record


def test_images_arrive_as_they_were_published(
    running: RunningBackend, user: Peer, clip: Scene
) -> None:
    start = next(stamps)
    user.send(clip.images[0], start)
    frame = user.until(lambda: running.reports.frames.get((TRACKER, start)), 'the image')
    assert frame.stamp == start and frame.jpeg is None
    assert np.array_equal(frame.decode(), clip.images[0])


def test_a_target_starts_on_the_image_it_was_drawn_on(
    running: RunningBackend, user: Peer, clip: Scene
) -> None:
    start = next(stamps)
    for n in range(8):
        user.track(clip.images[n], start + n * PERIOD)
    answer = running.backend.init(TRACKER, clip.boxes[2], start + 2 * PERIOD, '').result(TIMEOUT)
    assert answer == ('1', clip.boxes[2])
    followed = 0
    for n in range(8, len(clip.images)):
        stamp = start + n * PERIOD
        result = result_of(running, user, clip.images[n], stamp)
        if not result.targets:
            continue  # still catching up
        (target,) = result.targets
        assert target.id == '1' and target.state in (State.TRACKING, State.UNCERTAIN)
        assert iou(target.box, clip.boxes[n]) > 0.5
        status = user.until(lambda at=stamp: user.statuses.get(at), 'the status')
        assert target.box == pytest.approx(to_box(status.bbox))
        assert target.processed + target.dropped == n - 1, 'counted from image 2 on'
        followed += 1
    assert followed > 10
    keys = {key for key in running.reports.results if key[1] >= start}
    assert keys <= running.reports.frames.keys(), 'each result has the stamp of an image'


def test_all_targets_are_in_one_result_of_each_image(
    running: RunningBackend, user: Peer, clip: Scene
) -> None:
    start = next(stamps)
    user.track(clip.images[0], start)
    names = ['car', 'van', 'bus']
    futures = [running.backend.init(TRACKER, clip.boxes[0], start, name) for name in names]
    assert [future.result(TIMEOUT).target_id for future in futures] == names
    for n in range(1, 6):
        result = result_of(running, user, clip.images[n], start + n * PERIOD)
        assert [target.id for target in result.targets] == names


@pytest.mark.parametrize(
    ('box', 'offset', 'reason'),
    [
        (Box(10, 10, 20, 20), -500 * SECOND, 'too old'),
        (Box(10, 10, 20, 20), SECOND, 'no frame has the stamp'),
        (Box(5000, 10, 20, 20), 0, 'outside'),
        (Box(10, 10, 0, 20), 0, 'no area'),
        (Box(10, 10, 20, 20), 2**62, 'is not a time of ROS'),
    ],
)
def test_refusals_have_the_text_of_the_node(
    running: RunningBackend, user: Peer, clip: Scene, box: Box, offset: int, reason: str
) -> None:
    start = next(stamps)
    user.track(clip.images[0], start)
    with pytest.raises(ConfigError, match=reason):
        running.backend.init(TRACKER, box, start + offset, '').result(TIMEOUT)


def test_a_target_starts_from_a_point(running: RunningBackend, user: Peer, clip: Scene) -> None:
    start = next(stamps)
    user.track(clip.images[0], start)
    box = clip.boxes[0]
    future = running.backend.init_point(TRACKER, (box.cx, box.cy), 0.0, start, 'car')
    answer = future.result(TIMEOUT)
    assert answer.target_id == 'car' and iou(answer.box, box) > 0.5
    (target,) = result_of(running, user, clip.images[1], start + PERIOD).targets
    assert target.id == 'car'
    with pytest.raises(ConfigError):
        running.backend.init_point(TRACKER, (-50.0, 5.0), 0.0, start, '').result(TIMEOUT)


def test_targets_are_stopped(running: RunningBackend, user: Peer, clip: Scene) -> None:
    start = next(stamps)
    backend = running.backend
    user.track(clip.images[0], start)
    for name in ('car', 'van', 'bus'):
        backend.init(TRACKER, clip.boxes[0], start, name).result(TIMEOUT)
    with pytest.raises(ConfigError, match="no target 'bike': there are car, van, bus"):
        backend.stop(TRACKER, 'bike').result(TIMEOUT)
    backend.stop(TRACKER, 'van').result(TIMEOUT)
    result = result_of(running, user, clip.images[1], start + PERIOD)
    assert [target.id for target in result.targets] == ['car', 'bus']
    backend.stop(TRACKER, '').result(TIMEOUT)
    assert result_of(running, user, clip.images[2], start + 2 * PERIOD).targets == ()


def test_tracking_is_paused_by_the_console_and_by_others(
    running: RunningBackend, user: Peer
) -> None:
    reports = running.reports
    running.backend.pause(TRACKER, True).result(TIMEOUT)
    assert reports.trackers[TRACKER].paused
    user.call('enable', SetBool.Request(data=True))
    user.until(lambda: not reports.trackers[TRACKER].paused, 'the end of the pause')
    user.call('enable', SetBool.Request(data=False))
    user.until(lambda: reports.trackers[TRACKER].paused, 'the pause')
    running.backend.pause(TRACKER, False).result(TIMEOUT)
    assert not reports.trackers[TRACKER].paused


def test_a_lost_target_has_the_region_that_is_searched(
    running: RunningBackend, user: Peer, clip: Scene
) -> None:
    start = next(stamps)
    user.track(clip.images[0], start)
    running.backend.init(TRACKER, clip.boxes[0], start, 'car').result(TIMEOUT)
    (seen,) = result_of(running, user, clip.images[1], start + PERIOD).targets
    assert seen.box and seen.search is None
    for n in (2, 3):
        black = np.zeros_like(clip.images[0])
        (lost,) = result_of(running, user, black, start + n * PERIOD).targets
        assert (lost.id, lost.state, lost.box) == ('car', State.LOST, None)
        assert lost.search == pytest.approx(search_region(seen.box))


def test_nothing_is_received_of_trackers_that_are_not_watched(
    running: RunningBackend, user: Peer, clip: Scene
) -> None:
    start = next(stamps)
    running.backend.watch([])
    user.until(lambda: user.camera.get_subscription_count() == 1, 'the end of the subscription')
    user.track(clip.images[0], start)
    running.backend.watch([TRACKER])
    user.until(lambda: user.camera.get_subscription_count() == 2, 'the subscription')
    assert (TRACKER, start) not in running.reports.frames


def test_an_unknown_tracker_is_refused(running: RunningBackend) -> None:
    for future in (
        running.backend.init('/nobody', Box(1, 2, 30, 40), 0, ''),
        running.backend.stop('/nobody', ''),
        running.backend.record('/nobody', False),
        running.backend.stop_recording('/nobody'),
    ):
        with pytest.raises(NotReadyError, match=r'no tracker ./nobody. is running: .* /tracker'):
            future.result(TIMEOUT)


def test_malformed_messages_are_left_out(running: RunningBackend, user: Peer, clip: Scene) -> None:
    start = next(stamps)
    header = Header(stamp=to_stamp(start))
    publisher = user.node.create_publisher(TrackStatus, 'tracker/status', 10)
    user.until(lambda: publisher.get_subscription_count() == 2, 'the subscriptions')
    for status in (
        TrackStatus(header=header, target_id='bad', state=9),
        TrackStatus(header=header, target_id='bad', state=1, score=math.nan),
        TrackStatus(header=header, target_id='bad', state=3),
    ):
        publisher.publish(status)
    user.until(lambda: running.reports.has_event('a status cannot be shown'), 'the event')
    user.camera.publish(Image(header=header, height=2, width=2, encoding='h264', step=6))
    assert result_of(running, user, clip.images[0], start + PERIOD).targets == ()
    assert (TRACKER, start) not in running.reports.frames
    user.node.destroy_publisher(publisher)


@pytest.mark.parametrize('images', [False, True])
def test_a_recording_can_be_evaluated(
    running: RunningBackend, user: Peer, clip: Scene, bag: Path, tmp_path: Path, images: bool
) -> None:
    """The images have the stamps of the `bag`, which contains the ground truth."""
    backend = running.backend
    with open_bag(bag) as reader:
        times = [to_nanoseconds(message.header.stamp) for _, message in reader.read('/image')]
    path = backend.record(TRACKER, images).result(TIMEOUT)
    with pytest.raises(ConfigError, match=f'is recorded to {path} already'):
        backend.record(TRACKER, images).result(TIMEOUT)
    user.track(clip.images[0], times[0])
    backend.init(TRACKER, clip.boxes[0], times[0], 'car').result(TIMEOUT)
    for image, stamp in zip(clip.images[1:], times[1:], strict=True):
        result_of(running, user, image, stamp)
    assert not path.exists()
    assert backend.stop_recording(TRACKER).result(TIMEOUT) == path
    with pytest.raises(ConfigError, match='is not recorded: start a recording first'):
        backend.stop_recording(TRACKER).result(TIMEOUT)

    summary = tmp_path / 'scores.json'
    words = ['evaluate', str(path), '--topic', '/tracker/detections', '--truth', str(bag)]
    result = CliRunner().invoke(bag_commands, [*words, '--json', str(summary)])
    assert result.exit_code == 0, result.output
    scores = json.loads(summary.read_text())
    assert scores['success'] > 0.5 and scores['missing'] == 0
    recorded = messages_in(path)
    assert recorded.keys() == {'/tracker/detections', '/tracker/init_box'} | (
        {'/image'} if images else set()
    )
    (given,) = recorded['/tracker/init_box']
    assert isinstance(given, Detection2D) and given.id == 'car'
    assert to_nanoseconds(given.header.stamp) == times[0]
    assert to_box(given.bbox) == pytest.approx(clip.boxes[0])
    assert all(isinstance(each, Detection2DArray) for each in recorded['/tracker/detections'])
    for name in ('/image', '/tracker/detections'):
        if name in recorded:
            kept = [to_nanoseconds(each.header.stamp) for each in recorded[name]]
            assert kept[-len(times) :] == times


def messages_in(path: Path) -> dict[str, list[Any]]:
    with open_bag(path) as reader:
        return {topic: [message for _, message in reader.read(topic)] for topic in reader.topics}
