"""siamffn_ros/conversions.py"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import BoundingBox2D

from siamffn_model.errors import BoxError, ImageError
from siamffn_model.geometry import Box
from siamffn_ros.conversions import (
    BYTES_PER_PIXEL,
    check_image,
    to_bbox,
    to_bgr,
    to_box,
    to_detection,
    to_image,
    to_nanoseconds,
    to_stamp,
)

HEIGHT, WIDTH = 12, 16


def picture() -> np.ndarray:
    """A smooth BGR picture: mosaics and chroma subsampling lose little of it."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([90 + 3 * x, 120 + 2 * y, 60 + 2 * x + 3 * y], -1).astype(np.uint8)


def mosaic(bgr: np.ndarray, order: str) -> np.ndarray:
    """The Bayer image of a picture: `order` names the colours of the first two rows."""
    raw = np.empty((HEIGHT, WIDTH), np.uint8)
    for place, colour in enumerate(order):
        row, column = divmod(place, 2)
        raw[row::2, column::2] = bgr[row::2, column::2, 'bgr'.index(colour)]
    return raw


def message(encoding: str, pixels: np.ndarray, padding: int = 0, big: bool = False) -> Image:
    """A message as a camera sends it, with `padding` bytes at the end of each row."""
    if pixels.dtype == np.uint16:
        pixels = pixels.astype('>u2' if big else '<u2')
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(HEIGHT, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    return Image(
        height=HEIGHT,
        width=WIDTH,
        encoding=encoding,
        step=rows.shape[1],
        is_bigendian=int(big),
        data=rows.tobytes(),
    )


def encoded(encoding: str) -> np.ndarray:
    """The picture in an encoding."""
    bgr = picture()
    if encoding.startswith('bayer_'):
        raw = mosaic(bgr, encoding[6:10])
        return raw if encoding.endswith('8') else raw.astype(np.uint16) * 257
    if encoding.startswith('yuv422'):
        code = cv2.COLOR_BGR2YUV_UYVY if encoding == 'yuv422' else cv2.COLOR_BGR2YUV_YUY2
        return cv2.cvtColor(bgr, code)
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    return {
        'bgr8': bgr,
        'rgb8': bgr[..., ::-1],
        'bgra8': cv2.cvtColor(bgr, cv2.COLOR_BGR2BGRA),
        'rgba8': cv2.cvtColor(bgr, cv2.COLOR_BGR2RGBA),
        'mono8': grey,
        'mono16': grey.astype(np.uint16) * 257,
    }[encoding]


@pytest.mark.parametrize('padding', [0, 6])
@pytest.mark.parametrize('encoding', BYTES_PER_PIXEL)
def test_every_encoding_gives_the_picture(encoding: str, padding: int) -> None:
    image = to_bgr(message(encoding, encoded(encoding), padding))
    assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
    wanted = picture()
    if encoding.startswith('mono'):
        wanted = cv2.cvtColor(encoded('mono8'), cv2.COLOR_GRAY2BGR)
    exact = not encoding.startswith(('bayer', 'yuv'))
    inner = (slice(2, -2), slice(2, -2))  # demosaicing guesses at the border
    difference = cv2.absdiff(image[inner], wanted[inner]).max()
    assert difference <= (1 if exact else 6)


@pytest.mark.parametrize('encoding', ['mono16', 'bayer_rggb16'])
def test_big_endian_gives_the_same_image(encoding: str) -> None:
    pixels = encoded(encoding)
    little = to_bgr(message(encoding, pixels))
    np.testing.assert_array_equal(to_bgr(message(encoding, pixels, big=True)), little)


def test_bgr8_is_not_copied() -> None:
    image = message('bgr8', picture())
    assert np.shares_memory(to_bgr(image), np.frombuffer(image.data, np.uint8))


@pytest.mark.parametrize(
    ('change', 'told'),
    [
        ({'encoding': 'jpeg'}, 'jpeg.*not supported.*bgr8'),
        ({'encoding': ''}, 'not supported'),
        ({'height': 0, 'data': b''}, '16x0 pixels is empty'),
        ({'width': 0}, '0x12 pixels is empty'),
        ({'step': 10}, 'step is 10.*48 bytes'),
        ({'data': b'\x00' * 100}, '100 bytes instead of.*576'),
        ({'height': 100_000, 'width': 100_000, 'step': 300_000}, '576 bytes instead of'),
        ({'height': 2**32 - 1, 'width': 2**32 - 1, 'step': 2**32 - 1}, 'step is'),
    ],
)
def test_unusable_images_are_told_of(change: dict[str, Any], told: str) -> None:
    image = message('bgr8', picture())
    for name, value in change.items():
        setattr(image, name, value)
    with pytest.raises(ImageError, match=told):
        check_image(image)
    with pytest.raises(ImageError, match=told):
        to_bgr(image)


def test_image_message_round_trip() -> None:
    header = Header(stamp=to_stamp(5), frame_id='eye')
    sent = to_image(picture()[:, ::-1], header)
    assert sent.header == header and sent.encoding == 'bgr8' and sent.step == 3 * WIDTH
    np.testing.assert_array_equal(to_bgr(sent), picture()[:, ::-1])


def test_box_round_trip() -> None:
    bbox = to_bbox(Box(10, 20, 30, 50))
    assert (bbox.center.position.x, bbox.center.position.y) == (25, 45)
    assert (bbox.size_x, bbox.size_y) == (30, 50)
    assert to_box(bbox) == Box(10, 20, 30, 50)


@pytest.mark.parametrize('theta', [0.1, math.nan])
def test_rotated_box_is_refused(theta: float) -> None:
    bbox = BoundingBox2D(size_x=2.0, size_y=2.0)
    bbox.center.theta = theta
    with pytest.raises(BoxError, match='theta = 0'):
        to_box(bbox)


def test_detection_carries_header_id_box_and_score() -> None:
    header = Header(stamp=to_stamp(7), frame_id='eye')
    detection = to_detection('car', Box(1, 2, 3, 4), 0.75, header)
    assert detection.header == header and detection.id == 'car'
    assert detection.results[0].hypothesis.score == 0.75
    assert to_box(detection.bbox) == Box(1, 2, 3, 4)


@pytest.mark.parametrize('nanoseconds', [0, 1, 10**9 - 1, 10**9, 1_795_369_850_227_748_866])
def test_stamp_round_trip(nanoseconds: int) -> None:
    assert to_nanoseconds(to_stamp(nanoseconds)) == nanoseconds
