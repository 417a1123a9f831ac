"""The server: pages on real sockets, a fake back end."""

from __future__ import annotations

import asyncio
import logging
import time
from random import Random

import cv2
import numpy as np
import pytest

aiohttp = pytest.importorskip('aiohttp', reason='extra [console] not installed')

from siamffn_model.console import client  # noqa: E402
from siamffn_model.console.backend import CameraFrame  # noqa: E402
from siamffn_model.console.server import MAX_CLIENTS  # noqa: E402
from siamffn_model.imaging.geometry import Box  # noqa: E402
from siamffn_model.imaging.image import Image, decode_image  # noqa: E402
from siamffn_model.tracking import State  # noqa: E402

from .connected_page import Page, open_console, run  # noqa: E402
from .fake_backend import HEIGHT, LEFT, RIGHT, WIDTH, target  # noqa: E402
from .link import Link  # noqa: E402


def brightness(jpeg: bytes) -> float:
    image = decode_image(np.frombuffer(jpeg, np.uint8))
    assert image is not None
    return float(image.mean())


def test_images_and_results_arrive_with_their_stamps() -> None:
    async def scenario() -> None:
        async with open_console() as console:
            page, backend = await console.page(), console.backend
            assert backend.watched == {LEFT}
            backend.frame(50)
            await page.until(lambda: page.frames)
            stamp, _, width, height, jpeg = page.frames[0]
            assert (stamp, width, height) == (50 * 10**6, WIDTH, HEIGHT)
            assert brightness(jpeg) == pytest.approx(50, abs=2)
            backend.result(50, [target('1'), target('2', state=State.LOST)])
            result = await page.message('result')
            assert result['stamp'] == '50000000'
            one, two = result['targets']
            assert (one['box'], one['search'], one['state']) == ([10, 20, 30, 40], None, 'TRACKING')
            assert (two['box'], two['search'], two['state']) == (None, [10, 20, 30, 40], 'LOST')

    run(scenario)


def test_an_image_waits_for_its_targets() -> None:
    """Sent after its result, so that the page draws the boxes on exactly this image."""

    async def scenario() -> None:
        async with open_console() as console:
            page, backend = await console.page(), console.backend
            backend.frame(1)
            backend.result(1, [target('1')])
            await page.until(lambda: page.frames)
            backend.frame(2)
            backend.result(2, [target('1', Box(11, 20, 30, 40))])
            await page.until(lambda: len(page.frames) == 2)
            results = [each for each in page.messages if each['type'] == 'result']
            assert results[-1]['stamp'] == '2000000'  # it came before the image
            backend.frame(3)  # whose result does not come
            await page.until(lambda: len(page.frames) == 3)

    run(scenario)


def test_at_most_two_images_are_in_flight_and_the_newest_follows() -> None:
    async def scenario() -> None:
        async with open_console() as console:
            page, other, backend = await console.page(), await console.page(), console.backend
            page.acknowledges = False
            for number in range(1, 21):
                backend.frame(number)
                await other.until(lambda number=number: len(other.frames) == number)
            await page.message('stats')  # of a later time
            assert [frame[0] // 10**6 for frame in page.frames] == [1, 2]
            await page.send('ack', sequence=page.frames[0][1])
            await page.until(lambda: len(page.frames) == 3)
            assert page.frames[2][0] == 20 * 10**6

    run(scenario)


def test_a_jpeg_of_the_camera_is_passed_through() -> None:
    async def scenario() -> None:
        async with open_console() as console:
            page = await console.page()
            received: list[bytes] = []
            take = console.backend.listener.on_frame

            def keep(tracker, frame):  # type: ignore[no-untyped-def]
                received.append(frame.jpeg)
                take(tracker, frame)

            console.backend.listener.on_frame = keep  # type: ignore[method-assign]
            console.backend.frame(7, jpeg=True)
            await page.until(lambda: page.frames)
            assert page.frames[0][4] == received[0]
            await page.send('view', width=200, height=100)
            await page.request('stop', target_id='')
            console.backend.frame(8, jpeg=True)
            await page.until(lambda: len(page.frames) == 2)
            assert page.frames[1][2:4] == (WIDTH, HEIGHT)
            small = decode_image(np.frombuffer(page.frames[1][4], np.uint8))
            assert small is not None and small.shape[1] <= WIDTH

    run(scenario)


def test_requests_reach_the_tracker_that_is_selected() -> None:
    async def scenario() -> None:
        async with open_console() as console:
            page, backend = await console.page(), console.backend
            await page.send('name', name='Ada')
            box, stamp = [10, 20, 30.5, 40], '1700000000123456789'
            reply = await page.request('init', stamp=stamp, box=box, target_id='')
            assert reply['ok'] and (reply['target_id'], reply['box']) == ('1', box)
            event = await page.message('event')
            assert (event['operator'], event['text']) == ('Ada', 'target 1 is given')
            assert (await page.request('select', tracker=RIGHT))['ok']
            assert (await page.message('trackers'))['selected'] == RIGHT
            await page.request('point', stamp=stamp, point=[50, 60], radius=0, target_id='a')
            await page.request('stop', target_id='a')
            await page.request('pause', paused=True)
            reply = await page.request('record', on=True, images=False)
            assert reply['path'] == '/bags/1.mcap'
            reply = await page.request('record', on=False, images=False)
            assert (reply['ok'], reply['message']) == (False, 'nothing is recorded: start it first')
            assert backend.calls == [
                ('init', LEFT, Box(*box), int(stamp), ''),
                ('point', RIGHT, (50, 60), 0, int(stamp), 'a'),
                ('stop', RIGHT, 'a'),
                ('pause', RIGHT, True),
                ('record', RIGHT, False),
                ('stop_recording', RIGHT),
            ]
            assert backend.watched == {RIGHT}

    run(scenario)


def test_refusals_are_replies() -> None:
    async def scenario() -> None:
        async with open_console() as console:
            page = await console.page()
            reply = await page.request('init', stamp='0', box=[900, 0, 9, 9], target_id='')
            assert not reply['ok'] and 'lies outside the 320x240 image' in reply['message']
            reply = await page.request('select', tracker='/nowhere')
            assert reply['message'] == f"no tracker '/nowhere': there are {LEFT}, {RIGHT}"
            console.backend.answers = False
            for number in range(100, 108):
                await page.send('stop', request=number, target_id='')
            reply = await page.request('stop', target_id='')
            assert '8 requests are not yet answered' in reply['message']

    run(scenario)


def test_all_operators_see_who_gave_a_target() -> None:
    async def scenario() -> None:
        async with open_console() as console:
            first, second = await console.page(), await console.page()
            await first.send('name', name='Ada')
            operators = await second.message(
                'operators', clients=[{'id': 1, 'name': 'Ada'}, {'id': 2, 'name': 'operator 2'}]
            )
            assert operators
            await first.request('init', stamp='0', box=[10, 20, 30, 40], target_id='')
            console.backend.frame(1)
            console.backend.result(1, [target('1')])
            result = await second.message('result')
            assert result['targets'][0]['operator'] == 'Ada'
            await first.socket.close()
            await second.message('operators', clients=[{'id': 2, 'name': 'operator 2'}])

    run(scenario)


def test_trackers_come_and_go() -> None:
    async def scenario() -> None:
        async with open_console() as console:
            page, listener = await console.page(), console.backend.listener
            listener.on_trackers([])
            assert (await page.message('trackers'))['selected'] == ''
            reply = await page.request('stop', target_id='')
            assert reply['message'] == 'no tracker is selected: start one, then choose it'
            console.backend.open(listener)
            assert (await page.message('trackers', selected=LEFT))['trackers'][1]['name'] == RIGHT

    run(scenario)


def test_pages_beyond_eight_are_refused() -> None:
    async def scenario() -> None:
        async with open_console() as console:
            pages = [await console.page() for _ in range(MAX_CLIENTS)]
            headers = {'Origin': console.origin}
            refused = await console.session.ws_connect(f'{console.origin}/ws', headers=headers)
            assert (await refused.receive()).type == aiohttp.WSMsgType.CLOSE
            assert refused.close_code == 1013
            await pages[0].socket.close()
            others = [{'id': number, 'name': f'operator {number}'} for number in range(2, 9)]
            await pages[1].message('operators', clients=others)
            await console.page()

    run(scenario)


GARBAGE = ('', 'null', '[]', '{"type":"ack"}', '{"type":"init","box":[1]}', '\x00', '{' * 4000)


@pytest.mark.parametrize('text', GARBAGE)
def test_a_page_that_sends_garbage_is_disconnected(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with open_console() as console:
            page, other = await console.page(), await console.page()
            await page.socket.send_str(text)
            with pytest.raises(ConnectionError, match='1008'):
                await page.message('never')
            console.backend.frame(1)
            await other.until(lambda: other.frames)

    run(scenario)
    assert caplog.text.count('is disconnected') == 1


def test_a_page_that_sends_too_much_is_disconnected() -> None:
    async def scenario() -> None:
        async with open_console() as console:
            page = await console.page()
            with pytest.raises(ConnectionError, match='1008'):
                for _ in range(2 * client.MAX_RATE):
                    await page.send('name', name='Ada')
                await page.message('never')

    run(scenario)


def test_an_event_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scenario() -> None:
        async with open_console() as console:
            page = await console.page()
            console.backend.listener.on_event(LEFT, 'a\nfile\x1b[31m.png')
            assert (await page.message('event'))['text'] == 'a\nfile\x1b[31m.png'

    run(scenario)
    assert [record.getMessage() for record in caplog.records] == [
        f'{LEFT}: a\ufffdfile\ufffd[31m.png'
    ]


def test_a_target_that_was_given_is_starting_until_it_is_found() -> None:
    """Also one that is given again: results in between are not those of a stopped target."""

    async def states(page: Page, number: int) -> list[tuple[str, str]]:
        result = await page.message('result', stamp=str(number * 10**6))
        return [(each['id'], each['state']) for each in result['targets']]

    async def scenario() -> None:
        async with open_console() as console:
            page, other, backend = await console.page(), await console.page(), console.backend
            give = {'stamp': '0', 'box': [10, 20, 30, 40], 'target_id': '1'}
            await page.request('init', **give)
            backend.result(1)
            assert await states(page, 1) == await states(other, 1) == [('1', 'STARTING')]
            backend.result(2, [target('1')])
            assert await states(page, 2) == [('1', 'TRACKING')]
            await page.request('init', **give)
            backend.result(3, [target('1')])  # an image before the one it was given in
            assert await states(page, 3) == [('1', 'TRACKING')]
            backend.result(4)
            assert await states(page, 4) == [('1', 'STARTING')]
            await page.request('stop', target_id='1')
            backend.result(5)
            assert await states(page, 5) == []
            await page.request('init', **give)
            backend.result(6)
            backend.result(7, [target('1')])
            backend.result(8)  # stopped by somebody else
            assert await states(page, 8) == []

    run(scenario)


def test_pages_without_a_tracker_stay_connected() -> None:
    """They reconnect if they receive nothing for long."""

    async def scenario() -> None:
        async with open_console() as console:
            page = await console.page()
            console.backend.listener.on_trackers([])
            await page.message('trackers', selected='')
            page.messages.clear()
            assert (await page.message('stats'))['fps'] == 0

    run(scenario)


def test_images_without_stamps_are_shown() -> None:
    async def scenario() -> None:
        async with open_console() as console:
            page = await console.page()
            for _ in range(3):
                console.backend.frame(0)
                count = len(page.frames)
                await page.until(lambda count=count: len(page.frames) > count)

    run(scenario)


def test_an_image_that_is_too_large_is_named_once() -> None:
    async def scenario() -> None:
        async with open_console() as console:
            page = await console.page()
            image = np.zeros((10, 70_000, 3), np.uint8)
            for stamp in (1, 2, 3):
                frame = CameraFrame(stamp, lambda: image)
                console.backend.listener.on_frame(LEFT, frame)
                await page.request('stop', target_id='')
            console.backend.frame(1)
            await page.until(lambda: page.frames)
            texts = [each['text'] for each in page.messages if each['type'] == 'event']
            assert texts.count('an image of 70000x10 pixels is too large to be shown') == 1

    run(scenario)


def test_one_click_at_a_time() -> None:
    async def scenario() -> None:
        async with open_console() as console:
            page = await console.page()
            console.backend.answers = False
            fields = {'stamp': '0', 'point': [5, 5], 'radius': 0, 'target_id': ''}
            await page.send('point', request=100, **fields)
            reply = await page.request('point', **fields)
            assert reply['message'] == 'the last click is not yet answered: wait for it'

    run(scenario)


def noise_image(random: Random) -> Image:
    """Return an image whose JPEG is about as large as that of a camera with 720 lines."""
    small = np.frombuffer(random.randbytes(320 * 180 * 3), np.uint8).reshape(180, 320, 3)
    return np.asarray(cv2.resize(small, (1280, 720), interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.mark.slow
def test_a_narrow_link_gets_fewer_images_and_none_that_is_old() -> None:
    """200 kB/s, of which one image at full quality takes most of a second; another page has all."""
    count, period = 160, 0.05

    async def scenario() -> None:
        images = [noise_image(Random(number)) for number in range(4)]
        async with open_console() as console:
            with Link(console.server.port, bandwidth=200e3) as link:
                origin = f'http://127.0.0.1:{link.port}'
                socket = await console.session.ws_connect(
                    f'{origin}/ws', headers={'Origin': origin}
                )
                slow, fast = Page(socket), await console.page()
                lags: dict[str, list[float]] = {'slow': [], 'fast': []}
                tasks = [
                    asyncio.create_task(keep_lags(page, lags[name]))
                    for name, page in (('slow', slow), ('fast', fast))
                ]
                for number in range(count):
                    image = images[number % len(images)]
                    frame = CameraFrame(time.monotonic_ns(), lambda image=image: image)
                    console.backend.listener.on_frame(LEFT, frame)
                    await asyncio.sleep(period)
                for task in tasks:
                    task.cancel()
        late = sorted(lags['slow'][len(lags['slow']) // 2 :])
        assert late[len(late) // 2] < 0.5
        assert len(lags['slow']) < 0.8 * len(lags['fast'])
        assert sorted(lags['fast'])[len(lags['fast']) // 2] < 0.25

    run(scenario)


async def keep_lags(page: Page, lags: list[float]) -> None:
    """Add for each image the seconds since its stamp."""
    while True:
        await page.until(lambda: page.frames)
        lags.append((time.monotonic_ns() - page.frames.pop()[0]) / 1e9)
        page.messages.clear()


def test_pages_and_back_end_are_closed_with_the_server(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with open_console() as console:
            page = await console.page()
            closing = asyncio.create_task(console.server.close())
            with pytest.raises(ConnectionError, match='1001 the server ends'):
                await page.message('never')
            await closing
            assert console.backend.closed

    run(scenario)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
