"""Between ROS image messages and arrays."""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from siamffn_model.errors import ImageError
from siamffn_model.imaging.sources import decode_image

try:
    from cv_bridge import CvBridge
except ImportError:
    CvBridge = None

ALIASES = {'uyvy': 'yuv422', 'yuyv': 'yuv422_yuy2'}  # what newer drivers say, what all know

BYTES_PER_PIXEL = {
    'bgr8': 3,
    'rgb8': 3,
    'bgra8': 4,
    'rgba8': 4,
    'mono8': 1,
    'mono16': 2,
    'yuv422': 2,
    'yuv422_yuy2': 2,
    **dict.fromkeys(ALIASES, 2),
    **{f'bayer_{order}8': 1 for order in ('rggb', 'bggr', 'gbrg', 'grbg')},
    **{f'bayer_{order}16': 2 for order in ('rggb', 'bggr', 'gbrg', 'grbg')},
}

IMAGE_TYPES = {f'sensor_msgs/msg/{kind.__name__}': kind for kind in (Image, CompressedImage)}

MAX_PIXELS = 50_000_000  # 8K has 33 million
MAX_FRAME_ID = 256  # characters

SAMPLE = 20_000  # pixels of a 16 bit image that tell its range
LEAST_SPAN = 255  # of 16 bit values: less would show noise

# Boxes refer to the pixels of the camera, so an orientation in EXIF data must turn nothing.
DECODING = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
PNG_START = PNG_SIGNATURE + b'\x00\x00\x00\x0dIHDR'
JPEG_START = b'\xff\xd8\xff'
JPEG_MARKER = re.compile(rb'\xff([\x01-\xfe])')
JPEG_SIZED = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # start of frame
JPEG_BARE = {0x01, *range(0xD0, 0xD8)}  # without a length
JPEG_SCAN = 0xDA
JPEG_END = b'\xff\xd9'


def check_image(message: Image | CompressedImage) -> None:
    """Raise `ImageError` for what the message alone tells is unusable; decodes nothing.

    That is a raw image of unknown encoding or of sizes that do not agree, a compressed one that is
    cut or neither JPEG nor PNG, and of both one that is empty, has more than `MAX_PIXELS` pixels
    or a frame_id of more than `MAX_FRAME_ID` characters.
    """
    if len(message.header.frame_id) > MAX_FRAME_ID:
        raise ImageError(
            f'frame_id {message.header.frame_id[:40]!r}... has {len(message.header.frame_id)} '
            f'characters, at most {MAX_FRAME_ID} are possible: give the camera a shorter one'
        )
    if isinstance(message, CompressedImage):
        _check_compressed(message)
    else:
        _check_raw(message)


def _check_raw(message: Image) -> None:
    encoding, height, width, step = message.encoding, message.height, message.width, message.step
    if encoding not in BYTES_PER_PIXEL:
        raise ImageError(
            f'image encoding {encoding[:40]!r} is not supported: publish one of '
            + ', '.join(BYTES_PER_PIXEL)
        )
    _check_size(width, height)
    row = width * BYTES_PER_PIXEL[encoding]
    if step < row:
        raise ImageError(
            f'image step is {step}, but a row of {width} {encoding} pixels has {row} bytes: '
            'the publisher must set step to the bytes of a row, padding included'
        )
    if len(message.data) != height * step:
        raise ImageError(
            f'{width}x{height} {encoding} image has {len(message.data)} bytes instead of '
            f'height * step = {height * step}: the publisher must send whole images'
        )


def _check_compressed(message: CompressedImage) -> None:
    if 'compressedDepth' in message.format:
        raise ImageError(
            f'format {message.format[:40]!r} is that of depth images, which are no colour images: '
            'give the topic of a colour image'
        )
    size = _compressed_size(bytes(message.data))
    if size is None:
        raise _undecodable(message)
    _check_size(*size)


def _check_size(width: int, height: int) -> None:
    if height < 1 or width < 1:
        raise ImageError(f'image of {width}x{height} pixels is empty: check the camera')
    if width * height > MAX_PIXELS:
        raise ImageError(
            f'image of {width}x{height} pixels is too large, at most {MAX_PIXELS:,} pixels are '
            'possible: publish smaller images'
        )


def _undecodable(message: CompressedImage) -> ImageError:
    return ImageError(
        f'{len(message.data)} bytes of format {message.format[:40]!r} are damaged, or neither JPEG '
        'nor PNG: publish jpeg or png'
    )


def _compressed_size(data: bytes) -> tuple[int, int] | None:
    """Return the (width, height) that the header of a JPEG or PNG claims; None without one.

    A decoder allocates what a header claims, however few bytes follow, so this comes first.
    """
    try:
        if data.startswith(PNG_START):
            return _png_size(data)
        if data.startswith(JPEG_START):
            return _jpeg_size(data)
    except struct.error:  # ends too early
        pass
    return None


def _png_size(data: bytes) -> tuple[int, int] | None:
    """None also where a chunk is longer than the data: OpenCV allocates what that claims, too."""
    place = len(PNG_SIGNATURE)
    kind = b''
    while kind != b'IEND' and place < len(data):
        length, kind = struct.unpack_from('>I4s', data, place)
        place += 4 + 4 + length + 4
    if place > len(data):
        return None
    width, height = struct.unpack_from('>II', data, len(PNG_START))
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Go from marker to marker as libjpeg does, so that it finds the same size.

    None also for data that is cut: OpenCV 4 makes up the rest of the image.
    """
    place = 2
    while found := JPEG_MARKER.search(data, place):
        place = found.end()
        marker = data[place - 1]
        if marker in JPEG_SIZED:
            height, width = struct.unpack_from('>HH', data, place + 3)
            return (width, height) if data.rfind(JPEG_END) > place else None
        if marker == JPEG_SCAN:
            return None
        if marker not in JPEG_BARE:
            place += struct.unpack_from('>H', data, place)[0]
    return None


def to_bgr(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """Return the image as BGR uint8 (H, W, 3); a view of the message where it is `bgr8` already.

    Raw images of 16 bit are stretched to 8 bit, linearly from their 0.1th percentile to their
    99.9th, or over 255 values where that is less. Thermal cameras use a narrow part of the 16 bit,
    which a plain division by 256 would leave nearly black. Compressed images are JPEG or PNG, of
    any depth; their EXIF orientation is ignored.

    Raises `ImageError` for what `check_image` does, for damaged data or a failed conversion.
    """
    check_image(message)
    if isinstance(message, CompressedImage):
        return _decompressed(message)
    if message.encoding == 'bgr8':
        return _rows(message).reshape(message.height, message.width, 3)
    try:
        return np.ascontiguousarray(_convert(_plain(message)), np.uint8)
    except Exception as error:  # each library has errors of its own
        raise ImageError(
            f'cannot convert a {message.width}x{message.height} {message.encoding} image to bgr8 '
            f'({error}): publish bgr8 or rgb8'
        ) from error


def _decompressed(message: CompressedImage) -> NDArray[np.uint8]:
    try:
        image = decode_image(np.frombuffer(message.data, np.uint8), DECODING)
    except cv2.error as error:
        raise _undecodable(message) from error
    if image is None:
        raise _undecodable(message)
    return image


def _rows(message: Image) -> NDArray[np.uint8]:
    """Return the bytes of each row (H, bytes); a view where rows have no padding."""
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    return np.ascontiguousarray(rows[:, : message.width * BYTES_PER_PIXEL[message.encoding]])


def _plain(message: Image) -> SimpleNamespace:
    """Return the image as each library can convert it: 8 bit, no padding, a name that all know."""
    encoding = ALIASES.get(message.encoding, message.encoding)
    rows = _rows(message)
    if encoding.endswith('16'):
        pixels = rows.view('>u2' if message.is_bigendian else '<u2')
        rows = _stretched(pixels.astype(np.uint16, copy=False))
        encoding = encoding.removesuffix('16') + '8'
    return SimpleNamespace(
        height=message.height,
        width=message.width,
        encoding=encoding,
        is_bigendian=False,
        step=rows.shape[1],
        data=rows,
    )


def _stretched(pixels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return pixels (H, W) stretched to 8 bit as `to_bgr` says."""
    every = -(-pixels.size // SAMPLE) | 1  # odd: every colour of a Bayer image is sampled
    low, high = np.percentile(pixels.reshape(-1)[::every], (0.1, 99.9))
    low = int(low)
    above = np.maximum(pixels, low)
    above -= low
    scaled = cv2.convertScaleAbs(above, alpha=255 / max(high - low, LEAST_SPAN))  # clips at 255
    return np.asarray(scaled, np.uint8)


@cache
def _bridge() -> Any:
    return CvBridge()


def _with_cv_bridge(plain: SimpleNamespace) -> Any:
    return _bridge().imgmsg_to_cv2(plain, 'bgr8')


def _with_rosbags(plain: SimpleNamespace) -> Any:
    from rosbags.image import image_to_cvimage

    return image_to_cvimage(plain, 'bgr8')  # type: ignore[arg-type]


_convert: Callable[[SimpleNamespace], Any] = _with_rosbags if CvBridge is None else _with_cv_bridge


def to_image(image: NDArray[np.uint8], header: Header) -> Image:
    """Return a `bgr8` message of a BGR uint8 image (H, W, 3)."""
    height, width = image.shape[:2]
    data = array('B')
    data.frombytes(np.ascontiguousarray(image).reshape(-1).data)
    return Image(
        header=header, height=height, width=width, encoding='bgr8', step=3 * width, data=data
    )
