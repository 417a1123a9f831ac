"""Between ROS messages and the tracker's arrays and boxes."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import BoundingBox2D, Detection2D, ObjectHypothesisWithPose

from siamffn_model.errors import BoxError, ImageError
from siamffn_model.geometry import Box

try:
    from cv_bridge import CvBridge
except ImportError:
    CvBridge = None

BYTES_PER_PIXEL = {
    'bgr8': 3,
    'rgb8': 3,
    'bgra8': 4,
    'rgba8': 4,
    'mono8': 1,
    'mono16': 2,
    'yuv422': 2,
    'yuv422_yuy2': 2,
    **{f'bayer_{order}8': 1 for order in ('rggb', 'bggr', 'gbrg', 'grbg')},
    **{f'bayer_{order}16': 2 for order in ('rggb', 'bggr', 'gbrg', 'grbg')},
}


def check_image(message: Image) -> None:
    """Raise `ImageError` unless the encoding is known and the sizes agree; costs no copy."""
    encoding, height, width, step = message.encoding, message.height, message.width, message.step
    if encoding not in BYTES_PER_PIXEL:
        raise ImageError(
            f'image encoding {encoding[:40]!r} is not supported: publish one of '
            + ', '.join(BYTES_PER_PIXEL)
        )
    if height < 1 or width < 1:
        raise ImageError(f'image of {width}x{height} pixels is empty: check the camera')
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


def to_bgr(message: Image) -> NDArray[np.uint8]:
    """Return the image as BGR uint8 (H, W, 3); a view of the message where it is `bgr8` already.

    Raises `ImageError` for an unknown encoding, sizes that do not agree or a failed conversion.
    """
    check_image(message)
    if message.encoding == 'bgr8':
        rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
        image = rows[:, : 3 * message.width].reshape(message.height, message.width, 3)
        return np.ascontiguousarray(image)
    try:
        return np.ascontiguousarray(_convert(message), np.uint8)
    except Exception as error:  # each library has errors of its own
        raise ImageError(
            f'cannot convert a {message.width}x{message.height} {message.encoding} image to bgr8 '
            f'({error}): publish bgr8 or rgb8'
        ) from error


def _with_cv_bridge(message: Image) -> Any:
    return CvBridge().imgmsg_to_cv2(message, 'bgr8')


def _with_rosbags(message: Image) -> Any:
    """rosbags-image knows no padded rows and fewer names: give it packed rows."""
    from rosbags.image import image_to_cvimage

    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    packed = rows[:, : message.width * BYTES_PER_PIXEL[message.encoding]]
    plain = SimpleNamespace(
        height=message.height,
        width=message.width,
        encoding=message.encoding,
        is_bigendian=bool(message.is_bigendian) and message.encoding.endswith('16'),
        data=np.ascontiguousarray(packed),
    )
    return image_to_cvimage(plain, 'bgr8')  # type: ignore[arg-type]


_convert: Callable[[Image], Any] = _with_rosbags if CvBridge is None else _with_cv_bridge


def to_image(image: NDArray[np.uint8], header: Header) -> Image:
    """Return a `bgr8` message of a BGR uint8 image (H, W, 3)."""
    height, width = image.shape[:2]
    data = array('B')
    data.frombytes(np.ascontiguousarray(image).reshape(-1).data)
    return Image(
        header=header, height=height, width=width, encoding='bgr8', step=3 * width, data=data
    )


def to_box(bbox: BoundingBox2D) -> Box:
    """Return the box (top-left corner and size, pixels); raises `BoxError` for a rotated one."""
    if bbox.center.theta != 0:
        raise BoxError(
            f'box is rotated by {bbox.center.theta:g} rad: give an upright box, theta = 0'
        )
    center = bbox.center.position
    return Box.from_center(center.x, center.y, bbox.size_x, bbox.size_y)


def to_bbox(box: Box) -> BoundingBox2D:
    """Return the message of a box: its centre and size in pixels."""
    bbox = BoundingBox2D(size_x=float(box.w), size_y=float(box.h))
    bbox.center.position.x = float(box.cx)
    bbox.center.position.y = float(box.cy)
    return bbox


def to_detection(target_id: str, box: Box, score: float, header: Header) -> Detection2D:
    """Return the detection of one target; its class is the target's id, as we know no other."""
    result = ObjectHypothesisWithPose()
    result.hypothesis.class_id = target_id
    result.hypothesis.score = float(score)
    return Detection2D(header=header, results=[result], bbox=to_bbox(box), id=target_id)


def to_nanoseconds(stamp: Time) -> int:
    """Return a stamp as nanoseconds."""
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def to_stamp(nanoseconds: int) -> Time:
    """Return nanoseconds as a stamp."""
    sec, nanosec = divmod(nanoseconds, 10**9)
    return Time(sec=sec, nanosec=nanosec)
