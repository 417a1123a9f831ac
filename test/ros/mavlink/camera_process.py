"""The node mavlink_camera in its own process, with an autopilot and an operator of pymavlink."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .ground_station import (
    GCS,
    VEHICLE,
    Peer,
    acknowledgements,
    free_port,
    heartbeat,
    parse,
)

COMMAND = [sys.executable, '-m', 'siamffn_ros.mavlink.main', '--ros-args']
BUSY, IN_PROGRESS = 1, 5
TIMEOUT = 40.0  # seconds; these tests do not measure speed


@contextmanager
def camera_node(log: Path, **parameters: Any) -> Iterator[Operator]:
    """Start the node, and yield an operator who has its heartbeat; the node ends without errors."""
    port = free_port()
    parameters = {'url': f'udpin:127.0.0.1:{port}', **parameters}
    words = [word for item in parameters.items() for word in ('-p', '{}:={}'.format(*item))]
    with log.open('wb') as output:
        process = subprocess.Popen([*COMMAND, *words], stdout=output, stderr=output)
    operator = Operator(port, process)
    try:
        operator.wait_for(lambda each: each.get_type() == 'HEARTBEAT', 'heartbeat')
        yield operator
        assert operator.end() == 0
        assert 'internal error' not in log.read_text()
    finally:
        process.kill()
        process.wait()
        operator.socket.close()
        operator.autopilot.socket.close()


class Operator(Peer):
    """A ground station, beside an autopilot that it hears, too.

    Attributes:
        messages: of the camera, oldest first.
        gimbal: rates that the autopilot was asked for, oldest first: when they arrived, on the
            clock of `time.monotonic`, yaw and pitch in rad/s.
        process: the node.
        autopilot_beats: whether the autopilot sends heartbeats.
    """

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        super().__init__(port, *GCS)
        self.process = process
        self.autopilot = Peer(port, VEHICLE, 1)
        self.messages: list[Any] = []
        self.gimbal: list[tuple[float, float, float]] = []
        self.autopilot_beats = True
        self._beat = 0.0

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send the node a signal unless it has ended; return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(TIMEOUT)

    def look(self) -> None:
        """Send the heartbeats and take what has arrived."""
        if time.monotonic() - self._beat > 0.5:
            self._beat = time.monotonic()
            if self.autopilot_beats:
                self.autopilot.send(self.autopilot.station.pack(heartbeat()))
            self.send(self.station.pack(heartbeat(autopilot=False)))
        self.messages += self.received()
        for data in self.autopilot.datagrams():
            message = parse(data)
            if message.get_type() == 'GIMBAL_MANAGER_SET_PITCHYAW':
                assert (message.target_system, message.target_component) == (VEHICLE, 1)
                self.gimbal.append((time.monotonic(), message.yaw_rate, message.pitch_rate))

    def wait_for(self, condition: Callable[[Any], object], what: str) -> Any:
        """Return the first message of this kind that has arrived since the last call."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            self.look()
            while self.messages:
                message = self.messages.pop(0)
                if condition(message):
                    return message
            time.sleep(0.005)
        raise AssertionError(f'no {what}')

    def ask(self, command: int, *parameters: float, answer: int = -1) -> tuple[int, Any]:
        """Send a command; return its result, and the message with the id `answer`."""
        self.look()
        self.messages.clear()
        self.send(self.station.command(command, *parameters))
        acknowledgement = self.wait_for(
            lambda each: each.get_type() == 'COMMAND_ACK' and each.result != IN_PROGRESS,
            f'acknowledgement of {command}',
        )
        assert acknowledgements([acknowledgement]) == [(command, acknowledgement.result, GCS)]
        message = None
        if answer >= 0:
            message = self.wait_for(lambda each: each.get_msgId() == answer, f'message {answer}')
        return acknowledgement.result, message

    def track(self, command: int, *parameters: float) -> int:
        """Send a command, again if the tracker was too slow to answer; return its result."""
        results = (self.ask(command, *parameters)[0] for _ in range(5))
        return next((result for result in results if result != BUSY), BUSY)

    def status(self) -> Any:
        """Return the next tracking status."""
        return self.wait_for(lambda each: each.get_msgId() == 275, 'tracking status')
