"""An operator in a real browser: the console, a tracker node over DDS, and a camera."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.imaging.geometry import Box, iou
from siamffn_ros.messages.conversions import to_box

pytest.importorskip('aiohttp', reason='extra [console] not installed')

from ...console.link import Link
from ...console.page.conftest import browser  # noqa: F401

PERIOD = 0.05  # seconds between images
SIZE = (480, 360)


class Camera(threading.Thread):
    """Publishes a scene forwards and backwards in real time; knows the truth by stamp."""

    def __init__(self, peer: Any, scene: Scene) -> None:
        super().__init__(daemon=True)
        self._peer, self._scene = peer, scene
        self._ended = threading.Event()
        self.truth: dict[int, Box] = {}

    def run(self) -> None:
        order = [*range(len(self._scene.images)), *reversed(range(len(self._scene.images)))]
        turn = 0
        while not self._ended.wait(PERIOD):
            number, stamp = order[turn % len(order)], time.time_ns()
            self.truth[stamp] = self._scene.boxes[number]
            self._peer.send(self._scene.images[number], stamp)
            turn += 1

    def end(self) -> None:
        self._ended.set()
        self.join()


class ConsoleProcess:
    """The console in a process of its own."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        command = [sys.executable, '-m', 'siamffn_ros.console.main', '--ros-args']
        self._process = subprocess.Popen(
            [*command, '-p', f'port:={port}'], stdout=subprocess.PIPE, text=True, cwd=folder
        )
        assert self._process.stdout
        address = self._process.stdout.readline().removeprefix('open ').strip()
        self.port = int(address.rstrip('/').rpartition(':')[2])

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(40)


class Operator:
    """A page, and what it sends."""

    def __init__(self, chromium: Any, port: int) -> None:
        self._context = chromium.new_context(viewport={'width': 1000, 'height': 700})
        self.page = self._context.new_page()
        self.page.set_default_timeout(60_000)
        self.sent: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self.page.on('websocket', self._watch)
        self.page.on('pageerror', lambda error: self.problems.append(str(error)))
        self.page.goto(f'http://127.0.0.1:{port}/')
        self.wait(lambda: self.stamp, 'an image')
        self._bounds = self.page.locator('#picture').bounding_box()

    def _watch(self, socket: Any) -> None:
        socket.on('framesent', lambda data: self.sent.append(json.loads(data)))

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until a condition is true; the browser goes on meanwhile."""
        deadline = time.monotonic() + 60
        while not (value := condition()):
            assert time.monotonic() < deadline, f'timeout while waiting for {what}'
            self.page.wait_for_timeout(20)
        return value

    @property
    def stamp(self) -> int:
        """Stamp of the image that is shown; 0 before the first."""
        stamp = self.page.evaluate("document.getElementById('picture').dataset.stamp")
        return int(stamp or 0)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return a pixel of the camera as a place on the page."""
        bounds = self._bounds
        scale = min(bounds['width'] / SIZE[0], bounds['height'] / SIZE[1])
        left = bounds['x'] + (bounds['width'] - scale * SIZE[0]) / 2
        top = bounds['y'] + (bounds['height'] - scale * SIZE[1]) / 2
        return left + scale * x, top + scale * y

    def press(self, camera: Camera) -> int:
        """Press the button at the target's corner; return the stamp of the image, now frozen.

        The target moves on until then: it is tried again until the corner is hit.
        """
        for _ in range(50):
            x, y, _, _ = camera.truth[self.stamp]
            self.page.mouse.move(*self.place(x, y))
            self.page.mouse.down()
            self.page.mouse.move(*self.place(x + 9, y + 9))
            frozen = self.stamp
            if max(abs(x - camera.truth[frozen].x), abs(y - camera.truth[frozen].y)) < 4:
                return frozen
            self.page.keyboard.press('Escape')
            self.page.mouse.up()
        raise AssertionError('the target moves too fast')

    def drag(self, camera: Camera) -> dict[str, Any]:
        """Drag the box of the target in the image that is shown; return the request."""
        count = len(self.requests('init'))
        frozen = self.press(camera)
        x, y, w, h = camera.truth[frozen]
        self.page.mouse.move(*self.place(x + w, y + h), steps=3)
        assert self.stamp == frozen, 'the picture stands still while a box is drawn'
        self.page.mouse.up()
        self.wait(lambda: len(self.requests('init')) > count, 'the request')
        assert len(self.requests('init')) == count + 1, 'Escape cancels'
        request = self.requests('init')[-1]
        assert int(request['stamp']) == frozen
        return request

    def requests(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.sent if message['type'] == kind]

    def refusal(self) -> str:
        text: str = self.page.locator('#refusal').inner_text()
        return text

    def targets(self) -> str:
        text: str = self.page.locator('#targets').inner_text()
        return text

    def close(self) -> None:
        assert not self.problems
        self._context.close()


@pytest.fixture(scope='module')
def scene() -> Scene:
    return render_scene(200, SIZE, seed=5)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def camera(user: Any, scene: Scene, stack: ExitStack) -> Camera:
    camera = Camera(user, scene)
    camera.start()
    stack.callback(camera.end)
    return camera


@pytest.fixture
def console(camera: Camera, tmp_path: Path, stack: ExitStack) -> ConsoleProcess:
    console = ConsoleProcess(tmp_path)
    stack.callback(console.stop)
    return console


def overlaps(user: Any, camera: Camera, after: int) -> list[float]:
    """Return the IoU with the truth of each image after a stamp that has a status of a target."""
    return [
        float(iou(to_box(user.statuses[stamp].bbox), camera.truth[stamp]))
        for stamp in sorted(camera.truth)
        if stamp > after and stamp in user.statuses and user.statuses[stamp].target_id
    ]


@pytest.mark.slow
@pytest.mark.parametrize('delay', [0.0, 1.0])
def test_a_box_starts_on_the_image_it_was_drawn_on(
    browser: Any,  # noqa: F811
    user: Any,
    camera: Camera,
    console: ConsoleProcess,
    stack: ExitStack,
    delay: float,
) -> None:
    """However old that image is: the link delays everything by a second in each direction."""
    link = stack.enter_context(Link(console.port, delay))
    operator = Operator(browser, link.port)
    request = operator.drag(camera)
    stamp = int(request['stamp'])
    assert iou(Box(*request['box']), camera.truth[stamp]) > 0.8
    operator.wait(
        lambda: operator.refusal() or len(overlaps(user, camera, stamp)) >= 100,
        '100 tracked images',
    )
    assert not operator.refusal()
    assert min(overlaps(user, camera, stamp)) > 0.5
    operator.wait(lambda: 'TRACKING' in operator.targets(), 'the target in the list')
    operator.close()


@pytest.mark.slow
def test_a_session_of_two_operators(
    browser: Any,  # noqa: F811
    user: Any,
    camera: Camera,
    console: ConsoleProcess,
    tmp_path: Path,
    stack: ExitStack,
) -> None:
    """A click selects, both see it; a reload and a restart of the server keep it; it is stopped."""
    first, second = Operator(browser, console.port), Operator(browser, console.port)
    box = camera.truth[first.stamp]
    first.page.mouse.click(*first.place(box.cx, box.cy))
    for operator in (first, second):
        operator.wait(lambda o=operator: 'TRACKING' in o.targets(), 'the target in the list')
    first.page.reload()
    first.wait(lambda: 'TRACKING' in first.targets(), 'the target after a reload')
    console.stop()
    second.page.wait_for_selector('#connection:not([data-level=ok])')
    again = ConsoleProcess(tmp_path, console.port)
    stack.callback(again.stop)
    for operator in (first, second):
        operator.page.wait_for_selector('#connection[data-level=ok]')
        operator.wait(lambda o=operator: 'TRACKING' in o.targets(), 'the target after a restart')
    second.page.locator('#stop-all').click()
    for operator in (first, second):
        operator.wait(lambda o=operator: not o.targets().strip(), 'the end of the target')
        operator.close()
    assert not user.list_targets()
