"""A TCP link with a delay and a bandwidth between a page and a server on this machine."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from types import TracebackType

CHUNK = 4096  # bytes


class Link:
    """Listens on `port` and passes everything on, in a thread of its own.

    Args:
        target: port of the server.
        delay: seconds in each direction.
        bandwidth: bytes per second in each direction; 0 for no limit.
    """

    def __init__(self, target: int, delay: float = 0.0, bandwidth: float = 0.0) -> None:
        self._target, self._delay, self._bandwidth = target, delay, bandwidth
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Link:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._accept, '127.0.0.1', 0), self._loop
        ).result()
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError, ConnectionError):
            to_server = await asyncio.open_connection('127.0.0.1', self._target, limit=CHUNK)
            await asyncio.gather(
                self._pass_on(reader, to_server[1]), self._pass_on(to_server[0], writer)
            )

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        sender = asyncio.create_task(self._deliver(queue, writer))
        try:
            while data := await reader.read(CHUNK):
                if self._bandwidth:
                    await asyncio.sleep(len(data) / self._bandwidth)
                queue.put_nowait((self._loop.time() + self._delay, data))
        except ConnectionError:
            pass
        queue.put_nowait((self._loop.time() + self._delay, b''))
        await sender

    async def _deliver(
        self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        try:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(due - self._loop.time())
                if not data:
                    return
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
