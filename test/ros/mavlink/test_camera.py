"""siamffn_ros/mavlink/camera.py, through the bytes of its messages; the time is a number."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from pymavlink.dialects.v20 import common as mavlink

from siamffn_model.errors import ConfigError, NotReadyError
from siamffn_model.imaging.geometry import Box
from siamffn_model.tracking import State

from .ground_station import (
    CAMERA,
    GCS,
    SIZE,
    URI,
    VEHICLE,
    Camera,
    Station,
    acknowledgements,
    heartbeat,
    parse,
    statuses,
    texts,
    tracked,
)

ACCEPTED, DENIED, UNSUPPORTED, FAILED, BUSY, IN_PROGRESS = (
    getattr(mavlink, f'MAV_RESULT_{name}')
    for name in (
        'ACCEPTED',
        'DENIED',
        'UNSUPPORTED',
        'FAILED',
        'TEMPORARILY_REJECTED',
        'IN_PROGRESS',
    )
)
POINT, RECTANGLE, STOP, INTERVAL, REQUEST = 2004, 2005, 2010, 511, 512
BOX = Box(320, 180, 128, 72)
CORNERS = 0.25, 0.25, 0.35, 0.35


@pytest.fixture
def camera() -> Camera:
    """A camera whose first heartbeat has been sent."""
    camera = Camera()
    camera.wait(1 / 64)
    return camera


@pytest.fixture
def station() -> Station:
    """A ground station."""
    return Station(*GCS)


def track(camera: Camera, station: Station) -> None:
    """Let the camera track `BOX`, with a status twice a second."""
    camera.send(station.command(RECTANGLE, *CORNERS))
    camera.send(station.command(INTERVAL, 275, 500_000))
    camera.targets.target = tracked(BOX)


# --- discovery


def test_a_heartbeat_each_second_is_that_of_a_camera(camera: Camera) -> None:
    beats = camera.wait(5.0)
    assert len(beats) == 5
    assert all(b - a == pytest.approx(1.0, abs=1e-9) for (a, _), (b, _) in pairwise(beats))
    beat = beats[0][1]
    assert (beat.type, beat.autopilot) == (
        mavlink.MAV_TYPE_CAMERA,
        mavlink.MAV_AUTOPILOT_INVALID,
    )


@pytest.mark.parametrize(
    ('command', 'parameters', 'message_id'),
    [
        *[(REQUEST, (id_, 0), id_) for id_ in (259, 260, 261, 262, 269, 270, 275)],
        (REQUEST, (269, 1), 269),
        (521, (1,), 259),
        (522, (1,), 260),
        (525, (0, 1), 261),
        (527, (1,), 262),
        (2504, (0,), 269),
        (2504, (1,), 269),
        (2505, (1,), 270),
    ],
)
def test_every_request_of_discovery_is_acknowledged_and_answered(
    camera: Camera,
    station: Station,
    command: int,
    parameters: tuple[float, ...],
    message_id: int,
) -> None:
    acknowledgement, message = camera.send(station.command(command, *parameters))
    assert acknowledgements([acknowledgement]) == [(command, ACCEPTED, GCS)]
    assert message.get_msgId() == message_id
    assert (message.get_srcSystem(), message.get_srcComponent()) == (VEHICLE, CAMERA)


def test_the_camera_says_that_it_tracks_and_has_video(camera: Camera, station: Station) -> None:
    _, information = camera.send(station.command(REQUEST, 259))
    assert information.flags == 1 + 512 + 1024 + 256
    assert (information.resolution_h, information.resolution_v) == SIZE
    assert bytes(information.model_name).rstrip(b'\0') == b'front'
    assert math.isnan(information.focal_length)
    _, stream = camera.send(station.command(REQUEST, 269))
    assert (stream.stream_id, stream.count, stream.uri) == (1, 1, URI)


def test_without_video_there_is_no_stream(station: Station) -> None:
    camera = Camera(uri='')
    camera.wait(1 / 64)
    _, information = camera.send(station.command(REQUEST, 259))
    assert information.flags == 1 + 512 + 1024
    for command, *parameters in ((REQUEST, 269), (REQUEST, 270), (2504, 1), (2505, 1)):
        sent = camera.send(station.command(command, *parameters))
        assert acknowledgements(sent) == [(command, UNSUPPORTED, GCS)] and len(sent) == 1


def test_before_the_first_image_only_tracking_is_refused(camera: Camera, station: Station) -> None:
    camera.targets.size = None
    _, information = camera.send(station.command(REQUEST, 259))
    assert information.resolution_h == 0
    sent = camera.send(station.command(RECTANGLE, *CORNERS))
    assert acknowledgements(sent) == [(RECTANGLE, BUSY, GCS)]
    assert 'no image yet' in texts(sent)[0]
    assert camera.targets.requests == []


# --- refusals


@pytest.mark.parametrize(
    ('command', 'parameters', 'result'),
    [
        (400, (1,), UNSUPPORTED),
        (2000, (), UNSUPPORTED),
        (60000, (), UNSUPPORTED),
        (REQUEST, (148,), UNSUPPORTED),
        (REQUEST, (math.nan,), UNSUPPORTED),
        (REQUEST, (269, 2), DENIED),
        (2504, (math.nan,), DENIED),
        (INTERVAL, (0, 500_000), UNSUPPORTED),
        (INTERVAL, (math.nan, 500_000), UNSUPPORTED),
        (INTERVAL, (275, math.nan), DENIED),
        (INTERVAL, (275, math.inf), DENIED),
        (INTERVAL, (275, -2), DENIED),
        *[
            (RECTANGLE, [value if n == place else c for n, c in enumerate(CORNERS)], DENIED)
            for place in range(4)
            for value in (math.nan, -0.01, 1.01, math.inf)
        ],
        *[
            (POINT, [value if n == place else c for n, c in enumerate((0.5, 0.5, 0.02))], DENIED)
            for place in range(3)
            for value in (math.nan, -0.01, 1.01, math.inf)
        ],
        (RECTANGLE, (0.4, 0.4, 0.4, 0.5), DENIED),
        (RECTANGLE, (0.5, 0.5, 0.4, 0.4), DENIED),
        (RECTANGLE, (*CORNERS, 101), DENIED),
        (POINT, (0.5, 0.5, 0.02, 101), DENIED),
        (STOP, (101,), DENIED),
    ],
)
def test_what_cannot_be_done_is_acknowledged_so(
    camera: Camera, station: Station, command: int, parameters: tuple[float, ...], result: int
) -> None:
    sent = camera.send(station.command(command, *parameters))
    assert acknowledgements(sent) == [(command, result, GCS)]
    assert camera.targets.requests == []


@pytest.mark.parametrize(('system', 'component'), [(2, CAMERA), (VEHICLE, 101), (VEHICLE, 1)])
@pytest.mark.parametrize('command', [REQUEST, 400, RECTANGLE, STOP])
def test_commands_to_others_are_ignored(
    camera: Camera, station: Station, system: int, component: int, command: int
) -> None:
    assert (
        camera.send(station.command(command, 259, system=system, component=component)) == []
        and camera.targets.requests == []
    )


def test_of_commands_to_all_only_known_ones_are_answered(camera: Camera, station: Station) -> None:
    assert camera.send(station.command(400, 1, component=0)) == []
    acknowledgement, _ = camera.send(station.command(REQUEST, 259, system=0, component=0))
    assert acknowledgements([acknowledgement]) == [(REQUEST, ACCEPTED, GCS)]


def test_its_own_commands_and_all_before_the_vehicle_is_known_are_ignored(
    camera: Camera, station: Station
) -> None:
    assert camera.send(Station(VEHICLE, CAMERA).command(REQUEST, 259)) == []
    camera.component.system_id = None
    assert camera.send(station.command(REQUEST, 259)) == []
    assert camera.wait(3.0) == []


def test_an_integer_that_is_not_given_is_no_number(camera: Camera, station: Station) -> None:
    not_given = 2**31 - 1
    message = mavlink.MAVLink_command_int_message(
        VEHICLE, CAMERA, 0, RECTANGLE, 0, 0, *CORNERS, not_given, not_given, 0.0
    )
    assert acknowledgements(camera.send(station.pack(message))) == [(RECTANGLE, ACCEPTED, GCS)]


def test_an_image_that_is_too_large_for_the_message_is_described(station: Station) -> None:
    camera = Camera()
    camera.targets.size = 70_000, 10
    answers = camera.send(station.command(REQUEST, 259))
    (information,) = [each for each in answers if each.get_msgId() == 259]
    assert (information.resolution_h, information.resolution_v) == (65535, 10)


def test_command_int_is_understood(camera: Camera, station: Station) -> None:
    message = mavlink.MAVLink_command_int_message(
        VEHICLE, CAMERA, 0, RECTANGLE, 0, 0, *CORNERS, CAMERA, 0, 0.0
    )
    assert acknowledgements(camera.send(station.pack(message))) == [(RECTANGLE, ACCEPTED, GCS)]
    assert camera.targets.requests == [('box', pytest.approx(BOX, abs=1e-3))]


# --- tracking


@pytest.mark.parametrize('named', [0, CAMERA, math.nan])
def test_a_rectangle_and_a_point_start_the_target(
    camera: Camera, station: Station, named: float
) -> None:
    sent = camera.send(station.command(RECTANGLE, *CORNERS, named))
    assert acknowledgements(sent) == [(RECTANGLE, ACCEPTED, GCS)]
    sent = camera.send(station.command(POINT, 0.5, 0.25, 0.01, named))
    assert acknowledgements(sent) == [(POINT, ACCEPTED, GCS)]
    box, point = camera.targets.requests
    assert box == ('box', pytest.approx(BOX, abs=1e-3))
    assert point == ('point', (640, 180))


def test_the_status_has_the_box_at_the_interval_that_was_asked_for(
    camera: Camera, station: Station
) -> None:
    track(camera, station)
    sent = [(now, each) for now, each in camera.wait(10.0) if statuses([each])]
    assert len(sent) == 20
    assert all(b - a == pytest.approx(0.5, abs=1e-9) for (a, _), (b, _) in pairwise(sent))
    status = sent[0][1]
    assert (status.tracking_status, status.tracking_mode, status.target_data) == (1, 2, 4)
    assert (status.rec_top_x, status.rec_top_y) == pytest.approx(CORNERS[:2])
    assert (status.rec_bottom_x, status.rec_bottom_y) == pytest.approx(CORNERS[2:])
    assert (status.point_x, status.point_y, status.radius) == pytest.approx((0.3, 0.3, 0.05))


def test_the_shortest_interval_of_all_stations_counts(camera: Camera, station: Station) -> None:
    other = Station(254, 190)
    track(camera, station)
    camera.send(other.command(INTERVAL, 275, 125_000))
    assert len(statuses([each for _, each in camera.wait(2.0)])) == 16
    camera.send(other.command(INTERVAL, 275, -1))
    assert len(statuses([each for _, each in camera.wait(2.0)])) == 4
    camera.send(station.command(INTERVAL, 275, 0))
    assert statuses([each for _, each in camera.wait(2.0)]) == []
    camera.send(station.command(INTERVAL, 275, 1))
    assert len(statuses([each for _, each in camera.wait(2.0)])) <= 100, '50 a second at most'


def test_the_interval_of_a_station_ends_when_it_is_silent(camera: Camera, station: Station) -> None:
    track(camera, station)
    camera.wait(50.0)
    camera.send(station.pack(heartbeat(autopilot=False)))
    assert len(statuses([each for _, each in camera.wait(50.0)])) == 100
    assert len(statuses([each for _, each in camera.wait(50.0)])) == 20
    camera.send(station.pack(heartbeat(autopilot=False)))
    assert statuses([each for _, each in camera.wait(1.0)]) == []


def test_strangers_do_not_displace_a_station_that_is_heard(
    camera: Camera, station: Station
) -> None:
    track(camera, station)
    results = []
    for system in range(100, 110):
        answer = camera.send(Station(system, 1).command(INTERVAL, 275, 3e9))
        results.append(acknowledgements(answer)[0][1])
    assert results == [ACCEPTED] * 7 + [BUSY] * 3
    camera.wait(4.0)
    camera.send(station.pack(heartbeat(autopilot=False)))
    camera.wait(2.0)
    answer = camera.send(Station(200, 1).command(INTERVAL, 275, 3e9))
    assert acknowledgements(answer) == [(INTERVAL, ACCEPTED, (200, 1))], 'in place of a silent one'
    assert len(statuses([each for _, each in camera.wait(5.0)])) == 10
    answer = camera.send(station.command(INTERVAL, 275, 1e38))
    assert acknowledgements(answer) == [(INTERVAL, DENIED, GCS)]


def test_after_a_stop_it_is_idle_at_once_and_for_good(camera: Camera, station: Station) -> None:
    track(camera, station)
    camera.wait(0.7)
    sent = camera.send(station.command(STOP))
    assert acknowledgements(sent) == [(STOP, ACCEPTED, GCS)]
    (idle,) = statuses(sent)
    assert idle.tracking_status == 0 and math.isnan(idle.rec_top_x)
    later = statuses([each for _, each in camera.wait(5.0)])
    assert [each.tracking_status for each in later] == [0] * 10, 'the tracker still reports it'
    assert camera.targets.requests[-1] == ('stop', None)


def test_a_lost_target_is_idle_and_told(camera: Camera, station: Station) -> None:
    track(camera, station)
    camera.wait(1.0)
    camera.targets.target = tracked(BOX, State.LOST)
    sent = [each for _, each in camera.wait(2.0)]
    assert {each.tracking_status for each in statuses(sent)} == {0}
    assert texts(sent) == ['target lost: searching for it']
    camera.targets.target = tracked(BOX, State.UNCERTAIN)
    sent = [each for _, each in camera.wait(2.0)]
    assert statuses(sent)[-1].tracking_status == 1
    assert texts(sent) == ['target found again']
    camera.targets.target = None
    sent = [each for _, each in camera.wait(6.0)]
    assert statuses(sent)[-1].tracking_status == 0
    assert texts(sent) == ['target not tracked any more']


def test_a_target_that_the_tracker_refuses_is_not_followed(
    camera: Camera, station: Station
) -> None:
    camera.targets.answers = False
    camera.send(station.command(RECTANGLE, *CORNERS))
    reason = 'box is too small: a target has at least 2 pixels a side, and this one has 1 of them'
    camera.targets.futures[0].set_exception(ConfigError(reason))
    sent = [each for _, each in camera.wait(1 / 32)]
    assert acknowledgements(sent) == [(RECTANGLE, FAILED, GCS)]
    assert ''.join(texts(sent)) == f'front: {reason}'
    parts = [(each.id, each.chunk_seq) for each in sent if each.get_type() == 'STATUSTEXT']
    assert parts == [(parts[0][0], n) for n in range(len(parts))] and parts[0][0] > 0
    assert not camera.component.following
    camera.send(station.command(POINT, 0.5, 0.5))
    camera.targets.futures[1].set_exception(NotReadyError('no answer'))
    assert acknowledgements([each for _, each in camera.wait(1 / 32)]) == [(POINT, BUSY, GCS)]


# --- copies, and requests that overlap


def test_a_repeated_command_is_answered_but_executed_once(camera: Camera, station: Station) -> None:
    camera.targets.answers = False
    camera.send(station.command(RECTANGLE, *CORNERS))
    sent = camera.send(station.command(RECTANGLE, *CORNERS))
    assert acknowledgements(sent) == [(RECTANGLE, IN_PROGRESS, GCS)]
    assert sent[0].progress == 255, 'unknown'
    waiting = [each for _, each in camera.wait(2.05)]
    assert acknowledgements(waiting) == [(RECTANGLE, IN_PROGRESS, GCS)] * 2
    camera.targets.futures[0].set_result(None)
    assert acknowledgements([each for _, each in camera.wait(1 / 32)])[0][1] == ACCEPTED
    for _ in range(2):  # as QGroundControl does if no acknowledgement arrives
        camera.wait(3.0)
        sent = camera.send(station.command(RECTANGLE, *CORNERS))
        assert acknowledgements(sent) == [(RECTANGLE, ACCEPTED, GCS)]
    assert len(camera.targets.requests) == 1
    camera.wait(5.0)
    camera.send(station.command(RECTANGLE, *CORNERS))
    assert len(camera.targets.requests) == 2, 'after a while it is a new request'


def test_a_command_that_is_sent_all_the_time_is_executed_every_ten_seconds(
    camera: Camera, station: Station
) -> None:
    for seconds in range(25):
        camera.send(station.command(RECTANGLE, *CORNERS))
        assert len(camera.targets.requests) == 1 + seconds // 10
        camera.wait(1.0)


def test_what_was_refused_is_executed_again(camera: Camera, station: Station) -> None:
    camera.targets.answers = False
    for count in range(3):
        camera.send(station.command(RECTANGLE, *CORNERS))
        camera.targets.futures[count].set_exception(ConfigError('no'))
        answers = [each for _, each in camera.wait(1 / 32)]
        assert acknowledgements(answers) == [(RECTANGLE, FAILED, GCS)]


def test_another_box_or_station_is_a_new_request(camera: Camera, station: Station) -> None:
    camera.send(station.command(RECTANGLE, *CORNERS))
    camera.send(Station(254, 190).command(RECTANGLE, *CORNERS))
    camera.send(station.command(RECTANGLE, 0.1, *CORNERS[1:]))
    assert len(camera.targets.requests) == 3


def test_a_copy_that_arrives_after_a_stop_does_not_start_again(
    camera: Camera, station: Station
) -> None:
    copy = station.command(RECTANGLE, *CORNERS)
    camera.send(copy)
    camera.send(station.command(STOP))
    assert acknowledgements(camera.send(copy)) == [(RECTANGLE, BUSY, GCS)]
    assert [name for name, _ in camera.targets.requests] == ['box', 'stop']
    assert not camera.component.following


def test_a_stop_while_the_target_starts_is_executed_after_it(
    camera: Camera, station: Station
) -> None:
    camera.targets.answers = False
    camera.send(station.command(RECTANGLE, *CORNERS))
    camera.send(Station(254, 190).command(STOP))
    assert [name for name, _ in camera.targets.requests] == ['box']
    camera.targets.futures[0].set_result(None)
    sent = [each for _, each in camera.wait(1 / 32)]
    assert acknowledgements(sent) == [(RECTANGLE, ACCEPTED, GCS)]
    assert [name for name, _ in camera.targets.requests] == ['box', 'stop']
    camera.targets.futures[1].set_result(None)
    sent = [each for _, each in camera.wait(1 / 32)]
    assert acknowledgements(sent) == [(STOP, ACCEPTED, (254, 190))]
    assert not camera.component.following


def test_the_newest_of_the_waiting_requests_is_executed(camera: Camera, station: Station) -> None:
    camera.targets.answers = False
    camera.send(station.command(POINT, 0.1, 0.1))
    camera.send(station.command(POINT, 0.2, 0.2))
    sent = camera.send(station.command(POINT, 0.3, 0.3))
    assert acknowledgements(sent) == [(POINT, BUSY, GCS)], 'the second'
    camera.targets.futures[0].set_result(None)
    camera.wait(1 / 32)
    assert [name for name, _ in camera.targets.requests] == ['point', 'point']
    assert camera.targets.requests[1][1] == pytest.approx((0.3 * SIZE[0], 0.3 * SIZE[1]))


def test_messages_of_other_kinds_are_ignored(camera: Camera, station: Station) -> None:
    for message in (
        mavlink.MAVLink_heartbeat_message(2, 12, 0, 0, 4, 3),
        mavlink.MAVLink_param_request_list_message(VEHICLE, CAMERA),
        mavlink.MAVLink_command_ack_message(RECTANGLE, 0),
    ):
        assert camera.component.handle(parse(station.pack(message)), camera.now) == []
