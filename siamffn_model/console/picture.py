"""An image of a camera as the binary message for pages, encoded once for all of them."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Executor
from typing import NamedTuple

import cv2

from siamffn_model.console.backend import CameraFrame
from siamffn_model.console.protocol import pack_frame
from siamffn_model.errors import ImageError
from siamffn_model.imaging.image import Image
from siamffn_model.imaging.image_header import image_size
from siamffn_model.live.results import Result


class Level(NamedTuple):
    """How much an image is reduced.

    Attributes:
        width: the largest width in pixels.
        quality: of the JPEG, 1 to 100.
        cost: approximate size in bytes relative to the best level.
    """

    width: int
    quality: int
    cost: float


# From the best to the smallest: about 200 kB to 8 kB for an image of 16:9.
LEVELS = (
    Level(1920, 85, 1.0),
    Level(1280, 80, 0.38),
    Level(960, 70, 0.16),
    Level(640, 60, 0.06),
    Level(480, 50, 0.03),
    Level(320, 40, 0.012),
)
MAX_SIDE = 65_500  # pixels; of a JPEG
BYTES = 400_000  # of an image of the best level, at most, if a JPEG is passed through


class Picture:
    """One image of a camera.

    Args:
        frame: the image.
        sequence: its number, which pages acknowledge.
        pool: encodes it; with one thread, which also decodes it at most once.

    Attributes:
        arrival: time of reception in seconds of the monotonic clock.
        result: the targets in it, once they are known.
    """

    def __init__(self, frame: CameraFrame, sequence: int, pool: Executor) -> None:
        self.stamp, self.sequence = frame.stamp, sequence
        self.arrival = time.monotonic()
        self.result: Result | None = None
        self._frame, self._pool = frame, pool
        self._image: Image | None = None
        self._messages: dict[int, asyncio.Future[bytes]] = {}

    def message(self, level: int) -> asyncio.Future[bytes]:
        """Return the future of the binary message for a level, in `LEVELS`.

        It may hold an `ImageError`.
        """
        if level not in self._messages:
            loop = asyncio.get_running_loop()
            future = loop.run_in_executor(self._pool, self._encode, LEVELS[level])
            future.add_done_callback(_retrieve)
            self._messages[level] = future
        return self._messages[level]

    def _encode(self, level: Level) -> bytes:
        jpeg = self._frame.jpeg
        if jpeg and len(jpeg) <= BYTES * level.cost:
            size = image_size(memoryview(jpeg))
            if size and size[0] <= level.width:
                return pack_frame(self.stamp, self.sequence, size, jpeg)
        if self._image is None:
            self._image = self._frame.decode()
        height, width = self._image.shape[:2]
        if max(width, height) > MAX_SIDE:
            raise ImageError(f'an image of {width}x{height} pixels is too large to be shown')
        return pack_frame(
            self.stamp, self.sequence, (width, height), encode_jpeg(self._image, level)
        )


def encode_jpeg(image: Image, level: Level) -> bytes:
    """Return an image, BGR uint8 (H, W, 3), as a JPEG file, reduced to the width of the level."""
    height, width = image.shape[:2]
    if width > level.width:
        size = (level.width, max(round(height * level.width / width), 1))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    done, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, level.quality])
    if not done:
        raise ImageError(f'an image of {width}x{height} pixels cannot be encoded as JPEG')
    return data.tobytes()


def _retrieve(future: asyncio.Future[bytes]) -> None:
    """Take the exception of a future that nobody may await."""
    if not future.cancelled():
        future.exception()
