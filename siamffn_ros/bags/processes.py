"""The tracker node and the bag player in processes of their own.

The processes are in sessions of their own, so that Ctrl-C reaches only the first, which ends them.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

import rclpy
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from siamffn_model.errors import ProcessError

NODE_MODULE = 'siamffn_ros.node.tracker_node'
PATIENCE = 20.0  # seconds without progress after which a run is given up

AnyNode = TypeVar('AnyNode', bound=Node)


def node_arguments(params_file: Path | None, **values: object) -> list[str]:
    """Return the ROS arguments that give a parameter file and, over it, what is not None."""
    words = ['--params-file', str(params_file)] if params_file else []
    for name, value in values.items():
        if value is not None:
            text = json.dumps(value if isinstance(value, bool) else str(value))
            words += ['-p', f'tracker:{name}:={text}']
    return words


class TrackerProcess:
    """The tracker node in its own process."""

    def __init__(self, log: Path, arguments: list[str]) -> None:
        self.log = log
        self._output: IO[bytes] = log.open('wb')
        command = [sys.executable, '-m', NODE_MODULE, '--ros-args', *arguments]
        self._process = subprocess.Popen(
            command, stdout=self._output, stderr=self._output, start_new_session=True
        )

    def check(self) -> None:
        """Raise `ProcessError` with the end of its log if the node has died."""
        if self._process.poll() is not None:
            self.fail(f'the node died (exit code {self._process.returncode})')

    def fail(self, what: str) -> None:
        """Raise `ProcessError` with the end of the log."""
        lines = self.log.read_text(errors='replace').splitlines()[-15:]
        raise ProcessError('\n'.join([f'{what}; the end of {self.log}:', *lines]))

    def stop(self) -> None:
        """End the process, kindly first."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()


class Player:
    """`siamffn bag play` in its own process, of one topic; `stamps` are those of its messages."""

    def __init__(
        self, bag: Path, topic: str, stamps: Sequence[int], rate: float, log: Path
    ) -> None:
        self._stamps = stamps
        self._log = log
        options = ['--wait', str(PATIENCE), '--log', str(log), '--rate', str(rate)]
        command = [sys.executable, '-m', 'siamffn_model', 'bag', 'play', str(bag), '--topic', topic]
        self._process = subprocess.Popen([*command, *options], start_new_session=True)

    def poll(self) -> dict[int, int] | None:
        """Return time of publishing by stamp once all images are played, None before."""
        code = self._process.poll()
        if code is None:
            return None
        if code:
            raise ProcessError(f'the bag player ended with exit code {code}: see its message above')
        with self._log.open() as file:
            return {stamp: int(time) for stamp, (_, _, time) in zip(self._stamps, csv.reader(file))}

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()


@contextmanager
def graph(
    make_node: Callable[[], AnyNode], make_executor: Callable[[], Executor]
) -> Iterator[tuple[AnyNode, Executor]]:
    """Provide a node and its executor, and end both."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node, executor = make_node(), make_executor()
    executor.add_node(node)
    try:
        yield node, executor
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown()
