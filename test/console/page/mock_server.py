"""A server that speaks the console's protocol without any tracker, for the tests of the page."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from aiohttp import WSMsgType, web

from siamffn_model.console import protocol
from siamffn_model.console.backend import TrackerInfo
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image
from siamffn_model.live.results import Result, Target
from siamffn_model.tracking import State

STATIC = Path(protocol.__file__).parent / 'static'
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'"
)
SIZE = (640, 360)
SIDE = 40  # of the blue square
FIRST_STAMP = 1_700_000_000_000_000_001  # nanoseconds: not exact as a JavaScript number
T = TypeVar('T')


def stamp_of(number: int) -> int:
    return FIRST_STAMP + number * 33_333_333


def square_of(number: int) -> Box:
    """Return where the blue square is in an image: its place says which image it is."""
    return Box(40 + 25 * (number % 20), 150, SIDE, SIDE)


def picture(number: int) -> Image:
    """Return an image, BGR uint8 (360, 640, 3), with the blue square on grey."""
    image = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    x, y, w, h = map(int, square_of(number))
    image[y : y + h, x : x + w] = (255, 0, 0)
    return image


def target(name: str, box: Box, state: State = State.TRACKING, processed: int = 1) -> Target:
    """Return a target with this box; it is the searched region of a LOST target."""
    lost = state is State.LOST
    score = {State.TRACKING: 0.93, State.UNCERTAIN: 0.41, State.LOST: 0.08}[state]
    place = (None, box) if lost else (box, None)
    return Target(name, state, *place, score, processed, 2, 21.4)


class MockServer:
    """Serves the page in a thread; sends what the test says, and keeps what the page sends.

    Attributes:
        requests: messages of the page except acknowledgements, in order.
        acknowledged: sequence numbers that the page has acknowledged.
        refusal: if not empty, the next requests are refused with it.
        answering: whether requests are answered.
        token_is_wrong: whether everything is refused.
        stats: the figures that are sent regularly.
    """

    def __init__(self) -> None:
        self.requests: list[protocol.Request] = []
        self.acknowledged: list[int] = []
        self.refusal = ''
        self.answering = True
        self.token_is_wrong = False
        self.stats: dict[str, object] = {
            'fps': 30.0,
            'received': 9,
            'dropped': 0,
            'latency_ms': 30.0,
        }
        self.trackers = (TrackerInfo('/siamffn', '/camera/image_raw'),)
        self.sequence = 0
        self._arrived = threading.Condition()
        self._sockets: set[web.WebSocketResponse] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.port = 0
        self.start()

    # --- for the test's thread

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.port}/'

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._run(self._start())

    def stop(self) -> None:
        """Close all connections and stop listening."""
        self._run(self._runner.cleanup())

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def send(self, text: str) -> None:
        self._run(self._send_all(text))

    def send_image(self, number: int, image: Image | None = None) -> None:
        """Send an image, by default the one with the square; JPEGs are half as large."""
        image = picture(number) if image is None else image
        height, width = image.shape[:2]
        small = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        jpeg = cv2.imencode('.jpg', small)[1].tobytes()
        self.sequence += 1
        message = protocol.pack_frame(stamp_of(number), self.sequence, (width, height), jpeg)
        self._run(self._send_all(message))

    def send_result(self, number: int, *targets: Target, **operators: str) -> None:
        self.send(protocol.result_message(Result(stamp_of(number), targets), operators))

    def show(self, number: int, *targets: Target, image: Image | None = None) -> None:
        """Send an image and its result."""
        self.send_result(number, *targets)
        self.send_image(number, image)

    def send_trackers(self, *trackers: TrackerInfo) -> None:
        self.trackers = trackers or self.trackers
        self.send(protocol.trackers_message(self.trackers, self.trackers[0].name))

    def wait_for(self, kind: str) -> protocol.Request:
        """Return the oldest message of this type that was not yet returned."""

        def find() -> protocol.Request | None:
            return next((each for each in self.requests if each.type == kind), None)

        with self._arrived:
            assert self._arrived.wait_for(find, timeout=20), f'no {kind} in {self.requests}'
            found = find()
            assert found
            self.requests.remove(found)
            return found

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    # --- in the thread of the loop

    async def _start(self) -> None:
        app = web.Application(middlewares=[self._guard])
        app.router.add_get('/', self._page)
        app.router.add_get('/ws', self._connect)
        app.router.add_static('/static/', STATIC)
        app.on_response_prepare.append(self._add_policy)
        app.on_shutdown.append(self._disconnect)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, '127.0.0.1', self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._figures = asyncio.create_task(self._send_figures())

    async def _send_figures(self) -> None:
        while True:
            figures = {'received': 9, 'clients': 1, 'recording': False, **self.stats}
            await self._send_all(protocol.message('stats', **figures))
            await asyncio.sleep(0.5)

    async def _add_policy(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers['Content-Security-Policy'] = POLICY

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.token_is_wrong:
            raise web.HTTPUnauthorized
        response: web.StreamResponse = await handler(request)
        return response

    async def _page(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(STATIC / 'index.html')

    async def _disconnect(self, app: web.Application) -> None:
        self._figures.cancel()
        for socket in list(self._sockets):
            await socket.close()

    async def _connect(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        hello = {'version': '1.0', 'client': 3, 'name': 'Operator 3', 'can_record': True}
        await socket.send_str(protocol.message('hello', **hello, stamp_origin=0))
        await socket.send_str(protocol.trackers_message(self.trackers, self.trackers[0].name))
        self._sockets.add(socket)
        self.sequence = 0
        try:
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    await self._receive(socket, protocol.parse(message.data))
        finally:
            self._sockets.discard(socket)
        return socket

    async def _receive(self, socket: web.WebSocketResponse, request: protocol.Request) -> None:
        if request.type == 'record':
            self.stats['recording'] = request.fields['on']
        number = request.fields.get('request')
        if number is not None and self.answering:
            target_id = request.fields.get('target_id') or 'target_1'
            answer = {'target_id': target_id, 'box': [390, 95, 20, 20], 'path': 'bag.mcap'}
            values = {} if self.refusal else answer
            await socket.send_str(protocol.reply_message(number, self.refusal, values))
        with self._arrived:
            if request.type == 'ack':
                self.acknowledged.append(request.fields['sequence'])
            else:
                self.requests.append(request)
            self._arrived.notify_all()

    async def _send_all(self, message: str | bytes) -> None:
        for socket in list(self._sockets):
            with contextlib.suppress(ConnectionError):
                if isinstance(message, str):
                    await socket.send_str(message)
                else:
                    await socket.send_bytes(message)
