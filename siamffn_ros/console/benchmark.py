"""Measure the console from glass to glass: `python -m siamffn_ros.console.benchmark`.

A camera of 720p at 30 Hz, the tracker node, the console and a headless Chromium run as processes of
their own. Each image contains its number, which the browser reads from what it has drawn. The same
is done for MJPEG, as web_video_server publishes images.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import aiohttp
import cv2
import numpy as np
import rclpy
from aiohttp import web
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from siamffn_model.console.protocol import FRAME_HEADER
from siamffn_model.errors import DependencyError
from siamffn_model.signals import END_SIGNALS, handle_signals
from siamffn_ros.bags.processes import TrackerProcess, node_with_executor
from siamffn_ros.benchmark import RATE, SIZE, Listener, cpu_seconds, scene, subscriber_node
from siamffn_ros.dds import use_profile
from siamffn_ros.latency import Latency
from siamffn_ros.messages.conversions import to_stamp
from siamffn_ros.messages.images import to_bgr, to_image

MODULE = 'siamffn_ros.console.benchmark'
BITS, BLOCK = 12, 16  # of the number in an image; side of a block in pixels that is one bit
SECONDS = 12.0  # of one measurement
WARM_UP = 4.0  # seconds before
TIMEOUT = 60.0
QUALITY = 80  # of the JPEGs of MJPEG; the console's at this size
CHROMIUM = ('--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-sync')
# Notes the time at which each number is on the canvas; of an <img>, it is drawn on a canvas first.
WATCH = """([width, height, bits, block]) => {
  window.drawn = [];
  const image = document.querySelector('img#stream');
  const canvas = image ? document.createElement('canvas') : document.getElementById('picture');
  if (image) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext('2d', { alpha: false });
  let last = -1;
  const look = () => {
    if (image && image.naturalWidth) context.drawImage(image, 0, 0);
    const scale = Math.min(canvas.width / width, canvas.height / height);
    const left = (canvas.width - scale * width) / 2, top = (canvas.height - scale * height) / 2;
    const row = context.getImageData(left, top + scale * block / 2, scale * bits * block, 1).data;
    let number = 0;
    for (let bit = 0; bit < bits; bit++)
      number = 2 * number + (row[4 * Math.floor(scale * block * (bit + 0.5))] > 127);
    if (number !== last) window.drawn.push([number, performance.timeOrigin + performance.now()]);
    last = number;
    requestAnimationFrame(look);
  };
  look();
}"""


class Usage(NamedTuple):
    """What one measurement has found; latencies in milliseconds, CPU in cores."""

    drawn: list[float]
    detections: list[float]
    server: float
    node: float


class Camera(threading.Thread):
    """Publishes numbered images until ended; keeps their times in ms by number and by stamp."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.published: dict[int, float] = {}
        self.ended = threading.Event()

    def run(self) -> None:
        context = rclpy.Context()
        rclpy.init(context=context)
        node = rclpy.create_node('camera', context=context)
        publisher = node.create_publisher(Image, 'image', QoSProfile(depth=10))
        images = scene().images
        order = [*range(len(images)), *range(len(images) - 2, 0, -1)]
        messages = [to_image(images[n], Header(frame_id=str(n))) for n in order]
        start, number = time.monotonic(), 0
        while not self.ended.wait(max(0.0, start + number / RATE - time.monotonic())):
            message = messages[number % len(messages)]
            draw_number(message, number % 2**BITS)
            now = time.time_ns()
            message.header.stamp = to_stamp(now)
            self.published[number % 2**BITS] = self.published[now] = now / 1e6
            publisher.publish(message)
            number += 1
        rclpy.shutdown(context=context)


def draw_number(message: Image, number: int) -> None:
    """Draw the bits of a number as blocks at the top left, the highest first."""
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    bits = [number >> bit & 1 for bit in reversed(range(BITS))]
    rows[:BLOCK, : BITS * BLOCK * 3] = np.repeat(np.array(bits, np.uint8) * 255, BLOCK * 3)


def serve_mjpeg() -> None:
    """Serve the topic `image` as web_video_server does: JPEGs in multipart/x-mixed-replace."""
    newest: list[Image] = []

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_type = 'multipart/x-mixed-replace;boundary=image'
        await response.prepare(request)
        sent = None
        while request.transport and not request.transport.is_closing():
            if newest and newest[0] is not sent:
                sent = newest[0]
                quality = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
                data = cv2.imencode('.jpg', to_bgr(sent), quality)[1].tobytes()
                head = f'--image\r\nContent-type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n'
                await response.write(head.encode() + data + b'\r\n')
            await asyncio.sleep(0.001)
        return response

    async def page(_: web.Request) -> web.Response:
        return web.Response(text='<img id=stream src=/stream>', content_type='text/html')

    application = web.Application()
    application.add_routes([web.get('/', page), web.get('/stream', stream)])
    with node_with_executor(partial(rclpy.create_node, 'mjpeg'), SingleThreadedExecutor) as (
        node,
        executor,
    ):
        node.create_subscription(
            Image, 'image', lambda m: newest.__setitem__(slice(None), [m]), qos_profile_sensor_data
        )
        threading.Thread(target=executor.spin, daemon=True).start()
        server = web.AppRunner(application)

        async def serve() -> None:
            await server.setup()
            await web.TCPSite(server, '127.0.0.1', 0).start()
            print(f'open http://127.0.0.1:{server.addresses[0][1]}/', flush=True)
            await asyncio.Event().wait()

        asyncio.run(serve())


def view(address: str, pages: int) -> None:
    """Open a number of pages; print what the first has drawn: JSON of [number, milliseconds]."""
    from playwright.sync_api import sync_playwright

    path = shutil.which('chromium')
    if path is None:
        raise DependencyError('chromium is not installed: `sudo apt-get install chromium`')
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM))
        opened = [
            browser.new_page(viewport={'width': SIZE[0] + 352, 'height': SIZE[1] + 106})
            for _ in range(pages)
        ]
        for page in opened:
            page.goto(address)
        opened[0].wait_for_timeout(1000 * WARM_UP)
        opened[0].evaluate(WATCH, [*SIZE, BITS, BLOCK])
        opened[0].wait_for_timeout(1000 * SECONDS)
        print(json.dumps(opened[0].evaluate('window.drawn')))
        browser.close()


class Measurement:
    """The tracker node with one target, the camera, and what is started beside them."""

    def __init__(self, folder: Path) -> None:
        self._camera = Camera()
        self._tracker = TrackerProcess(folder / 'node.log', [])
        self._children: list[subprocess.Popen[str]] = []

    def run(self, kind: str, server: Sequence[str], pages: int, targets: int) -> Usage:
        """Measure a server, given by the arguments of Python, with a number of pages.

        `kind` is that of the pages: 'view' or 'receive'. Without pages, only the tracker is
        measured.
        """
        with subscriber_node() as (node, executor):
            listener = Listener(node, targets) if targets else None
            self._camera.start()
            self._spin(executor, lambda: not listener or bool(listener.inference))
            address = self._start(server).removeprefix('open ').strip() if pages else ''
            busy = {pid: cpu_seconds(pid) for pid in self._pids()}
            start = time.monotonic()
            if pages:
                viewer = self._popen(['-m', MODULE, kind, address, str(pages)])
                self._spin(executor, lambda: viewer.poll() is not None)
                assert viewer.stdout
                drawn = json.loads(viewer.stdout.read())
            else:
                drawn = []
                self._spin(executor, lambda: time.monotonic() > start + SECONDS)
            seconds = time.monotonic() - start
            cores = [(cpu_seconds(pid) - before) / seconds for pid, before in busy.items()]
        published = self._camera.published
        latencies = [at - published[number] for number, at in drawn if number in published]
        detections = listener.latencies[-int(RATE * SECONDS) :] if listener else []
        return Usage(latencies, detections, sum(cores[1:]), cores[0])

    def close(self) -> None:
        """End all processes."""
        self._camera.ended.set()
        if self._camera.is_alive():
            self._camera.join()
        for child in reversed(self._children):
            child.terminate()
            child.wait()
        self._tracker.stop()

    def _pids(self) -> list[int]:
        return [self._tracker.pid, *(child.pid for child in self._children)]

    def _popen(self, arguments: Sequence[str]) -> subprocess.Popen[str]:
        command = [sys.executable, *arguments]
        self._children.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return self._children[-1]

    def _start(self, server: Sequence[str]) -> str:
        output = self._popen(server).stdout
        assert output
        return output.readline()

    def _spin(self, executor: Executor, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not done():
            executor.spin_once(timeout_sec=0.1)
            self._tracker.check()
            if time.monotonic() > deadline:
                self._tracker.fail(f'the measurement did not end within {TIMEOUT:.0f} s')


def receive(address: str, pages: int) -> None:
    """Do what pages do, without drawing; print what the first has received: as `view` prints it.

    A browser on the same machine takes the tracker's CPU, which one on another machine does not.
    """
    received: list[tuple[int, float]] = []

    async def one(session: aiohttp.ClientSession, keep: bool) -> None:
        async with session.ws_connect(address + 'ws', headers={'Origin': address[:-1]}) as socket:
            async for item in socket:
                if item.type != aiohttp.WSMsgType.BINARY:
                    continue
                stamp, sequence, _, _ = FRAME_HEADER.unpack_from(item.data)
                await socket.send_json({'type': 'ack', 'sequence': sequence})
                if keep:
                    received.append((stamp, time.time_ns()))

    async def all_pages() -> None:
        async with aiohttp.ClientSession() as session:
            tasks = [asyncio.create_task(one(session, not number)) for number in range(pages)]
            await asyncio.sleep(WARM_UP)
            received.clear()
            await asyncio.sleep(SECONDS)
            for task in tasks:
                task.cancel()

    asyncio.run(all_pages())
    print(json.dumps([(stamp, now / 1e6) for stamp, now in received]))


def measure(kind: str, server: Sequence[str], pages: int, targets: int) -> Usage:
    """See `Measurement.run`."""
    with tempfile.TemporaryDirectory() as folder:
        measurement = Measurement(Path(folder))
        try:
            return measurement.run(kind, server, pages, targets)
        finally:
            measurement.close()


def main(arguments: Sequence[str]) -> None:
    """Measure and print a table; the arguments `mjpeg` and `view` run a process of it."""
    handle_signals(END_SIGNALS, signal.default_int_handler)
    if arguments[:1] == ['mjpeg']:
        with suppress(KeyboardInterrupt):
            serve_mjpeg()
        return
    if arguments:
        {'view': view, 'receive': receive}[arguments[0]](arguments[1], int(arguments[2]))
        return
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    use_profile()
    console = ['-m', 'siamffn_ros.console.main', '--ros-args', '-p', 'port:=0']
    print(
        f'{SIZE[0]}x{SIZE[1]}, bgr8, {RATE}/s; milliseconds: median / 95th percentile; CPU: cores'
    )
    print('| | targets | picture | pictures/s | detections | CPU: server | node |')
    print('|---|---|---|---|---|---|---|')
    mjpeg = ['-m', MODULE, 'mjpeg']
    for name, targets, kind, server, pages in (
        ('no server', 1, '', (), 0),
        ('console, 1 client that only receives', 1, 'receive', console, 1),
        ('console, 4 clients that only receive', 1, 'receive', console, 4),
        ('console, 1 page', 0, 'view', console, 1),
        ('MJPEG, 1 page', 0, 'view', mjpeg, 1),
        ('console, 1 page', 1, 'view', console, 1),
        ('MJPEG, 1 page', 1, 'view', mjpeg, 1),
    ):
        usage = measure(kind, server, pages, targets)
        drawn, detections = (
            _statistics(values) if values else '-' for values in (usage.drawn, usage.detections)
        )
        print(
            f'| {name} | {targets} | {drawn} | {len(usage.drawn) / SECONDS:.1f} | {detections} '
            f'| {usage.server:.2f} | {usage.node:.2f} |',
            flush=True,
        )


def _statistics(milliseconds: Sequence[float]) -> str:
    latency = Latency.from_milliseconds(milliseconds)
    return f'{latency.median:.1f} / {latency.p95:.1f}'


if __name__ == '__main__':
    main(sys.argv[1:])
