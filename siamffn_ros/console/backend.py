"""The console's back end in ROS: the trackers of the graph, found and called by one node."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from siamffn.srv import InitPoint, InitTarget, StopTarget
from std_msgs.msg import Header
from std_srvs.srv import SetBool
from vision_msgs.msg import Point2D

from siamffn_model.console.backend import Answer, Listener, TrackerInfo
from siamffn_model.errors import ConfigError, NotReadyError, SiamFFNError
from siamffn_model.imaging.geometry import Box
from siamffn_ros.console.recording import Recording, new_path
from siamffn_ros.console.tracker import Tracker
from siamffn_ros.context import create_steady_timer, make_executor, spin
from siamffn_ros.messages.conversions import to_bbox, to_box, to_detection, to_stamp
from siamffn_ros.tracker_client.discovery import find_camera, find_trackers

MAX_STAMP = 2**31 * 10**9  # nanoseconds; a ROS time has 31 bits of seconds


class RosBackend:
    """The tracker nodes that are running; a `Backend`.

    Args:
        node: subscribes and calls; it is spun in a thread of this back end.
        record_folder: receives the recordings.
    """

    can_record = True

    def __init__(self, node: Node, record_folder: Path) -> None:
        self._node = node
        self._folder = record_folder.absolute()
        self._trackers: dict[str, Tracker] = {}
        self._watched: frozenset[str] = frozenset()
        self._infos: list[TrackerInfo] | None = None
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._executor = make_executor(node.context, threads=1)
        self._thread = threading.Thread(
            target=spin, args=(self._executor, self._node, self._closed.is_set), name='ROS'
        )

    def open(self, listener: Listener) -> None:
        """See `Backend`."""
        self._listener = listener
        self._node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 100)
        create_steady_timer(self._node, 1.0, self._update)
        self._executor.add_node(self._node)
        self._thread.start()
        self._submit(self._update)

    def watch(self, trackers: Collection[str]) -> None:
        """See `Backend`."""
        self._watched = frozenset(trackers)
        self._submit(self._subscribe)

    def init(self, tracker: str, box: Box, stamp: int, target_id: str) -> Future[Answer]:
        """See `Backend`."""

        def request() -> InitTarget.Request:
            return InitTarget.Request(header=_header(stamp), bbox=to_bbox(box), target_id=target_id)

        return self._call(
            tracker,
            'init_target',
            request,
            lambda response: self._answer(tracker, stamp, response.target_id, box),
        )

    def init_point(
        self, tracker: str, point: tuple[float, float], radius: float, stamp: int, target_id: str
    ) -> Future[Answer]:
        """See `Backend`."""

        def request() -> Any:
            return InitPoint.Request(
                header=_header(stamp),
                point=Point2D(x=point[0], y=point[1]),
                radius=radius,
                target_id=target_id,
            )

        return self._call(
            tracker,
            'init_point',
            request,
            lambda response: self._answer(
                tracker, stamp, response.target_id, to_box(response.bbox)
            ),
        )

    def stop(self, tracker: str, target_id: str) -> Future[None]:
        """See `Backend`."""
        return self._call(
            tracker,
            'stop_target',
            lambda: StopTarget.Request(target_id=target_id),
            lambda response: None,
        )

    def pause(self, tracker: str, paused: bool) -> Future[None]:
        """See `Backend`."""

        def done(response: SetBool.Response) -> None:
            self._tracker(tracker).paused = paused
            self._report()

        return self._call(tracker, 'enable', lambda: SetBool.Request(data=not paused), done)

    def record(self, tracker: str, images: bool) -> Future[Path]:
        """See `Backend`."""

        def start(future: Future[Path]) -> None:
            found = self._tracker(tracker)
            if (last := found.recording) and not last.finished.done():
                raise ConfigError(f'{tracker} is recorded to {last.path} already: stop that first')
            found.recording = Recording(
                new_path(self._folder, tracker), images, lambda text: self._event(tracker, text)
            )
            _forward(found.recording.started, future)
            self._subscribe()

        return self._request(start)

    def stop_recording(self, tracker: str) -> Future[Path]:
        """See `Backend`."""

        def stop(future: Future[Path]) -> None:
            found = self._tracker(tracker)
            if found.recording is None:
                raise ConfigError(f'{tracker} is not recorded: start a recording first')
            recording, found.recording = found.recording, None
            _forward(recording.stop(), future)
            self._subscribe()

        return self._request(stop)

    def close(self) -> None:
        """See `Backend`."""
        self._closed.set()
        self._thread.join()
        recordings = [each.recording for each in self._trackers.values() if each.recording]
        for tracker in self._trackers.values():
            tracker.close()
        self._trackers.clear()
        self._run_calls()  # which are refused
        for recording in recordings:
            recording.join()
        self._executor.shutdown()

    # --- requests: they run in the thread of the executor

    def _submit(self, call: Callable[[], None]) -> None:
        self._calls.put(call)
        self._executor.create_task(self._run_calls)

    def _run_calls(self) -> None:
        while not self._calls.empty():
            self._calls.get()()

    def _request(self, function: Callable[[Future[Any]], None]) -> Future[Any]:
        """Run a function; the future receives its errors, and from the function its result."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # from now on it cannot be cancelled

        def call() -> None:
            try:
                function(future)
            except Exception as error:
                known = isinstance(error, SiamFFNError)
                future.set_exception(error if known else SiamFFNError(f'not possible: {error!r}'))

        self._submit(call)
        return future

    def _call(
        self,
        tracker: str,
        service: str,
        request: Callable[[], Any],
        convert: Callable[[Any], Any],
    ) -> Future[Any]:
        return self._request(
            lambda future: self._tracker(tracker).services.call(service, request(), future, convert)
        )

    def _tracker(self, name: str) -> Tracker:
        if name not in self._trackers:
            known = ', '.join(sorted(self._trackers)) or 'none'
            raise NotReadyError(f'no tracker {name!r} is running: there are {known}')
        return self._trackers[name]

    def _answer(self, tracker: str, stamp: int, target_id: str, box: Box) -> Answer:
        detection = to_detection(target_id, box, 1.0, _header(stamp))
        self._tracker(tracker).record('init_box', detection)
        return Answer(target_id, box)

    # --- the graph

    def _update(self) -> None:
        """Find new trackers, remove those that have ended, and follow the topics of all."""
        if self._closed.is_set():
            return
        found = find_trackers(self._node)
        for name in self._trackers.keys() - found:
            self._event(name, f'{name} has ended')
            self._trackers.pop(name).close()
        for name in found - self._trackers.keys():
            self._trackers[name] = Tracker(self._node, name, self._listener)
        for tracker in self._trackers.values():
            tracker.services.check_deadlines()
        self._subscribe()
        self._report()

    def _subscribe(self) -> None:
        for name, tracker in self._trackers.items():
            tracker.subscribe(find_camera(self._node, name), name in self._watched)

    def _report(self) -> None:
        """Report the trackers that can be called, if anything has changed."""
        infos = [
            tracker.info()
            for _, tracker in sorted(self._trackers.items())
            if tracker.services.ready
        ]
        if infos != self._infos:
            self._infos = infos
            self._listener.on_trackers(infos)

    def _on_diagnostics(self, array: DiagnosticArray) -> None:
        names = {f'{name.lstrip("/")}: tracking': name for name in self._trackers}
        for status in array.status:
            if name := names.get(status.name):
                self._trackers[name].on_diagnostics(status)

    def _event(self, tracker: str, text: str) -> None:
        if not self._closed.is_set():
            self._listener.on_event(tracker, text)


def _header(stamp: int) -> Header:
    if not 0 <= stamp < MAX_STAMP:
        raise ConfigError(f'stamp {stamp} is not a time of ROS: give that of an image')
    return Header(stamp=to_stamp(stamp))


def _forward(source: Future[Path], target: Future[Path]) -> None:
    """Let `target` receive the result or the error of `source`."""

    def done(_: Future[Path]) -> None:
        if error := source.exception():
            target.set_exception(error)
        else:
            target.set_result(source.result())

    source.add_done_callback(done)
