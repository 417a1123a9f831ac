"""One page that is connected: what it is sent, and how fast."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable
from typing import NamedTuple

from aiohttp import web

from siamffn_model.console.picture import LEVELS
from siamffn_model.console.protocol import event_message, result_message
from siamffn_model.console.stream import Stream
from siamffn_model.errors import ConfigError, ImageError
from siamffn_model.live.results import Result

MAX_IN_FLIGHT = 2  # images that were sent and not yet acknowledged
MAX_TEXTS = 100  # messages that wait to be sent; older ones are dropped
MAX_RATE = 300  # messages of a page in a second; it acknowledges each image
SEND_TIMEOUT = 10.0  # seconds without progress after which a page is disconnected
RESULT_PERIOD = 0.1  # seconds between results that are sent without their image
SLOW, FAST = 0.25, 0.1  # seconds of a round trip that lower and raise the quality
FIRST_LEVEL = 3  # in LEVELS
MIN_PATIENCE, MAX_PATIENCE = 5, 100  # fast round trips that raise the quality


class Sent(NamedTuple):
    """An image that was sent: its time, its level, its bytes and those in flight with it."""

    time: float
    level: int
    size: int
    in_flight: int


class _Lowered(NamedTuple):
    """The level before it was lowered, and the round trip for the bytes in flight then."""

    level: int
    seconds: float
    in_flight: int


class Quality:
    """The level of a page's images, chosen from the round trips of the last ones.

    It starts with small images. Fast round trips raise the level, a slow one lowers it by as much
    as it takes. If fewer bytes do not shorten the round trip, the link is slow to answer, not
    narrow: the level is restored, and such round trips are accepted from then on.
    """

    def __init__(self) -> None:
        self._index = FIRST_LEVEL  # as the link allows
        self._fitting = 1  # the smallest level with as many pixels as the page shows
        self._floor = 0.0  # seconds of a round trip that the size has no influence on
        self._lowered: _Lowered | None = None  # until it is known whether that was of use
        self._fast = 0  # fast round trips in a row
        self._patience = MIN_PATIENCE  # fast round trips that raise the level

    @property
    def level(self) -> int:
        """The level to encode with, in `LEVELS`."""
        return max(self._index, self._fitting)

    def fit(self, width: int) -> None:
        """Take the width of the picture on the page in pixels of its screen."""
        self._fitting = max(
            (number for number, level in enumerate(LEVELS) if level.width >= width), default=0
        )

    def on_round_trip(self, seconds: float, sent: Sent) -> None:
        """Take the time from sending an image to its acknowledgement."""
        if sent.level != self.level:
            return  # sent before the last change
        self._floor = min(self._floor, seconds)
        if self._was_of_no_use(seconds, sent):
            return
        if seconds > (limit := max(SLOW, 1.5 * self._floor)):
            self._lower(seconds, sent, limit)
        elif seconds > max(FAST, 1.2 * self._floor):
            self._fast = 0
        else:
            self._fast += 1
            if self._fast >= self._patience:
                self._change(max(sent.level - 1, 0))

    def _was_of_no_use(self, seconds: float, sent: Sent) -> bool:
        """Judge the last lowering once fewer bytes are in flight; undo it if it was of no use."""
        before = self._lowered
        if before is None or sent.in_flight > 0.8 * before.in_flight:
            return False
        self._lowered = None
        narrow = before.seconds * sent.in_flight / before.in_flight  # on a link that is narrow
        if seconds < (narrow + before.seconds) / 2:
            return False
        self._floor, self._patience = seconds, MIN_PATIENCE
        self._change(before.level)
        return True

    def _lower(self, seconds: float, sent: Sent, limit: float) -> None:
        """Choose the level that is expected to keep the limit."""
        self._patience = min(4 * self._patience, MAX_PATIENCE)
        costs = [seconds * each.cost / LEVELS[sent.level].cost for each in LEVELS]
        lower = range(sent.level + 1, len(LEVELS))
        if lower:
            self._lowered = _Lowered(sent.level, seconds, sent.in_flight)
            self._change(next((each for each in lower if costs[each] <= limit), lower[-1]))

    def _change(self, level: int) -> None:
        self._index, self._fast = level, 0


class Client:
    """A page's WebSocket; its `run` sends until the page is gone.

    Args:
        number: unique number.
        socket: the WebSocket, prepared.

    Attributes:
        name: name of the operator.
        tracker: name of the tracker that is watched; empty for none.
        stream: that of the tracker.
        pending: types of the requests that are not yet answered.
    """

    def __init__(self, number: int, socket: web.WebSocketResponse) -> None:
        self.number, self.socket = number, socket
        self.name = f'operator {number}'
        self.tracker = ''
        self.stream: Stream | None = None
        self.pending: list[str] = []
        self.quality = Quality()
        self._texts: deque[str] = deque(maxlen=MAX_TEXTS)
        self._in_flight: dict[int, Sent] = {}  # by sequence number
        self._sequence = 0  # of the last image that was sent
        self._result_stamp = -1  # of the last result that was sent
        self._result_time = 0.0
        self._complaint = ''  # why an image could not be shown
        self._wake = asyncio.Event()
        self._second = 0.0  # begin of the second in which messages are counted
        self._received = 0  # messages in it

    def count_message(self) -> None:
        """Count a message of the page; raises `ConfigError` if there are too many."""
        now = time.monotonic()
        if now - self._second >= 1:
            self._second, self._received = now, 0
        self._received += 1
        if self._received > MAX_RATE:
            raise ConfigError(f'more than {MAX_RATE} messages in a second: reload the page')

    def watch(self, tracker: str, stream: Stream | None) -> None:
        """Send the images and results of this tracker from now on."""
        self.tracker, self.stream = tracker, stream
        self._result_stamp = -1
        self.wake()

    def send(self, text: str) -> None:
        """Send a message when those before it are sent; does not wait."""
        self._texts.append(text)
        self.wake()

    def wake(self) -> None:
        """Look whether there is something to send."""
        self._wake.set()

    @property
    def can_take(self) -> bool:
        """Whether another image may be sent."""
        return len(self._in_flight) < MAX_IN_FLIGHT

    def acknowledge(self, sequence: int) -> None:
        """Take the page's acknowledgement of an image; unknown numbers are ignored."""
        sent = self._in_flight.pop(sequence, None)
        if sent is not None:
            self.quality.on_round_trip(time.monotonic() - sent.time, sent)
            self.wake()

    async def run(self) -> None:
        """Send what there is, until the connection is closed or takes nothing for long."""
        try:
            while not self.socket.closed:
                await self._wake.wait()
                self._wake.clear()
                while self._texts:
                    await _send(self.socket.send_str(self._texts.popleft()))
                if self.stream:
                    await self._send_stream(self.stream)
        except (ConnectionError, asyncio.TimeoutError):
            pass

    async def _send_stream(self, stream: Stream) -> None:
        picture = stream.ready(self._sequence) if self.can_take else None
        if picture is None:
            if time.monotonic() - self._result_time > RESULT_PERIOD:
                await self._send_result(stream, stream.result)
            return
        self._sequence = picture.sequence
        level = self.quality.level
        try:
            data = await asyncio.shield(picture.message(level))  # others wait for it, too
        except ImageError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                self.send(event_message(self._complaint))
            return
        await self._send_result(stream, picture.result or stream.result)
        size = len(data)
        in_flight = size + sum(sent.size for sent in self._in_flight.values())
        self._in_flight[picture.sequence] = Sent(time.monotonic(), level, size, in_flight)
        await _send(self.socket.send_bytes(data))

    async def _send_result(self, stream: Stream, result: Result | None) -> None:
        if result is None or result.stamp == self._result_stamp:
            return
        self._result_stamp, self._result_time = result.stamp, time.monotonic()
        await _send(self.socket.send_str(result_message(result, stream.operators, stream.starting)))


async def _send(sending: Awaitable[None]) -> None:
    await asyncio.wait_for(sending, SEND_TIMEOUT)
