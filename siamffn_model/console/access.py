"""Who may connect to the console: pages of its own address, with its token."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from weakref import WeakSet

from aiohttp import web

from siamffn_model.console.address import is_own_host

SILENCE = 5.0  # seconds; a connection without a request is closed after once to twice that
MAX_PATH = 200  # bytes of the path of a request
HEADERS = {
    'Content-Security-Policy': "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cache-Control': 'no-store',
}


class Access:
    """Refuses other hosts, other origins and pages without the token.

    Args:
        token: text that pages must present; None for none.
    """

    def __init__(self, token: str | None = None) -> None:
        self._token = token
        self._served: WeakSet[object] = WeakSet()  # connections that have sent a request

    @web.middleware
    async def guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Refuse other hosts, other origins and pages without the token."""
        self._served.add(request.transport)
        if not is_own_host(request.headers.get('Host', '')):
            raise web.HTTPForbidden(text='unknown host: open the address that the console prints\n')
        origin = request.headers.get('Origin')
        if origin not in (None, f'http://{request.host}', f'https://{request.host}'):
            raise web.HTTPForbidden(text='another origin: open the address of the console itself\n')
        if len(request.rel_url.raw_path) > MAX_PATH:
            raise web.HTTPNotFound(text='no such page\n')
        given = request.query.get('token') or request.cookies.get(_cookie(request), '')
        if self._token and not hmac.compare_digest(given.encode(), self._token.encode()):
            raise web.HTTPUnauthorized(text='no valid token: open the address with ?token=...\n')
        response = await handler(request)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def enter(self, request: web.Request) -> web.Response | None:
        """Return the answer to an address with the token, which becomes a cookie; None else."""
        if 'token' not in request.query or not self._token:
            return None
        redirect = web.Response(status=303, headers={'Location': '/'})
        redirect.set_cookie(_cookie(request), self._token, httponly=True, samesite='Strict')
        return redirect

    async def close_silent(self, server: web.Server) -> None:
        """Close the connections that send no request: each takes a file descriptor."""
        silent: set[object] = set()
        while True:
            await asyncio.sleep(SILENCE)
            for connection in server.connections:
                if connection in silent and connection.transport not in self._served:
                    connection.force_close()
            silent = set(server.connections)


def _cookie(request: web.Request) -> str:
    """Return the name of the cookie with the token: of this port, as cookies belong to a host."""
    assert request.transport
    return f'siamffn_token_{request.transport.get_extra_info("sockname")[1]}'
