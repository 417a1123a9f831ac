"""Start the tracker node and the bag player as child processes, and a ROS node in this process.

Each child process runs in a session of its own: Ctrl-C reaches only this process, which then stops
the children.
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn, TypeVar

from rclpy.executors import Executor
from rclpy.node import Node

from siamffn_model.errors import ProcessError
from siamffn_ros.context import ros_context

NODE_MODULE = 'siamffn_ros.node.main'
STALL_TIMEOUT = 20.0  # seconds without progress after which a replay is aborted
STOP_TIMEOUT = 10.0  # seconds for the node to end after SIGTERM
START_ERROR = re.compile(r'^error: (.+)|: (cannot (?:configure|activate): .+)')  # in its log
LOG_LINES = 15  # of the node's log, shown in errors

AnyNode = TypeVar('AnyNode', bound=Node)


def node_arguments(params_file: Path | None, **parameters: object) -> list[str]:
    """Return ROS arguments for a parameter file and, with precedence, parameters that are set.

    A parameter that is None is not set.
    """
    arguments = ['--params-file', str(params_file)] if params_file else []
    for name, value in parameters.items():
        if value is not None:
            text = json.dumps(value if isinstance(value, bool) else str(value))
            arguments += ['-p', f'tracker:{name}:={text}']
    return arguments


class TrackerProcess:
    """The tracker node as a child process.

    Args:
        log: file for the output of the node.
        arguments: ROS arguments of the node.
    """

    def __init__(self, log: Path, arguments: list[str]) -> None:
        self.log = log
        self._output: IO[bytes] = log.open('wb')
        command = [sys.executable, '-m', NODE_MODULE, '--ros-args', *arguments]
        self._process = subprocess.Popen(
            command, stdout=self._output, stderr=self._output, start_new_session=True
        )

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def check(self) -> None:
        """Raise `ProcessError` with the reason or the end of the log if the node has ended."""
        if self._process.poll() is not None:
            lines = self.log.read_text(errors='replace').splitlines()
            if lines and (reason := START_ERROR.search(lines[-1])):
                raise ProcessError(f'the node cannot start: {reason[1] or reason[2]}')
            self.fail(f'the node ended unexpectedly (exit code {self._process.returncode})')

    def fail(self, reason: str) -> NoReturn:
        """Raise `ProcessError` with a reason and the end of the log."""
        lines = self.log.read_text(errors='replace').splitlines()[-LOG_LINES:]
        raise ProcessError('\n'.join([f'{reason}; the end of {self.log}:', *lines]))

    def stop(self) -> None:
        """Terminate the node; kill it if it does not end in time."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()


class Player:
    """`siamffn bag play` as a child process that plays one topic of a bag.

    Args:
        bag: the bag.
        topic: the topic to play.
        stamps: header stamps of the messages on this topic, in nanoseconds and in order.
        rate: playback speed relative to the recording.
        log: file for the times of publishing.
    """

    def __init__(
        self, bag: Path, topic: str, stamps: Sequence[int], rate: float, log: Path
    ) -> None:
        self._stamps = stamps
        self._log = log
        command = [sys.executable, '-m', 'siamffn_model', 'bag', 'play', str(bag)]
        options = ['--topic', topic, '--rate', str(rate), '--wait', str(STALL_TIMEOUT)]
        self._process = subprocess.Popen(
            [*command, *options, '--log', str(log)], start_new_session=True
        )

    def poll(self) -> dict[int, int] | None:
        """Return stamp -> time of publishing (both in nanoseconds) at the end, None before.

        Raises `ProcessError` if the player has failed.
        """
        code = self._process.poll()
        if code is None:
            return None
        if code:
            raise ProcessError(f'the bag player ended with exit code {code}: see its message above')
        with self._log.open() as file:
            return {stamp: int(time) for stamp, (_, _, time) in zip(self._stamps, csv.reader(file))}

    def stop(self) -> None:
        """Terminate the player."""
        self._process.terminate()
        self._process.wait()


@contextmanager
def node_with_executor(
    make_node: Callable[[], AnyNode], make_executor: Callable[[], Executor]
) -> Iterator[tuple[AnyNode, Executor]]:
    """Initialise ROS in this process, provide a node with its executor, and shut all down."""
    with ros_context():
        node, executor = make_node(), make_executor()
        executor.add_node(node)
        try:
            yield node, executor
        finally:
            executor.shutdown()
            node.destroy_node()
