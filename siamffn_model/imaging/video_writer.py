"""Write images as a video that browsers play: H.264 in .mp4."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np

from siamffn_model.errors import ConfigError, DataError, ImageError
from siamffn_model.imaging.image import Image

ENCODER_OPTIONS = {
    'preset': 'superfast',
    'crf': '20',  # constant quality; 18 is visually lossless, 23 is x264's default
    # BT.601, as cv2.cvtColor converts; without these tags, players assume BT.709 for large videos.
    'colorspace': 'smpte170m',
    'color_primaries': 'smpte170m',
    'color_trc': 'smpte170m',
    'color_range': 'tv',
}
CONTAINER_OPTIONS = {'movflags': 'faststart'}  # the index first, so that playing starts at once
MAX_FPS = 100_000
MAX_DENOMINATOR = 65_535  # of the frame rate


class VideoWriter:
    """Write BGR uint8 images of one size as an H.264 video (yuv420p) in .mp4.

    Images with an odd width or height are padded by one column or row, because yuv420p needs even
    sizes. The file has a temporary name until the `with` block has ended without an exception;
    without any image, no file is written.

    >>> with VideoWriter('overlay.mp4', fps=30.0, size=(320, 240)) as writer:  # doctest: +SKIP
    ...     writer.write(image)

    Args:
        path: the .mp4 file; an existing one is replaced.
        fps: frames per second, positive; may be fractional, such as 29.97.
        size: (width, height) of the images in pixels.

    Raises:
        ConfigError: `fps` is not a number above 0, or above `MAX_FPS`.
        DataError: the file cannot be written, on opening or later (disk full).
        ImageError: an image has another size.
    """

    def __init__(self, path: str | Path, fps: float, size: tuple[int, int]) -> None:
        self.path = Path(path)
        self.size = size
        self.count = 0
        self._partial = self.path.with_name(f'.{self.path.stem}.partial.mp4')
        width, height = size
        rate = Fraction(fps if math.isfinite(fps) else 0).limit_denominator(MAX_DENOMINATOR)
        if not 0 < rate <= MAX_FPS:
            raise ConfigError(
                f'{self.path}: {fps:g} frames per second: give a number above 0, at most {MAX_FPS}'
            )
        try:
            self._container = av.open(str(self._partial.absolute()), 'w', options=CONTAINER_OPTIONS)
            self._stream = self._container.add_stream('libx264', rate, ENCODER_OPTIONS)
            self._stream.width, self._stream.height = width + width % 2, height + height % 2
            self._stream.pix_fmt = 'yuv420p'
            self._container.start_encoding()
        except (OSError, av.FFmpegError) as error:
            self._partial.unlink(missing_ok=True)
            raise DataError(
                f'{self.path}: cannot write a {width}x{height} video at {fps:g} fps '
                f'({error.strerror}); check that the folder exists and can be written to'
            ) from error

    def write(self, image: Image) -> None:
        """Append an image (H, W, 3)."""
        height, width = image.shape[:2]
        if (width, height) != self.size:
            raise ImageError(
                f'image {self.count + 1} of {self.path} is {width}x{height}, the video is '
                f'{self.size[0]}x{self.size[1]}: give images of one size'
            )
        if width % 2 or height % 2:
            image = cv2.copyMakeBorder(  # type: ignore[assignment]
                image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE
            )
        try:
            yuv = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), np.uint8)
            self._encode(av.VideoFrame.from_ndarray(yuv, format='yuv420p'))
        except (OSError, av.FFmpegError) as error:
            raise self._write_error(error) from error
        self.count += 1

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        complete = kind is None and self.count > 0
        try:
            try:
                if complete:
                    self._encode(None)
            finally:
                self._container.close()
            if complete:
                self._partial.replace(self.path)
        except (OSError, av.FFmpegError) as failure:
            if kind is None:
                raise self._write_error(failure) from failure
        finally:
            self._partial.unlink(missing_ok=True)

    def _encode(self, frame: av.VideoFrame | None) -> None:
        """Encode a frame, or the frames that the encoder still holds, and write the packets.

        Encoding and writing are one call into PyAV, so that Ctrl-C cannot lose packets in between.
        """
        packets = chain.from_iterable(map(self._stream.encode, [frame]))
        self._container.mux(packets)  # type: ignore[arg-type]  # any iterable

    def _write_error(self, error: OSError | av.FFmpegError) -> DataError:
        return DataError(
            f'{self.path}: cannot be written after image {self.count} ({error.strerror}); '
            'is the disk full?'
        )
