"""One page that is connected: what it is sent, and how fast."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable

from aiohttp import web

from siamffn_model.console.backend import Result
from siamffn_model.console.picture import LEVELS, Level
from siamffn_model.console.protocol import result_message
from siamffn_model.console.stream import Stream
from siamffn_model.errors import ImageError

MAX_IN_FLIGHT = 2  # images that were sent and not yet acknowledged
MAX_TEXTS = 100  # messages that wait to be sent; older ones are dropped
SEND_TIMEOUT = 10.0  # seconds without progress after which a page is disconnected
RESULT_PERIOD = 0.1  # seconds between results that are sent without their image
SLOW, FAST = 0.25, 0.1  # seconds of a round trip that lower and raise the quality
SETTLE_ACKS = 4  # acknowledgements after a change of quality before the next
RAISE_SECONDS = 3.0  # of fast round trips before the quality is raised


class Quality:
    """The level of a page's images, chosen from the round trips of the last ones.

    A slow round trip lowers the quality. If that does not shorten it, the link is slow to answer,
    not narrow: the level is restored, and such round trips are accepted from then on.
    """

    def __init__(self) -> None:
        self._index = 0  # in LEVELS, as the link allows
        self._fitting = 1  # in LEVELS, the smallest with as many pixels as the page shows
        self._floor = 0.0  # seconds of a round trip that the size has no influence on
        self._before = 0.0  # round trip before the quality was lowered; 0 once that was judged
        self._acks = 0  # since the last change
        self._fast_since = time.monotonic()

    @property
    def level(self) -> Level:
        """The level to encode with."""
        return LEVELS[max(self._index, self._fitting)]

    def fit(self, width: int) -> None:
        """Take the width of the picture on the page in pixels of its screen."""
        self._fitting = max(
            (number for number, level in enumerate(LEVELS) if level.width >= width), default=0
        )

    def on_round_trip(self, seconds: float) -> None:
        """Take the time from sending an image to its acknowledgement."""
        now = time.monotonic()
        self._floor = min(self._floor, seconds)
        if seconds > max(FAST, 1.2 * self._floor):
            self._fast_since = now
        self._acks += 1
        if self._acks < SETTLE_ACKS:
            return
        if self._before and seconds > 0.85 * self._before:  # it was no use
            self._floor = seconds
            self._change(-1)
        elif seconds > max(SLOW, 1.5 * self._floor):
            self._index = max(self._index, self._fitting)
            self._change(+1)
            self._before = seconds
        elif now - self._fast_since > RAISE_SECONDS:
            self._change(-1)
            self._fast_since = now
        else:
            self._before = 0.0

    def _change(self, step: int) -> None:
        self._index = min(max(self._index + step, 0), len(LEVELS) - 1)
        self._before, self._acks = 0.0, 0


class Client:
    """A page's WebSocket; its `run` sends until the page is gone.

    Args:
        number: unique number.
        socket: the WebSocket, prepared.

    Attributes:
        name: name of the operator.
        tracker: name of the tracker that is watched; empty for none.
        stream: that of the tracker.
        pending: number of requests that are not yet answered.
    """

    def __init__(self, number: int, socket: web.WebSocketResponse) -> None:
        self.number, self.socket = number, socket
        self.name = f'operator {number}'
        self.tracker = ''
        self.stream: Stream | None = None
        self.pending = 0
        self.quality = Quality()
        self._texts: deque[str] = deque(maxlen=MAX_TEXTS)
        self._in_flight: dict[int, float] = {}  # time of sending by sequence number
        self._sequence = 0  # of the last image that was sent
        self._result_stamp = -1  # of the last result that was sent
        self._result_time = 0.0
        self._wake = asyncio.Event()

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
            self.quality.on_round_trip(time.monotonic() - sent)
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
        try:
            message = await asyncio.shield(picture.message(self.quality.level))  # others wait, too
        except ImageError:
            return  # the tracker reports it
        await self._send_result(stream, picture.result or stream.result)
        self._in_flight[picture.sequence] = time.monotonic()
        await _send(self.socket.send_bytes(message))

    async def _send_result(self, stream: Stream, result: Result | None) -> None:
        if result is None or result.stamp == self._result_stamp:
            return
        self._result_stamp, self._result_time = result.stamp, time.monotonic()
        await _send(self.socket.send_str(result_message(result, stream.operators)))


async def _send(sending: Awaitable[None]) -> None:
    await asyncio.wait_for(sending, SEND_TIMEOUT)
