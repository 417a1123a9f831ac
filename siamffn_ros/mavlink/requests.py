"""The requests to track and to stop, of all ground stations: one at a time, each executed once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from pymavlink.dialects.v20 import common as mavlink

from siamffn_model.errors import NotReadyError, SiamFFNError
from siamffn_ros.mavlink.address import Address

REPEAT = 4.0  # seconds; QGroundControl repeats a command 3 s after it, or its acknowledgement
MAX_REPEAT = 10.0  # seconds; QGroundControl sends a command three times
PROGRESS = 1.0  # seconds between two acknowledgements that a request is in progress
MAX_REQUESTS = 32  # that are remembered
IN_PROGRESS = mavlink.MAV_RESULT_IN_PROGRESS
BUSY = mavlink.MAV_RESULT_TEMPORARILY_REJECTED


@dataclass
class Request:
    """A command to track or to stop.

    Attributes:
        parameters: of the command; a copy has the same sender, command and parameters.
        start: starts what is requested.
        received: time in seconds.
        time: that of the last copy or acknowledgement.
        future: of `start`, once it has been called.
        result: MAV_RESULT; None before it is known.
        error: why it was refused; empty if it was not.
    """

    sender: Address
    command: int
    parameters: tuple[float, ...]
    start: Callable[[], Future[Any]]
    received: float
    time: float = 0.0
    future: Future[Any] | None = None
    result: int | None = None
    error: str = ''

    def __post_init__(self) -> None:
        self.time = self.received

    def is_copy_of(self, other: Request) -> bool:
        """Return whether it is the same command of the same sender, sent again."""
        mine = (self.sender, self.command, self.parameters)
        return (
            mine == (other.sender, other.command, other.parameters)
            and self.received - other.time < REPEAT
            and self.received - other.received < MAX_REPEAT
        )


class RequestQueue:
    """Executes one request after the other; the newest replaces those that wait.

    A command to track that arrives again is a copy within `REPEAT` of the last copy or
    acknowledgement, and `MAX_REPEAT` of the first: its sender has missed the acknowledgement. It is
    answered, but not executed again, since its box was drawn on an earlier image. If another
    command came in between, it is refused. What has failed is executed again.
    """

    def __init__(self) -> None:
        self._requests: list[Request] = []  # oldest first
        self._running: Request | None = None
        self._waiting: Request | None = None
        self._replaced: list[Request] = []

    def is_last(self, request: Request) -> bool:
        """Return whether no other request came after this one."""
        return self._requests[-1] is request

    def add(self, request: Request, once: bool) -> int | None:
        """Add a request; return the result of an earlier copy, None if there is nothing to answer.

        Args:
            request: to be executed.
            once: whether a copy is not executed again.
        """
        copied = (each for each in reversed(self._requests) if request.is_copy_of(each))
        earlier = next(copied, None) if once else None
        if earlier and not self.is_last(earlier):
            earlier.time = request.received
            return BUSY
        if earlier and earlier.result in (None, mavlink.MAV_RESULT_ACCEPTED):
            earlier.time = request.received
            return IN_PROGRESS if earlier.result is None else earlier.result
        self._requests = [*self._requests[1 - MAX_REQUESTS :], request]
        if self._waiting:
            self._waiting.result = BUSY
            self._replaced.append(self._waiting)
        self._waiting = request
        return None

    def step(self, now: float) -> list[tuple[Request, int]]:
        """Start the next request if the last one is done; return what to acknowledge now."""
        answers = [(each, BUSY) for each in self._replaced]
        self._replaced.clear()
        while (running := self._next()) and running.future and running.future.done():
            running.result, running.error = _result(running.future)
            running.time = now
            answers.append((running, running.result))
            self._running = None
        for each in (self._running, self._waiting):
            if each and now - each.time >= PROGRESS:
                each.time = now
                answers.append((each, IN_PROGRESS))
        return answers

    def _next(self) -> Request | None:
        """Return the request that is executed; start the one that waits if there is none."""
        if self._running is None and self._waiting:
            self._running, self._waiting = self._waiting, None
            self._running.future = self._running.start()
        return self._running


def _result(future: Future[Any]) -> tuple[int, str]:
    """Return the MAV_RESULT of a request that is done, and why it was refused."""
    error = future.exception()
    if error is None:
        return mavlink.MAV_RESULT_ACCEPTED, ''
    if isinstance(error, NotReadyError):
        return mavlink.MAV_RESULT_TEMPORARILY_REJECTED, str(error)
    if isinstance(error, SiamFFNError):
        return mavlink.MAV_RESULT_FAILED, str(error)
    return mavlink.MAV_RESULT_FAILED, f'internal error: {error!r}'
