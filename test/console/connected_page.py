"""The console's server in the event loop of a test, and pages that are connected to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp.test_utils import TestServer

from siamffn_model.console.access import Access
from siamffn_model.console.protocol import FRAME_HEADER
from siamffn_model.console.server import ConsoleServer

from .fake_backend import FakeBackend

TIMEOUT = 30.0  # seconds that nothing takes


class Page:
    """A page's end of the WebSocket: sorts what arrives.

    Attributes:
        frames: (stamp, sequence, width, height, JPEG) of every image.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.messages: list[dict[str, Any]] = []
        self.frames: list[tuple[int, int, int, int, bytes]] = []
        self.acknowledges = True
        self._requests = 0

    async def receive(self) -> None:
        """Take the next message; acknowledge it if it is an image."""
        item = await self.socket.receive(TIMEOUT)
        if item.type == aiohttp.WSMsgType.TEXT:
            self.messages.append(json.loads(item.data))
        elif item.type == aiohttp.WSMsgType.BINARY:
            header = FRAME_HEADER.unpack_from(item.data)
            self.frames.append((*header, item.data[FRAME_HEADER.size :]))
            if self.acknowledges:
                await self.send('ack', sequence=header[1])
        else:
            raise ConnectionError(f'{item.type}: {self.socket.close_code} {item.extra}')

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Receive until a condition is true; return its value."""
        while not (value := condition()):
            await self.receive()
        return value

    async def message(self, kind: str, **values: object) -> dict[str, Any]:
        """Return the next message of a type with these values, also one that has arrived."""

        def find() -> dict[str, Any] | None:
            for number, each in enumerate(self.messages):
                if each['type'] == kind and values.items() <= each.items():
                    return self.messages.pop(number)
            return None

        found: dict[str, Any] = await self.until(find)
        return found

    async def send(self, kind: str, **fields: object) -> None:
        await self.socket.send_str(json.dumps({'type': kind, **fields}))

    async def request(self, kind: str, **fields: object) -> dict[str, Any]:
        """Send a request and return the reply."""
        self._requests += 1
        await self.send(kind, request=self._requests, **fields)
        return await self.message('reply', request=self._requests)


class Console:
    """A server on a free port with a fake back end, and a session for its pages."""

    def __init__(
        self, server: TestServer, session: aiohttp.ClientSession, backend: FakeBackend
    ) -> None:
        self.server, self.session, self.backend = server, session, backend

    @property
    def origin(self) -> str:
        return f'http://127.0.0.1:{self.server.port}'

    async def page(self, **options: Any) -> Page:
        """Connect a page and wait for its trackers."""
        options.setdefault('headers', {'Origin': self.origin})
        page = Page(await self.session.ws_connect(f'{self.origin}/ws', **options))
        await page.message('hello')
        await page.message('trackers')
        return page


@asynccontextmanager
async def open_console(token: str | None = None) -> AsyncIterator[Console]:
    backend = FakeBackend()
    server = TestServer(ConsoleServer(backend, Access(token)).application(), host='127.0.0.1')
    await server.start_server()
    async with aiohttp.ClientSession() as session:
        yield Console(server, session, backend)
    await server.close()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine function to its end."""

    async def limited() -> None:
        await asyncio.wait_for(scenario(), TIMEOUT)

    asyncio.run(limited())
