"""Images as arrays: their type, validation, reading and decoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from siamffn_model.atomic_io import write_bytes
from siamffn_model.errors import ImageError

Image = NDArray[np.uint8]

RANGE_SAMPLES = 20_000  # values of a 16 bit image from which their range is estimated
MIN_RANGE = 255  # of 16 bit values: stretching a narrower range would amplify noise


def check_image(image: Any) -> Image:
    """Return the image if it is BGR uint8 (H, W, 3) and not empty; raise `ImageError` otherwise."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        dtype = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(f'image is {dtype}: give a BGR uint8 array of shape (H, W, 3)')
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(
            f'image has shape {image.shape}: give a BGR uint8 array of shape (H, W, 3)'
        )
    return image


def read_image(path: Path) -> Image:
    """Read an image as BGR uint8 (H, W, 3); raise `ImageError` with the name of the file.

    See `decode_image` for the orientation and 16 bit.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise ImageError(f'{path}: cannot be read ({error.strerror})') from error
    image = decode_image(data)
    if image is None:
        raise ImageError(f'{path}: damaged or not an image; replace or remove the file')
    return image


def decode_image(data: NDArray[np.uint8], flag: int = cv2.IMREAD_COLOR) -> Image | None:
    """Decode the bytes (N) of an image file with OpenCV's `flag`; return None if that fails.

    Pixels remain where they are stored, as in ROS: the EXIF orientation is ignored. 16 bit are
    mapped to 8 by `stretch_to_8_bit`; floating point is not supported.
    """
    flag |= cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_ANYDEPTH
    try:
        image = cv2.imdecode(data, flag) if data.size else None
    except cv2.error:  # such as a size that is too large
        return None
    if image is not None and image.dtype == np.uint16:
        return stretch_to_8_bit(image.astype(np.uint16, copy=False))
    return image if image is not None and image.dtype == np.uint8 else None  # type: ignore[return-value]


def write_image(path: Path, image: Image) -> None:
    """Write an image in the format of the file's suffix; raise `DataError` if that fails."""
    _, data = cv2.imencode(path.suffix, image)
    write_bytes(path, data.tobytes())


def stretch_to_8_bit(pixels: NDArray[np.uint16]) -> Image:
    """Map 16 bit pixels (H, W) or (H, W, C) linearly to 8 bit of the same shape.

    The range is that from the 0.1th percentile to the 99.9th of all values, or 255 values if it is
    narrower: thermal cameras use a small part of the 16 bit, which a division by 256 would leave
    nearly black.
    """
    stride = -(-pixels.size // RANGE_SAMPLES) | 1
    if stride % 3 == 0:
        stride += 2  # a multiple of neither 2 nor 3, to sample every colour
    low, high = np.percentile(pixels.reshape(-1)[::stride], (0.1, 99.9))
    low = int(low)
    shifted = np.maximum(pixels, low)
    shifted -= low
    scaled = cv2.convertScaleAbs(shifted, alpha=255 / max(high - low, MIN_RANGE))  # clips at 255
    return np.asarray(scaled, np.uint8)
