"""Write images as a video."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import cv2

from siamffn_model.errors import DataError, ImageError
from siamffn_model.imaging.sources import Image

CODECS = ('avc1', 'mp4v')  # browsers play H.264 (avc1); many OpenCV builds can only write mp4v


class VideoWriter:
    """Write BGR uint8 images of one size as an .mp4 video.

    H.264, which browsers play, where the OpenCV build can write it, else MPEG-4 part 2. Sides of
    odd length get one more row or column, since the codecs need even ones. The file is there when
    the `with` block has ended well, and only then: until then it has a temporary name.

    >>> with VideoWriter('overlay.mp4', fps=30.0, size=(320, 240)) as writer:  # doctest: +SKIP
    ...     writer.write(image)

    Raises:
        DataError: the file cannot be written, on opening or (a full disk) at the end.
        ImageError: an image of another size.
    """

    def __init__(self, path: str | Path, fps: float, size: tuple[int, int]) -> None:
        self.path = Path(path)
        self.size = size
        self.count = 0
        self._partial = self.path.with_name(f'.{self.path.stem}.partial.mp4')
        even = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        for codec in CODECS:
            with _native_stderr_silenced():  # FFmpeg complains there of a codec it lacks
                fourcc = cv2.VideoWriter.fourcc(*codec)
                self._writer = cv2.VideoWriter(str(self._partial), fourcc, fps, even)
            if self._writer.isOpened():
                return
        self._partial.unlink(missing_ok=True)
        raise DataError(
            f'{self.path}: cannot write a {size[0]}x{size[1]} video at {fps:g} fps; check that the '
            'folder exists and may be written to'
        )

    def write(self, image: Image) -> None:
        """Append one image."""
        height, width = image.shape[:2]
        if (width, height) != self.size:
            raise ImageError(
                f'image {self.count + 1} of {self.path} is {width}x{height}, the video is '
                f'{self.size[0]}x{self.size[1]}: give images of one size'
            )
        odd_row, odd_column = height % 2, width % 2
        self._writer.write(
            cv2.copyMakeBorder(image, 0, odd_row, 0, odd_column, cv2.BORDER_REPLICATE)
            if odd_row or odd_column
            else image
        )
        self.count += 1

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.release()
        try:
            if kind is None and self.count:
                self._check()
                self._partial.replace(self.path)
        except OSError as failure:
            raise DataError(f'{self.path}: cannot be written ({failure.strerror})') from failure
        finally:
            self._partial.unlink(missing_ok=True)

    def _check(self) -> None:
        """OpenCV does not say when writing fails; the finished file does."""
        capture = cv2.VideoCapture(str(self._partial))
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT) if capture.isOpened() else 0
        capture.release()
        if count < self.count:  # Ctrl-C may come between a write and its count
            raise DataError(
                f'{self.path}: only {count:g} of {self.count} images could be written; is the disk '
                'full?'
            )


@contextmanager
def _native_stderr_silenced() -> Iterator[None]:
    """Drop what libraries below Python print to standard error."""
    kept = os.dup(2)
    void = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(void, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(void)
