"""Serve the console until a signal ends it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import socket
from types import FrameType

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from siamffn_model.console.access import Access
from siamffn_model.console.address import is_loopback, reachable
from siamffn_model.console.backend import Backend
from siamffn_model.console.server import LOG, ConsoleServer
from siamffn_model.signals import END_SIGNALS, handle_signals


def run(backend: Backend, listening: socket.socket) -> None:
    """Print the addresses of the page, and serve until SIGINT or one of `END_SIGNALS`.

    Pages must present a random token, which is in the addresses, unless only programs on this
    machine can reach the socket. The addresses are not logged: readers of the log, such as that of
    ROS, would learn the token.

    Args:
        backend: the trackers; it is closed at the end.
        listening: what `listen` returned; it is closed at the end.
    """
    asyncio.run(_serve(backend, listening))


async def _serve(backend: Backend, listening: socket.socket) -> None:
    token = None if is_loopback(listening) else secrets.token_urlsafe(16)
    access = Access(token)
    logger = LOG.getChild('http')
    logger.addFilter(_name_refusal)
    runner = web.AppRunner(
        ConsoleServer(backend, access).application(), access_log=None, logger=logger
    )
    await runner.setup()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def request_stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop.set)

    restore_handlers = handle_signals((signal.SIGINT, *END_SIGNALS), request_stop)
    try:
        await web.SockSite(runner, listening).start()
        assert runner.server
        closing = asyncio.create_task(access.close_silent(runner.server))
        for address in reachable(listening):
            query = f'?token={token}' if token else ''
            print(f'open http://{address}/{query}', flush=True)
        await stop.wait()
        closing.cancel()
    finally:
        await runner.cleanup()
        restore_handlers()


def _name_refusal(record: logging.LogRecord) -> bool:
    """Let a request that is not HTTP be one line in the log, without a traceback."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError | web.RequestPayloadError):
        record.levelno, record.levelname = logging.WARNING, 'WARNING'
        record.msg, record.args = 'a request is refused: %s', (type(error).__name__,)
        record.exc_info = None
    return True
