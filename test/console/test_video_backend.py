"""The back end without ROS: a tracker on a folder of images, and on sources that fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from siamffn_model.console import video_backend as module
from siamffn_model.console.backend import CameraFrame, TrackerInfo
from siamffn_model.console.video_backend import TRACKER, VideoBackend
from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import BoxError, DataError, ImageError
from siamffn_model.imaging.geometry import iou
from siamffn_model.imaging.live_source import is_live, read_live
from siamffn_model.imaging.sources import open_frames
from siamffn_model.live.results import Result, Target
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.tracking import State, TrackerSettings

TIMEOUT = 60.0  # seconds that nothing takes


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + TIMEOUT
    while not (value := condition()):
        assert time.monotonic() < deadline, f'timeout while waiting for {what}'
        time.sleep(0.01)
    return value


class Reports:
    """A `Listener` that keeps what it receives."""

    def __init__(self) -> None:
        self.trackers: list[TrackerInfo] = []
        self.stamps: list[int] = []
        self.results: dict[int, Result] = {}
        self.events: list[str] = []

    def on_trackers(self, trackers: Sequence[TrackerInfo]) -> None:
        self.trackers = list(trackers)

    def on_frame(self, tracker: str, frame: CameraFrame) -> None:
        self.stamps.append(frame.stamp)

    def on_result(self, tracker: str, result: Result) -> None:
        self.results[result.stamp] = result

    def on_event(self, tracker: str, text: str) -> None:
        self.events.append(text)

    def targets(self, name: str) -> list[Target]:
        results = list(self.results.values())
        return [target for result in results for target in result.targets if target.id == name]

    def states(self) -> list[State]:
        return [target.state for result in list(self.results.values()) for target in result.targets]


@pytest.fixture
def open_backend(model: Runtime) -> Iterator[Callable[[Any], tuple[VideoBackend, Reports]]]:
    backends: list[VideoBackend] = []

    def start(source: Any) -> tuple[VideoBackend, Reports]:
        backends.append(VideoBackend(source, lambda: model, TrackerSettings()))
        reports = Reports()
        backends[-1].open(reports)
        return backends[-1], reports

    yield start
    for backend in backends:
        backend.close()


def test_a_target_waits_for_its_image_in_each_turn(
    open_backend: Any, sequence: Path, clip: Scene
) -> None:
    """The video is repeated; the target is LOST until the image in which it was given."""
    backend, reports = open_backend(open_frames(sequence))
    assert reports.trackers == [TrackerInfo(TRACKER, sequence.name)]
    until(lambda: len(reports.stamps) > 5, 'some images')
    box = clip.boxes[5]
    answer = backend.init(TRACKER, box, reports.stamps[5], '').result(30)
    assert answer == ('1', box)
    until(lambda: reports.targets('1'), 'the first result')
    first = min(stamp for stamp, result in reports.results.items() if result.targets)
    until(lambda: len(reports.stamps) > 2 * len(clip.boxes) + 25, 'most of the third turn')
    waiting = 0
    for stamp in sorted(stamp for stamp in reports.results.copy() if stamp >= first):
        (target,) = reports.results[stamp].targets  # in every image
        position = reports.stamps.index(stamp) % len(clip.boxes)
        if target.box:
            assert position >= 5
            assert iou(target.box, clip.boxes[position]) > 0.5
        else:
            assert (target.state, target.search) == (State.LOST, None)
            waiting += 1
    assert waiting
    assert reports.events == [f'{sequence.name} has ended and is repeated']


def test_a_target_is_stopped_while_it_waits(open_backend: Any, sequence: Path, clip: Scene) -> None:
    backend, reports = open_backend(open_frames(sequence))
    last = len(clip.boxes) - 2
    until(lambda: len(reports.stamps) > last, 'almost a turn')
    for name in ('1', '2'):
        answer = backend.init(TRACKER, clip.boxes[last], reports.stamps[last], '').result(30)
        assert answer.target_id == name
    until(lambda: State.LOST in reports.states(), 'the next turn')
    assert backend.init(TRACKER, clip.boxes[0], 0, '').result(30).target_id == '3'
    backend.stop(TRACKER, '1').result(30)
    backend.stop(TRACKER, '2').result(30)
    newest = max(reports.results)
    turn = len(reports.stamps) + len(clip.boxes)
    until(lambda: len(reports.stamps) > turn, 'another turn')
    until(lambda: max(reports.results) > newest, 'a result')
    later = [result for stamp, result in reports.results.copy().items() if stamp > newest]
    assert {target.id for result in later[1:] for target in result.targets} == {'3'}


def test_a_folder_of_one_image_is_shown_all_the_time(
    open_backend: Any, tmp_path: Path, clip: Scene
) -> None:
    cv2.imwrite(str(tmp_path / '0.png'), clip.images[0])
    backend, reports = open_backend(open_frames(tmp_path))
    until(lambda: reports.stamps, 'an image')
    backend.init(TRACKER, clip.boxes[0], 0, '').result(30)
    until(lambda: len(reports.targets('1')) > 10, 'ten results')
    assert set(reports.states()) == {State.TRACKING}
    intervals = np.diff(reports.stamps) / 1e9
    assert intervals.mean() > 0.9 / 30  # at the rate of a folder
    assert reports.events == []


def test_a_click_and_a_refusal(open_backend: Any, sequence: Path, clip: Scene) -> None:
    backend, reports = open_backend(open_frames(sequence))
    until(lambda: reports.stamps, 'an image')
    box = clip.boxes[0]
    point = (box.cx, box.cy)
    answer = backend.init_point(TRACKER, point, 0.0, reports.stamps[0], 'a').result(30)
    assert answer.target_id == 'a' and iou(answer.box, box) > 0.5
    with pytest.raises(BoxError, match='outside the'):
        backend.init_point(TRACKER, (-5.0, 0.0), 0.0, 0, '').result(30)


def test_pausing(open_backend: Any, sequence: Path) -> None:
    backend, reports = open_backend(open_frames(sequence))
    until(lambda: reports.results, 'a result')
    backend.pause(TRACKER, True).result(30)
    assert reports.trackers[0].paused
    newest = max(reports.results)
    count = len(reports.stamps)
    until(lambda: len(reports.stamps) > count + 5, 'more images')
    assert sum(stamp > newest for stamp in reports.results) <= 1  # one was being tracked
    backend.pause(TRACKER, False).result(30)
    until(lambda: max(reports.results) > reports.stamps[count + 5], 'results again')


def test_a_live_source_that_fails_is_opened_again(
    open_backend: Any,
    clip: Scene,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns = []

    def read(source: str) -> Iterator[Any]:
        turns.append(source)
        if len(turns) == 1:
            raise DataError('rtsp://camera cannot be read: check its address')
        yield clip.images[0]
        raise ImageError('no images come: check the cable')

    monkeypatch.setattr(module, 'read_live', read)
    monkeypatch.setattr(module, 'RETRY_SECONDS', 0.01)
    _, reports = open_backend('rtsp://camera')
    until(lambda: len(turns) > 2, 'three attempts')
    assert reports.events == [
        'rtsp://camera cannot be read: check its address',
        'no images come: check the cable',  # once, though it comes again and again
    ]
    assert reports.stamps


def test_names_of_live_sources(tmp_path: Path) -> None:
    for source in (
        '0',
        '/dev/video2',
        'RTSP://camera/',
        'rtsp://192.168.1.10/stream',
        'http://robot:8080/',
    ):
        assert is_live(source), source
    for source in ('video.mp4', 'folder', './0', '/data/0.mp4'):
        assert not is_live(source), source


@pytest.mark.parametrize(
    'source', ['9', '/dev/video9', 'http://127.0.0.1:9/', 'rtsp://127.0.0.1:9/']
)
def test_a_live_source_that_is_not_there(source: str) -> None:
    with pytest.raises(DataError, match='cannot be'):
        next(read_live(source))
