"""The page of the console in a headless Chromium, with a server that does what the test says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from siamffn_model.console.backend import TrackerInfo
from siamffn_model.console.protocol import message, result_message, trackers_message
from siamffn_model.imaging.geometry import Box
from siamffn_model.live.results import Result
from siamffn_model.tracking import State

pytest.importorskip('aiohttp', reason='aiohttp is not installed')
from .mock_server import SIZE, MockServer, square_of, stamp_of, target

MEASURE = """(y) => {
  const canvas = document.getElementById('picture');
  const scale = Math.min(canvas.width / 640, canvas.height / 360);
  const left = (canvas.width - 640 * scale) / 2, top = (canvas.height - 360 * scale) / 2;
  const line = Math.round(top + y * scale);
  const row = canvas.getContext('2d').getImageData(0, line, canvas.width, 1).data;
  const blue = [], green = [];
  for (let i = 0; i < canvas.width; i++) {
    const [r, g, b] = row.slice(4 * i, 4 * i + 3), x = (i + 0.5 - left) / scale;
    if (b > 180 && r < 100 && g < 100) blue.push(x);
    if (g > 200 && r < 120 && b < 110) green.push(x);
  }
  return [blue, green];
}"""

WHITE = """([x, y, w, h]) => {
  const canvas = document.getElementById('picture');
  const scale = Math.min(canvas.width / 640, canvas.height / 360);
  const left = (canvas.width - 640 * scale) / 2, top = (canvas.height - 360 * scale) / 2;
  const area = [left + x * scale, top + y * scale, w * scale, h * scale].map(Math.round);
  const { data } = canvas.getContext('2d').getImageData(...area);
  return data.some((_, i) => i % 4 === 0 && Math.min(data[i], data[i + 1], data[i + 2]) > 200);
}"""


class Console:
    """A page that is connected to a server."""

    def __init__(self, browser: Any, server: MockServer, **options: Any) -> None:
        self.server = server
        self.problems: list[str] = []
        self.context = browser.new_context(viewport=options.pop('viewport', None), **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on('console', self._note)
        self.page.on('pageerror', lambda error: self.problems.append(str(error)))
        self.page.goto(server.url)
        self.page.wait_for_selector('#connection[data-level=ok]')

    def _note(self, line: Any) -> None:
        if line.type == 'error':  # violations of the policy, too
            self.problems.append(line.text)

    def show(self, number: int, *targets: Any) -> None:
        """Send an image with its result, and wait until it is on the canvas."""
        self.server.show(number, *targets)
        self.wait_until_shown(number)

    def wait_until_shown(self, number: int) -> None:
        centre = square_of(number).x + square_of(number).w / 2
        self.wait_until(lambda: abs((self.centres()[0] or 0) - centre) < 3)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait at most 20 s. (`page.wait_for_function` violates the policy of the page.)"""
        for _ in range(500):
            if condition():
                return
            self.page.wait_for_timeout(40)
        pytest.fail('waited too long')

    def centres(self) -> tuple[float | None, float | None]:
        """Return the centres along x of the blue square and of the box round it."""
        columns = self.page.evaluate(MEASURE, 170)
        square, box = ((each[0] + each[-1]) / 2 if each else None for each in columns)
        return square, box

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a pixel of the camera is on the page."""
        bounds = self.page.locator('#picture').bounding_box()
        scale = min(bounds['width'] / SIZE[0], bounds['height'] / SIZE[1])
        left = bounds['x'] + (bounds['width'] - SIZE[0] * scale) / 2
        top = bounds['y'] + (bounds['height'] - SIZE[1] * scale) / 2
        return left + x * scale, top + y * scale

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.page.mouse.move(*self.at(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(*end), steps=4)
        self.page.mouse.up()


@pytest.fixture
def server() -> Iterator[MockServer]:
    server = MockServer()
    yield server
    server.close()


@pytest.fixture
def console(browser: Any, server: MockServer) -> Iterator[Console]:
    console = Console(browser, server, viewport={'width': 1100, 'height': 700})
    yield console
    console.context.close()
    assert console.problems == []


def around(number: int) -> Box:
    x, y, w, h = square_of(number)
    return Box(x - 10, y - 10, w + 20, h + 20)


def test_a_drag_in_any_direction_gives_its_box_on_the_frozen_frame(console: Console) -> None:
    for first, (across, down) in zip((0, 4, 8, 12), ((1, 1), (-1, 1), (-1, -1), (1, -1))):
        console.show(first)
        console.page.mouse.move(*console.at(300, 200))
        console.page.mouse.down()
        for number in (1, 2, 3):
            console.server.show(first + number)
        console.page.mouse.move(*console.at(300 + 80 * across, 200 + 50 * down), steps=3)
        console.page.wait_for_selector('#notice:has-text("Picture frozen")')
        console.wait_until_shown(first)
        console.page.mouse.up()
        init = console.server.wait_for('init').fields
        console.wait_until_shown(first + 3)
        expected = (300 - 80 * (across < 0), 200 - 50 * (down < 0), 80, 50)
        assert init['box'] == pytest.approx(expected, abs=1.5)
        assert (init['stamp'], init['target_id']) == (stamp_of(first), '')


def test_a_drag_over_the_border_ends_at_it(console: Console) -> None:
    console.show(0)
    console.drag((600, 320), (700, 400))
    assert console.server.wait_for('init').fields['box'] == pytest.approx(
        (600, 320, 40, 40), abs=1.5
    )


def test_escape_cancels_drawing(console: Console) -> None:
    console.show(0)
    console.page.mouse.move(*console.at(100, 100))
    console.page.mouse.down()
    console.page.mouse.move(*console.at(200, 200), steps=3)
    console.server.show(1)
    console.page.keyboard.press('Escape')
    console.wait_until_shown(1)
    console.page.mouse.up()
    console.page.keyboard.press('Space')
    console.server.wait_for('pause')  # sent after anything that the drag might have sent
    assert not [each for each in console.server.requests if each.type in ('init', 'point')]


@pytest.mark.parametrize('button', ['right', 'middle'])
def test_other_buttons_of_the_mouse_give_no_target(console: Console, button: Any) -> None:
    console.show(0)
    console.page.mouse.click(*console.at(400, 100), button=button)
    console.page.mouse.move(*console.at(100, 100))
    console.page.mouse.down(button=button)
    console.page.mouse.move(*console.at(200, 200), steps=3)
    console.page.mouse.up(button=button)
    console.page.keyboard.press('Space')
    console.server.wait_for('pause')
    assert not [each for each in console.server.requests if each.type in ('init', 'point')]


def test_a_click_gives_a_point_and_a_click_on_a_box_selects(console: Console) -> None:
    console.show(0, target('car', around(0)))
    console.page.mouse.click(*console.at(400, 100))
    point = console.server.wait_for('point').fields
    assert point['point'] == pytest.approx((400, 100), abs=1.5)
    assert (point['stamp'], point['target_id']) == (stamp_of(0), '')
    console.page.mouse.click(*console.at(60, 170))
    console.page.wait_for_selector('.pick[aria-pressed=true]:has-text("car")')
    assert not [each for each in console.server.requests if each.type in ('init', 'point')]


def test_a_drag_from_the_selected_box_reinitialises_its_target(console: Console) -> None:
    console.show(0, target('car', around(0)))
    console.drag((60, 170), (160, 270))
    assert console.server.wait_for('init').fields['target_id'] == ''
    console.page.keyboard.press('1')
    console.drag((60, 170), (160, 270))
    assert console.server.wait_for('init').fields['target_id'] == 'car'
    console.page.get_by_role('button', name='Re-initialise car').click()
    console.drag((400, 100), (450, 150))
    assert console.server.wait_for('init').fields['target_id'] == 'car'


def test_a_box_drawn_by_keys(console: Console) -> None:
    console.show(0)
    console.page.focus('#picture')
    for key in ('Enter', 'ArrowRight', 'ArrowUp', 'Shift+ArrowRight', 'Control+Shift+ArrowDown'):
        console.page.keyboard.press(key)
    console.server.show(1)
    console.page.keyboard.press('Enter')
    init = console.server.wait_for('init').fields
    assert init['box'] == (256 + 8, 144 - 8, 128 + 8, 72 + 1)
    assert init['stamp'] == stamp_of(0)


def test_keys(console: Console) -> None:
    console.show(0, target('car', around(0)), target('van', Box(300, 200, 60, 60)))
    console.page.keyboard.press('2')
    console.page.wait_for_selector('.pick[aria-pressed=true]:has-text("van")')
    console.page.keyboard.press('Delete')
    assert console.server.wait_for('stop').fields['target_id'] == 'van'
    console.page.get_by_role('button', name='Snapshot').click()  # a key is not for this button
    console.page.keyboard.press('Space')
    assert console.server.wait_for('pause').fields['paused'] is True
    console.server.send_trackers(TrackerInfo('/siamffn', '/camera', paused=True))
    console.page.get_by_role('button', name='Resume').wait_for()
    console.page.keyboard.press('Space')
    assert console.server.wait_for('pause').fields['paused'] is False
    console.page.keyboard.press('Escape')
    console.page.wait_for_selector('.pick[aria-pressed=true]', state='detached')
    console.page.keyboard.press('?')
    console.page.get_by_role('dialog', name='Keys').wait_for()
    console.page.keyboard.press('Escape')
    console.page.get_by_role('dialog').wait_for(state='hidden')
    console.page.keyboard.press('f')
    console.wait_until(lambda: console.page.evaluate('document.fullscreenElement?.id') == 'viewer')


def test_a_refusal_is_shown_at_the_box_until_the_next_action(console: Console) -> None:
    console.show(0)
    console.server.refusal = 'the box is too small: draw at least 2 pixels a side'
    console.drag((200, 100), (260, 140))
    console.page.wait_for_selector('#refusal:has-text("too small")')
    bounds = console.page.locator('#refusal').bounding_box()
    left, top = console.at(200, 140)
    right, _ = console.at(260, 140)
    assert bounds['x'] < right
    assert bounds['x'] + bounds['width'] > left
    assert 0 < bounds['y'] - top < 30
    console.server.refusal = ''
    console.page.mouse.click(*console.at(400, 300))
    console.page.wait_for_selector('#refusal', state='hidden')


@pytest.mark.parametrize('image_first', [True, False])
def test_boxes_are_drawn_on_their_own_frame(console: Console, image_first: bool) -> None:
    """Whatever comes first, and though the results of some images never come."""
    console.show(0, target('car', around(0)))
    for number in range(1, 12):
        if image_first:
            console.server.send_image(number)
            if number % 3:
                console.server.send_result(number, target('car', around(number)))
        else:
            console.server.send_result(number, target('car', around(number)))
            if number % 3:
                console.server.send_image(number)
        square, box = console.centres()
        assert box is None or box == pytest.approx(square, abs=2)
    console.wait_until_shown(11)
    square, box = console.centres()
    assert box == pytest.approx(square, abs=2)


@pytest.mark.slow
def test_the_picture_goes_on_without_results(console: Console) -> None:
    """A tracker that hangs is named, and no box stays on newer images."""
    console.show(0, target('car', around(0)))
    console.server.send_image(1)
    console.wait_until_shown(1)
    assert console.centres()[1] is None
    console.page.wait_for_selector('#notice:has-text("No result from the tracker")')


def test_images_are_acknowledged_and_not_decoded_while_hidden(console: Console) -> None:
    console.show(0)
    console.page.evaluate(
        "Object.defineProperty(document, 'hidden', {value: true, writable: true})"
    )
    console.server.send_image(1)
    console.page.keyboard.press('Space')
    console.server.wait_for('pause')
    console.wait_until(lambda: console.server.acknowledged == [1, 2])
    console.page.evaluate('document.hidden = false')
    console.show(2)


@pytest.mark.slow
def test_a_lost_connection_is_visible_and_heals(browser: Any, server: MockServer) -> None:
    console = Console(browser, server, viewport={'width': 1100, 'height': 700})
    console.show(5, target('car', around(5)))
    server.answering = False
    console.drag((200, 100), (260, 140))
    server.wait_for('init')
    server.stop()
    console.page.wait_for_selector('#notice:has-text("Connection lost")')
    console.page.wait_for_selector('#refusal:has-text("connection was lost")')
    console.page.wait_for_selector('.target .state:has-text("not live")')
    enabled = console.page.locator('[data-request]:enabled, .actions button:enabled')
    assert enabled.count() == 0
    console.drag((200, 100), (260, 140))  # has no effect
    server.answering = True
    server.start()
    console.page.wait_for_selector('#connection[data-level=ok]')
    console.show(2)
    console.page.mouse.move(*console.at(100, 100))
    console.page.mouse.down()
    console.page.mouse.move(*console.at(200, 200), steps=3)
    server.stop()
    console.page.wait_for_selector('#refusal:has-text("The box was not sent")')
    console.page.mouse.up()
    server.start()
    console.page.wait_for_selector('#connection[data-level=ok]')
    console.show(1, target('car', around(1)))  # its sequence number is below that of before
    assert console.page.locator('#notice').is_hidden()
    said = console.page.locator('#announcer').inner_text()
    assert 'Connection lost' in said
    assert 'Connected again' in said
    assert not [each for each in server.requests if each.type == 'init']
    console.context.close()
    assert [line for line in console.problems if 'ERR_CONNECTION_REFUSED' not in line] == []


def test_a_camera_that_has_stopped_is_visible(console: Console) -> None:
    console.show(0, target('car', around(0)))
    console.server.stats = {'fps': 0.0, 'dropped': None, 'latency_ms': None}
    console.page.wait_for_selector('#notice:has-text("No image for")')
    console.page.wait_for_selector('.target .state:has-text("not live")')
    console.page.mouse.click(*console.at(400, 100))
    console.page.wait_for_selector('#log:has-text("target_1 starts when images come")')
    text = re.sub(r'\s+', ' ', console.page.locator('.figures').inner_text())
    assert text == 'Latency \u2013 Frames/s 0.0 Dropped \u2013'
    console.server.stats = {'fps': 30.0, 'dropped': 0, 'latency_ms': 30.0}
    console.show(1, target('car', around(1)))
    console.page.wait_for_selector('.target .state:has-text("TRACKING")')
    console.server.send(trackers_message((), ''))
    console.page.wait_for_selector('#notice:has-text("No tracker is running")')
    assert console.page.locator('.target').count() == 0


def test_a_target_that_is_given_in_a_pause_is_shown(console: Console) -> None:
    console.show(0, target('car', around(0)))
    console.server.send_trackers(TrackerInfo('/siamffn', '/camera', paused=True))
    console.page.wait_for_selector('.target .state:has-text("paused")')
    console.page.mouse.click(*console.at(400, 100))
    console.page.wait_for_selector('#log:has-text("target_1 starts after the pause")')
    edge = [387, 98, 6, 14]  # left side of its box
    console.wait_until(lambda: console.page.evaluate(WHITE, edge))
    console.server.send_trackers(TrackerInfo('/siamffn', '/camera'))
    console.show(1, target('target_1', Box(390, 95, 20, 20)))
    console.page.wait_for_selector('.target .state:has-text("TRACKING")')
    console.wait_until(lambda: not console.page.evaluate(WHITE, edge))


def test_a_target_that_starts_again_stays_in_the_list(console: Console) -> None:
    console.show(0, target('car', around(0), processed=9), target('van', Box(300, 200, 60, 60)))
    console.page.keyboard.press('1')
    starting = result_message(
        Result(stamp_of(1), [target('van', Box(300, 200, 60, 60))]), {}, ['car']
    )
    console.server.send(starting)
    console.server.send_image(1)
    console.page.wait_for_selector('.target:has-text("car") .state:has-text("STARTING")')
    assert console.page.locator('.pick[aria-pressed=true]:has-text("car")').count() == 1
    console.show(2, target('car', around(2)), target('van', Box(300, 200, 60, 60)))
    console.page.wait_for_selector('.target:has-text("car") .state:has-text("TRACKING")')
    assert console.page.locator('.pick[aria-pressed=true]:has-text("car")').count() == 1
    assert 'stopped' not in console.page.locator('#log').inner_text()


def test_a_new_token_is_named(browser: Any, server: MockServer) -> None:
    console = Console(browser, server)
    server.stop()
    console.page.wait_for_selector('#notice:has-text("Connection lost")')
    server.token_is_wrong = True
    server.start()
    console.page.wait_for_selector('#notice:has-text("open the address that the console prints")')
    console.context.close()


def test_texts_of_the_server_are_no_html(console: Console) -> None:
    attack = '<img src=x onerror="document.title=1"><b>'
    console.server.send_trackers(TrackerInfo(attack, attack, problem=attack))
    console.server.send(message('event', text=attack, operator=attack, time=0.0))
    console.server.send(message('operators', clients=[{'id': 9, 'name': attack}]))
    console.server.refusal = attack
    console.show(0, target(attack, around(0)))
    console.page.keyboard.press('Space')
    for place in ('#targets .id', '#log', '#operators', '#notice', '#refusal', '#tracker'):
        console.page.wait_for_selector(f'{place}:has-text("<img src=x")', state='attached')
    assert console.page.locator('img, b').count() == 1  # the icon of the header
    assert console.page.title() == 'SiamFFN console'


def test_lost_shows_the_searched_region_and_is_announced(console: Console) -> None:
    console.show(0, target('car', around(0)))
    console.show(1, target('car', Box(100, 80, 400, 240), State.LOST))
    console.page.wait_for_selector('.target[data-state=LOST]:has-text("lost for")')
    console.page.wait_for_selector('#announcer:has-text("car is LOST")', state='attached')
    assert console.centres()[1] in (None, pytest.approx(300, abs=4))  # no box at the old place
    columns = console.page.evaluate(MEASURE, 80)[1]
    assert columns[0] == pytest.approx(100, abs=8)
    assert columns[-1] == pytest.approx(500, abs=8)
    steps = np.diff(columns)
    assert np.count_nonzero(steps > 2 * steps.min()) > 20  # gaps: a dotted line
    console.show(2, target('car', around(2), processed=2))
    console.page.wait_for_selector('#announcer:has-text("car is found again")', state='attached')
    square, box = console.centres()
    assert box == pytest.approx(square, abs=2)


def test_the_snapshot_is_the_picture_with_boxes(console: Console, tmp_path: Path) -> None:
    console.show(4, target('car', around(4)))
    with console.page.expect_download() as download:
        console.page.get_by_role('button', name='Snapshot').click()
    assert download.value.suggested_filename == f'siamffn_{stamp_of(4)}.png'
    download.value.save_as(tmp_path / 'snapshot.png')
    image = cv2.imread(str(tmp_path / 'snapshot.png'))
    assert image.shape == (SIZE[1] // 2, SIZE[0] // 2, 3)  # as large as the JPEG
    row = image[85].astype(int)
    green = np.flatnonzero((row[:, 1] > 180) & (row[:, 2] < 140) & (row[:, 0] < 140))
    x, _, w, _ = around(4)
    assert (green.min() * 2, green.max() * 2) == pytest.approx((x, x + w), abs=4)


def test_recording(console: Console) -> None:
    console.show(0)
    console.page.get_by_label('with images').check()
    console.page.get_by_role('button', name='Record').click()
    fields = console.server.wait_for('record').fields
    assert (fields['on'], fields['images']) == (True, True)
    console.page.wait_for_selector('#log:has-text("Recording to bag.mcap")')
    console.page.get_by_role('button', name='Stop recording').click()
    assert console.server.wait_for('record').fields['on'] is False


def test_figures_and_the_size_of_the_picture(console: Console) -> None:
    console.show(0)
    console.server.stats = {'fps': 29.6, 'dropped': 7, 'latency_ms': 41.7}
    console.page.wait_for_selector('.figures:has-text("42 ms")')
    text = re.sub(r'\s+', ' ', console.page.locator('.figures').inner_text())
    assert text == 'Latency 42 ms Frames/s 30 Dropped 7'
    view = console.server.wait_for('view').fields
    bounds = console.page.locator('#picture').bounding_box()
    while abs(view['width'] * SIZE[1] / SIZE[0] - view['height']) > 1:  # before the first image
        view = console.server.wait_for('view').fields
    assert view['width'] == pytest.approx(min(bounds['width'], bounds['height'] * 16 / 9), abs=1)


def test_choosing_a_tracker_clears_the_targets(console: Console) -> None:
    console.server.send_trackers(
        TrackerInfo('/a', '/left'), TrackerInfo('/b', '/right', 'no image')
    )
    console.show(0, target('car', around(0)))
    console.page.get_by_role('combobox', name='Tracker').select_option('/b')
    assert console.server.wait_for('select').fields['tracker'] == '/b'
    console.server.send_trackers(TrackerInfo('/b', '/right', 'no image comes'))
    console.page.wait_for_selector('#notice:has-text("no image comes")')
    assert console.page.locator('.target').count() == 0


def test_every_control_has_a_name(console: Console) -> None:
    console.show(0, target('car', around(0)))
    tree = console.page.locator('body').aria_snapshot()
    controls = re.findall(r'- (button|combobox|textbox|checkbox)(.*)', tree)
    assert len(controls) >= 11
    assert [kind for kind, rest in controls if not rest.strip().startswith('"')] == []


def test_touch_on_a_narrow_phone(browser: Any, server: MockServer) -> None:
    console = Console(
        browser, server, viewport={'width': 360, 'height': 740}, has_touch=True, is_mobile=True
    )
    console.show(0, target('a_target_with_quite_a_long_name_' * 2, around(0)))
    assert console.page.evaluate('document.documentElement.scrollWidth') == 360
    for button in console.page.get_by_role('button').all():
        bounds = button.bounding_box()
        assert bounds['x'] >= 0
        assert bounds['x'] + bounds['width'] <= 360
        assert min(bounds['width'], bounds['height']) >= 32
    console.page.touchscreen.tap(*console.at(400, 100))
    assert console.server.wait_for('point').fields['point'] == pytest.approx((400, 100), abs=4)
    touch = console.context.new_cdp_session(console.page)
    for kind, place in (
        ('touchStart', (500, 300)),
        ('touchMove', (450, 250)),
        ('touchMove', (400, 200)),
    ):
        x, y = console.at(*place)
        touch.send('Input.dispatchTouchEvent', {'type': kind, 'touchPoints': [{'x': x, 'y': y}]})
    touch.send('Input.dispatchTouchEvent', {'type': 'touchEnd', 'touchPoints': []})
    assert server.wait_for('init').fields['box'] == pytest.approx((400, 200, 100, 100), abs=4)
    console.context.close()
    assert console.problems == []
