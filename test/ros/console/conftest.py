"""A `Listener` that keeps what it receives, and back ends in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import rclpy
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from siamffn_model.console.backend import CameraFrame, TrackerInfo
from siamffn_model.live.results import Result
from siamffn_ros.console import tracker
from siamffn_ros.console.backend import RosBackend
from siamffn_ros.tracker_client import services


class KeptReports:
    """What a back end has reported: images and results by tracker and stamp."""

    def __init__(self) -> None:
        self.trackers: dict[str, TrackerInfo] = {}
        self.frames: dict[tuple[str, int], CameraFrame] = {}
        self.results: dict[tuple[str, int], Result] = {}
        self.events: list[tuple[str, str]] = []

    def on_trackers(self, trackers: Sequence[TrackerInfo]) -> None:
        """See `Listener`."""
        self.trackers = {each.name: each for each in trackers}

    def on_frame(self, tracker: str, frame: CameraFrame) -> None:
        """See `Listener`."""
        self.frames[tracker, frame.stamp] = frame

    def on_result(self, tracker: str, result: Result) -> None:
        """See `Listener`."""
        self.results[tracker, result.stamp] = result

    def on_event(self, tracker: str, text: str) -> None:
        """See `Listener`."""
        self.events.append((tracker, text))

    def has_event(self, text: str) -> bool:
        """Return whether there is an event that contains a text."""
        return any(text in event for _, event in self.events)


class RunningBackend:
    """A back end with a node `console` of its own, and what it has reported."""

    def __init__(self, folder: Path, **parameters: Any) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        self.node = rclpy.create_node(
            'console', context=self.context, parameter_overrides=overrides
        )
        self.backend = RosBackend(self.node, folder)
        self.reports = KeptReports()
        self.backend.open(self.reports)

    def close(self) -> None:
        """End the back end and its node, once."""
        if not self.context.ok():
            return
        self.backend.close()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture(scope='module')
def make_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Return a function that starts a back end; they are closed after the module.

    They wait long for the node, which may be slow on a machine that is busy with other tests.
    """
    running: list[RunningBackend] = []
    patch = pytest.MonkeyPatch()
    patch.setattr(services, 'TIMEOUT', 60.0)
    patch.setattr(tracker, 'MAX_SILENCE', 60.0)

    def make(**parameters: Any) -> RunningBackend:
        running.append(RunningBackend(tmp_path_factory.mktemp('recordings'), **parameters))
        return running[-1]

    yield make
    for each in running:
        each.close()
    patch.undo()
