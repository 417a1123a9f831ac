"""Random WebSocket messages and HTTP requests."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import tracemalloc
from random import Random

import pytest

aiohttp = pytest.importorskip('aiohttp', reason='extra [console] not installed')

from siamffn_model.console import client  # noqa: E402

from .connected_page import Console, Page, open_console  # noqa: E402

LINGERING = 12  # seconds; aiohttp keeps a closed connection for 10


class Levels(logging.Handler):
    """Keeps the levels of log records, and nothing else that grows."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.add(record.levelname)


@pytest.mark.slow
def test_random_messages_and_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 of them: no exception in the log, and the memory does not grow."""
    levels = Levels()
    monkeypatch.setattr(client, 'MAX_RATE', 10**6)
    for name in ('siamffn.console', 'aiohttp.server', 'asyncio'):
        monkeypatch.setattr(logging.getLogger(name), 'handlers', [levels])
        monkeypatch.setattr(logging.getLogger(name), 'propagate', False)

    async def scenario() -> None:
        random = Random(23)
        async with open_console() as console:
            watching = await console.page()
            forgetting = asyncio.create_task(forget_messages(watching))
            tracemalloc.start()
            await attack(console, random, 500)
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            await attack(console, random, 9500)
            await asyncio.sleep(LINGERING)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            assert grown < 3e5
            forgetting.cancel()
            await asyncio.wait([forgetting])
            console.backend.frame(9)
            await watching.until(lambda: watching.frames)

    asyncio.run(asyncio.wait_for(scenario(), 100))
    assert levels.seen == {'WARNING'}  # the refusals


async def forget_messages(page: Page) -> None:
    while True:
        await page.receive()
        page.messages.clear()


async def attack(console: Console, random: Random, count: int) -> None:
    page: Page | None = None
    for _ in range(count):
        if random.random() < 0.1:
            path = random.choice(
                ['/', '/ws', '/static/', '/static/../server.py', '/\xff?token=%00']
            )
            method = random.choice(['GET', 'POST', 'PUT', 'DELETE', 'HEAD'])
            headers = random.choice([{}, {'Origin': 'x'}, {'Upgrade': 'websocket'}])
            async with console.session.request(method, console.origin + path, headers=headers):
                continue
        if page is None or page.socket.closed:
            page = await console.page()
        try:
            if random.random() < 0.02:
                await page.socket.send_bytes(random.randbytes(random.randrange(100)))
            elif random.random() < 0.1:
                await page.socket.send_str(random_message(random))
            else:
                await page.request('stop', target_id='')
                console.backend.calls.clear()
        except (ConnectionError, aiohttp.ClientError):
            page = None
    if page:
        await page.socket.close()


def random_message(random: Random) -> str:
    """Return a message that is nearly valid."""
    fields: dict[str, object] = {
        'type': random.choice(['ack', 'view', 'init', 'point', 'stop', 'pause', 'record', 'x', 7]),
        'request': random.choice([0, 1, -1, 2**31, 1.5, None, True]),
        'stamp': random.choice(['0', '1', '-1', '9' * 19, '9' * 99, 0, '\u0663']),
        'box': random.choice([[1, 2, 3, 4], [1e308] * 4, [0, 0, 0], 'box', [None] * 4]),
        'target_id': random.choice(['', '1', '\x00', 'x' * 65, None, {}]),
    }
    for name in random.sample(sorted(fields), random.randrange(3)):
        del fields[name]
    return json.dumps(fields)
