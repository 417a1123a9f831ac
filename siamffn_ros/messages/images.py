"""Validate and decode image messages, and build them from arrays."""

from __future__ import annotations

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
from siamffn_model.imaging.image import decode_image, stretch_to_8_bit
from siamffn_model.imaging.image_header import image_size

try:
    from cv_bridge import CvBridge
except ImportError:
    CvBridge = None

ALIASES = {  # names of newer drivers, and of OpenCV's types -> common names
    'uyvy': 'yuv422',
    'yuyv': 'yuv422_yuy2',
    '8UC1': 'mono8',
    '8UC3': 'bgr8',
    '8UC4': 'bgra8',
    '16UC1': 'mono16',
    '16UC3': 'bgr16',
}
HALF_CHROMA = {'nv12': cv2.COLOR_YUV2BGR_NV12, 'nv21': cv2.COLOR_YUV2BGR_NV21}  # YUV 4:2:0
DEPTH = '32FC1'
BAYER = [f'bayer_{order}' for order in ('rggb', 'bggr', 'gbrg', 'grbg')]
BYTES_PER_PIXEL = {  # in the first rows, of brightness, for 4:2:0
    **{f'{channels}8': len(channels) for channels in ('bgr', 'rgb', 'bgra', 'rgba')},
    **{f'{channels}16': 2 * len(channels) for channels in ('bgr', 'rgb', 'bgra', 'rgba')},
    'mono8': 1,
    'mono16': 2,
    'yuv422': 2,
    'yuv422_yuy2': 2,
    DEPTH: 4,
    **dict.fromkeys(HALF_CHROMA, 1),
    **{name + bits: size for name in BAYER for bits, size in (('8', 1), ('16', 2))},
}
BYTES_PER_PIXEL |= {alias: BYTES_PER_PIXEL[name] for alias, name in ALIASES.items()}

IMAGE_TYPES = {f'sensor_msgs/msg/{kind.__name__}': kind for kind in (Image, CompressedImage)}

MAX_PIXELS = 50_000_000  # 8K has 33 million
MAX_FRAME_ID = 256  # characters


def check_message(message: Image | CompressedImage) -> None:
    """Validate an image message; call it once, when the message arrives, and before `to_bgr`.

    It checks what the fields and, of a JPEG or PNG, the header and the length show. It neither
    decodes nor copies the data.

    Raises `ImageError` for a raw image with an unknown encoding or inconsistent sizes, for a
    compressed image that is truncated or neither JPEG nor PNG, and for any image that is empty,
    has more than `MAX_PIXELS` pixels, or a frame_id of more than `MAX_FRAME_ID` characters.
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
            'the publisher must set step to the bytes of a row, including padding'
        )
    if encoding in HALF_CHROMA and (width % 2 or height % 2):
        raise ImageError(f'{encoding} image of {width}x{height} pixels: both must be even')
    if len(message.data) != _row_count(message) * step:
        raise ImageError(
            f'{width}x{height} {encoding} image has {len(message.data)} bytes instead of '
            f'{_row_count(message)} rows * step = {_row_count(message) * step}: the publisher must '
            'send complete images'
        )


def _row_count(message: Image) -> int:
    """Return the number of rows in the data: 4:2:0 has a chroma row for two of brightness."""
    height = int(message.height)
    return height * 3 // 2 if message.encoding in HALF_CHROMA else height


def _check_compressed(message: CompressedImage) -> None:
    if 'compressedDepth' in message.format:
        raise ImageError(
            f'format {message.format[:40]!r} is a depth image: give the topic of a colour image'
        )
    size = image_size(memoryview(message.data))
    if size is None:
        raise _decoding_error(message)
    _check_size(*size)


def _check_size(width: int, height: int) -> None:
    if height < 1 or width < 1:
        raise ImageError(f'image of {width}x{height} pixels is empty: check the camera')
    if width * height > MAX_PIXELS:
        raise ImageError(
            f'image of {width}x{height} pixels is too large, at most {MAX_PIXELS:,} pixels are '
            'possible: publish smaller images'
        )


def _decoding_error(message: CompressedImage) -> ImageError:
    return ImageError(
        f'{len(message.data)} bytes of format {message.format[:40]!r} are damaged, or neither JPEG '
        'nor PNG: publish jpeg or png'
    )


def to_bgr(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """Decode an image message that `check_message` has accepted, to BGR uint8 (H, W, 3).

    The array is a view of the message's data if this is `bgr8` without padding. 16 bit, raw or
    PNG, are mapped to 8 by `stretch_to_8_bit`, all colours alike; transparency is ignored. `32FC1`
    is depth in metres: it is converted to the millimetres of `16UC1`, 0 where there is no
    measurement (REP 118). Compressed images are JPEG or PNG; their EXIF orientation is ignored.

    Raises `ImageError` for damaged data or a failed conversion.
    """
    if isinstance(message, CompressedImage):
        return _decompress(message)
    try:
        if ALIASES.get(message.encoding, message.encoding) == 'bgr8':
            return _rows(message).reshape(message.height, message.width, 3)
        if message.encoding in HALF_CHROMA:
            bgr = cv2.cvtColor(_rows(message), HALF_CHROMA[message.encoding])
            return np.asarray(bgr, np.uint8)
        return np.ascontiguousarray(_convert(_to_8_bit(message)), np.uint8)
    except Exception as error:  # each library has its own errors
        raise ImageError(
            f'cannot convert a {message.width}x{message.height} {message.encoding[:40]} image to '
            f'bgr8 ({error}): publish bgr8 or rgb8'
        ) from error


def _decompress(message: CompressedImage) -> NDArray[np.uint8]:
    image = decode_image(np.frombuffer(message.data, np.uint8))
    if image is None:
        raise _decoding_error(message)
    return image


def _rows(message: Image) -> NDArray[np.uint8]:
    """Return the bytes of each row (H, bytes) without padding; a view if there is no padding."""
    rows = np.frombuffer(message.data, np.uint8).reshape(-1, message.step)
    rows = rows[: _row_count(message)]
    return np.ascontiguousarray(rows[:, : message.width * BYTES_PER_PIXEL[message.encoding]])


def _to_8_bit(message: Image) -> SimpleNamespace:
    """Return the image in a form that both libraries convert: 8 bit, no padding, a common name."""
    encoding = ALIASES.get(message.encoding, message.encoding)
    rows = _rows(message)
    order = '>' if message.is_bigendian else '<'
    if encoding == DEPTH:
        rows = stretch_to_8_bit(_millimetres(rows.view(f'{order}f4')))
        encoding = 'mono8'
    elif encoding.endswith('16'):
        pixels = rows.view(f'{order}u2').astype(np.uint16, copy=False)
        if encoding in ('bgra16', 'rgba16'):
            pixels = pixels.reshape(message.height, -1, 4)[..., :3].reshape(message.height, -1)
            encoding = f'{encoding[:3]}16'
        rows = stretch_to_8_bit(pixels)
        encoding = encoding.removesuffix('16') + '8'
    return SimpleNamespace(
        height=message.height,
        width=message.width,
        encoding=encoding,
        is_bigendian=False,
        step=rows.shape[1],
        data=rows,
    )


def _millimetres(metres: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return depth in millimetres; 0 where it is not finite or negative."""
    finite = np.where(np.isfinite(metres), metres, 0)
    return np.asarray((1000 * np.clip(finite, 0, 65.535)).round(), np.uint16)


@cache
def _bridge() -> Any:
    return CvBridge()


def _convert_with_cv_bridge(image: SimpleNamespace) -> Any:
    return _bridge().imgmsg_to_cv2(image, 'bgr8')


def _convert_with_rosbags(image: SimpleNamespace) -> Any:
    from rosbags.image import image_to_cvimage

    return image_to_cvimage(image, 'bgr8')  # type: ignore[arg-type]


_convert: Callable[[SimpleNamespace], Any] = (
    _convert_with_rosbags if CvBridge is None else _convert_with_cv_bridge
)


def to_image(image: NDArray[np.uint8], header: Header) -> Image:
    """Return the `bgr8` message of an image, BGR uint8 (H, W, 3)."""
    height, width = image.shape[:2]
    data = array('B')
    data.frombytes(np.ascontiguousarray(image).reshape(-1).data)
    return Image(
        header=header, height=height, width=width, encoding='bgr8', step=3 * width, data=data
    )
