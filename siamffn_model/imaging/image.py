"""Images as arrays: their type, validation, reading and decoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from siamffn_model.errors import ImageError

Image = NDArray[np.uint8]


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
    """Read an image as BGR uint8 (H, W, 3); raise `ImageError` with the name of the file."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise ImageError(f'{path}: cannot be read ({error.strerror})') from error
    image = decode_image(data)
    if image is None:
        raise ImageError(f'{path}: damaged or not an image; replace or remove the file')
    return image


def decode_image(data: NDArray[np.uint8], flag: int = cv2.IMREAD_COLOR) -> Image | None:
    """Decode the bytes (N) of an image file with OpenCV's `flag`; return None if that fails."""
    return cv2.imdecode(data, flag) if data.size else None  # type: ignore[return-value]
