"""The console's web server: the page, and a WebSocket for each of them."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from siamffn_model.console import protocol
from siamffn_model.console.access import Access
from siamffn_model.console.backend import Backend, CameraFrame, TrackerInfo
from siamffn_model.console.client import Client
from siamffn_model.console.protocol import Request
from siamffn_model.console.stream import RESULT_TIMEOUT, Stream
from siamffn_model.errors import ConfigError, NotReadyError, SiamFFNError
from siamffn_model.live.results import Result

LOG = logging.getLogger('siamffn.console')
STATIC = Path(__file__).parent / 'static'
MAX_CLIENTS = 8
MAX_PENDING = 8  # requests of a page that are not yet answered
REQUEST_TIMEOUT = 10.0  # seconds for the back end to answer
HEARTBEAT = 5.0  # seconds between pings, which find pages that are gone
CLOSE_TIMEOUT = 1.0  # seconds for a page to confirm that its connection is closed
SEQUENCE_BITS = 32


class ConsoleServer:
    """Connects pages to a back end. Its methods run in the event loop, except where said.

    Args:
        backend: the trackers.
        access: decides who may connect.
    """

    def __init__(self, backend: Backend, access: Access) -> None:
        self._backend, self._access = backend, access
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(1, 'encoding')
        self._streams: dict[str, Stream] = {}
        self._trackers: tuple[TrackerInfo, ...] = ()
        self._clients: dict[int, Client] = {}
        self._numbers, self._sequence = itertools.count(1), itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    def application(self) -> web.Application:
        """Return the web application."""
        application = web.Application(middlewares=[self._access.guard])
        application.router.add_get('/', self._page)
        application.router.add_get('/ws', self._websocket)
        application.router.add_static('/static', STATIC)
        application.on_shutdown.append(self._disconnect)
        application.cleanup_ctx.append(self._lifetime)
        return application

    async def _lifetime(self, _: web.Application) -> Any:
        self._backend.open(self)
        ticker = asyncio.create_task(self._tick())
        yield
        ticker.cancel()
        for task in self._tasks:
            task.cancel()
        await self._loop.run_in_executor(None, self._backend.close)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _disconnect(self, _: web.Application) -> None:
        sockets = [client.socket for client in self._clients.values()]
        await asyncio.gather(
            *(each.close(code=1001, message=b'the server ends') for each in sockets)
        )

    # --- HTTP

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return self._access.enter(request) or web.FileResponse(STATIC / 'index.html')

    # --- WebSocket

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get('Origin') is None:
            raise web.HTTPForbidden(text='no origin: a browser is required\n')
        page = web.WebSocketResponse(
            timeout=CLOSE_TIMEOUT,
            heartbeat=HEARTBEAT,
            max_msg_size=protocol.MAX_TEXT,
            compress=False,
        )
        try:
            await page.prepare(request)
        except ValueError:
            raise web.HTTPBadRequest(text='a WebSocket is required\n') from None
        if len(self._clients) >= MAX_CLIENTS:
            await page.close(code=1013, message=b'8 pages are open: close one of them')
            return page
        client = Client(next(self._numbers), page)
        self._clients[client.number] = client
        sender = asyncio.create_task(self._run(client))
        try:
            self._greet(client)
            await self._receive(client)
        finally:
            sender.cancel()
            del self._clients[client.number]
            self._update_watched()
            self._send_operators()
        return page

    async def _run(self, client: Client) -> None:
        try:
            await client.run()
        except Exception:
            LOG.exception('internal error: page %d is disconnected', client.number)
        await client.socket.close()

    def _greet(self, client: Client) -> None:
        client.send(
            protocol.message(
                'hello',
                version=1,
                client=client.number,
                name=client.name,
                can_record=self._backend.can_record,
            )
        )
        if self._trackers:
            self._select(client, self._trackers[0].name)
        else:
            client.send(protocol.trackers_message(self._trackers, ''))
        self._send_operators()

    async def _receive(self, client: Client) -> None:
        """Handle the messages of a page until it is gone or sends what is not allowed."""
        async for item in client.socket:
            try:
                client.count_message()
                if item.type != WSMsgType.TEXT:
                    raise ConfigError('a message is not text: reload the page')
                self._handle(client, protocol.parse(item.data))
            except SiamFFNError as error:
                LOG.warning('page %d is disconnected: %s', client.number, error)
                reason = str(error).encode()[:120].decode(errors='ignore').encode()
                await client.socket.close(code=1008, message=reason)
                return

    def _handle(self, client: Client, request: Request) -> None:
        fields = request.fields
        if request.type == 'ack':
            client.acknowledge(fields['sequence'])
        elif request.type == 'view':
            client.quality.fit(fields['width'])
        elif request.type == 'name':
            client.name = fields['name'].strip() or f'operator {client.number}'
            self._send_operators()
        elif len(client.pending) >= MAX_PENDING:
            text = f'{MAX_PENDING} requests are not yet answered: wait for them'
            client.send(protocol.reply_message(fields['request'], text))
        elif request.type == 'point' and 'point' in client.pending:  # it takes the tracker's time
            text = 'the last click is not yet answered: wait for it'
            client.send(protocol.reply_message(fields['request'], text))
        else:
            client.pending.append(request.type)
            task = asyncio.create_task(self._answer(client, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    # --- requests

    async def _answer(self, client: Client, request: Request) -> None:
        """Perform a request and reply."""
        number = request.fields['request']
        try:
            values = await self._perform(client, request)
            client.send(protocol.reply_message(number, values=values))
        except SiamFFNError as error:
            client.send(protocol.reply_message(number, str(error)))
        except Exception:
            LOG.exception('internal error in a request %s', request.type)
            client.send(
                protocol.reply_message(number, 'internal error: see the log of the console')
            )
        finally:
            client.pending.remove(request.type)

    async def _perform(self, client: Client, request: Request) -> Mapping[str, object]:
        kind, fields, tracker = request.type, request.fields, client.tracker
        if kind == 'select':
            self._select(client, fields['tracker'])
            return {}
        if tracker not in self._streams:
            raise NotReadyError('no tracker is selected: start one, then choose it')
        stream = self._streams[tracker]
        if kind in ('init', 'point'):
            stamp, target_id = fields['stamp'], fields['target_id']
            future = (
                self._backend.init(tracker, fields['box'], stamp, target_id)
                if kind == 'init'
                else self._backend.init_point(
                    tracker, fields['point'], fields['radius'], stamp, target_id
                )
            )
            answer = await _result(future)
            stream.give(answer.target_id, client.name)
            self._event(tracker, f'target {answer.target_id} is given', client.name)
            return {'target_id': answer.target_id, 'box': list(answer.box)}
        if kind == 'stop':
            target_id = fields['target_id']
            await _result(self._backend.stop(tracker, target_id))
            stream.forget(target_id)
            self._event(
                tracker,
                f'target {target_id} is stopped' if target_id else 'all targets are stopped',
                client.name,
            )
            return {}
        if kind == 'pause':
            await _result(self._backend.pause(tracker, fields['paused']))
            self._event(tracker, 'paused' if fields['paused'] else 'resumed', client.name)
            return {}
        return await self._record(client, tracker, stream, fields)

    async def _record(
        self, client: Client, tracker: str, stream: Stream, fields: Mapping[str, Any]
    ) -> Mapping[str, object]:
        if not self._backend.can_record:
            raise ConfigError('this console cannot record: use the one of the ROS package')
        if fields['on']:
            path = await _result(self._backend.record(tracker, fields['images']))
            stream.recording = str(path)
            self._event(tracker, f'recording to {path}', client.name)
        else:
            path = await _result(self._backend.stop_recording(tracker))
            stream.recording = ''
            self._event(tracker, f'recorded {path}', client.name)
        return {'path': str(path)}

    def _select(self, client: Client, tracker: str) -> None:
        if tracker not in self._streams:
            known = ', '.join(self._streams) or 'none'
            raise ConfigError(f'no tracker {tracker!r}: there are {known}')
        client.watch(tracker, self._streams[tracker])
        client.send(protocol.trackers_message(self._trackers, tracker))
        self._update_watched()

    def _update_watched(self) -> None:
        self._backend.watch({client.tracker for client in self._clients.values()} - {''})

    # --- messages to all pages

    def _watchers(self, tracker: str) -> list[Client]:
        return [client for client in self._clients.values() if client.tracker == tracker]

    def _event(self, tracker: str, text: str, operator: str = '') -> None:
        LOG.info('%s: %s%s', tracker, _line(text), f' ({operator})' if operator else '')
        line = protocol.event_message(text, operator)
        for client in self._watchers(tracker):
            client.send(line)

    def _send_operators(self) -> None:
        clients = [{'id': each.number, 'name': each.name} for each in self._clients.values()]
        for client in self._clients.values():
            client.send(protocol.message('operators', clients=clients))

    async def _tick(self) -> None:
        """Send the figures once a second."""
        while True:
            await asyncio.sleep(1)
            for client in self._clients.values():
                stream = client.stream or Stream()
                client.send(
                    protocol.message(
                        'stats',
                        **stream.figures(),
                        clients=len(self._clients),
                        recording=stream.recording,
                    )
                )

    # --- the back end's reports, in any thread

    def on_trackers(self, trackers: Sequence[TrackerInfo]) -> None:
        """See `Listener`."""
        self._call(self._take_trackers, tuple(trackers))

    def on_frame(self, tracker: str, frame: CameraFrame) -> None:
        """See `Listener`."""
        self._call(self._take_frame, tracker, frame)

    def on_result(self, tracker: str, result: Result) -> None:
        """See `Listener`."""
        self._call(self._take_result, tracker, result)

    def on_event(self, tracker: str, text: str) -> None:
        """See `Listener`."""
        self._call(self._event, tracker, text)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function, *arguments)

    def _take_trackers(self, trackers: tuple[TrackerInfo, ...]) -> None:
        self._trackers = trackers
        names = [each.name for each in trackers]
        for gone in self._streams.keys() - set(names):
            del self._streams[gone]
        for name in names:
            self._streams.setdefault(name, Stream())
        for client in self._clients.values():
            if client.tracker not in names:
                first = names[0] if names else ''
                client.watch(first, self._streams.get(first))
            client.send(protocol.trackers_message(trackers, client.tracker))
        self._update_watched()

    def _take_frame(self, tracker: str, frame: CameraFrame) -> None:
        stream = self._streams.get(tracker)
        if not stream:
            return
        sequence = next(self._sequence) % 2**SEQUENCE_BITS
        picture = stream.add_frame(frame, sequence, self._pool)
        if picture is None:
            return
        for client in self._watchers(tracker):
            if client.can_take:
                picture.message(client.quality.level)  # encoded while the tracker works
            client.wake()
        if stream.has_targets:
            self._loop.call_later(RESULT_TIMEOUT, self._wake, tracker)

    def _take_result(self, tracker: str, result: Result) -> None:
        if stream := self._streams.get(tracker):
            stream.add_result(result)
            self._wake(tracker)

    def _wake(self, tracker: str) -> None:
        for client in self._watchers(tracker):
            client.wake()


def _line(text: str) -> str:
    """Return a text without line breaks and control characters, which file names may contain."""
    return ''.join(each if each.isprintable() else '\ufffd' for each in text)


async def _result(future: Future[Any]) -> Any:
    """Await a future of the back end; raises `SiamFFNError`."""
    try:
        return await asyncio.wait_for(asyncio.wrap_future(future), REQUEST_TIMEOUT)
    except (asyncio.TimeoutError, CancelledError):
        raise NotReadyError('the tracker does not answer: check that it is active') from None
