"""Read images in order from a video file, a folder of images, or a sequence folder."""

from __future__ import annotations

import copy
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import cv2

from siamffn_model.atomic_io import read_lines
from siamffn_model.errors import DataError, ImageError
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image, read_image

IMAGE_SUFFIXES = {'.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp'}
FOLDER_FPS = 30.0  # assumed where the source has no frame rate


class Frames(ABC):
    """The images of one source; each iteration starts at the first, as BGR uint8 (H, W, 3).

    Attributes:
        path: the file or folder that was opened.
        fps: frames per second; 30.0 for folders.
        size: (width, height) of the first image in pixels.
        expected: approximate number of images, for progress bars; None if unknown. For a video it
            is the number in the header, while `count` decodes the complete video.
        groundtruth: the target's box in each image, None where the target is absent; None if the
            source has no ground truth.
    """

    path: Path
    fps: float
    size: tuple[int, int]
    expected: int | None
    groundtruth: list[Box | None] | None = None

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of images that an iteration yields."""

    @abstractmethod
    def __iter__(self) -> Iterator[Image]:
        """Yield the images; raise `ImageError` with the name of one that cannot be read."""

    def __len__(self) -> int:
        return self.count


def open_frames(path: str | Path) -> Frames:
    """Open a video file, a folder of images, or a sequence folder (img/ + groundtruth.txt).

    Images are in natural order: img2 comes before img10.

    Raises:
        DataError: `path` does not exist, the folder has no images, or the number of rows of the
            ground truth differs from that of images.
        ImageError: the video or the first image cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path)
    if path.is_file():
        return _Video(path)
    raise DataError(f'{path}: no such file or folder; give a video, or a folder of images')


def read_groundtruth(path: Path) -> list[Box | None]:
    """Read one box x,y,w,h per row (comma, tab or space separated); a row with NaN gives None.

    Raises `DataError` with the file and the row that does not consist of four numbers.
    """
    boxes: list[Box | None] = []
    for number, row in enumerate(read_lines(path), 1):
        try:
            x, y, w, h = split_numbers(row)
        except ValueError as error:
            raise DataError(
                f'{path}: row {number} is {row!r}; each row must be x,y,w,h, '
                'or NaN,NaN,NaN,NaN where the target is absent'
            ) from error
        boxes.append(None if any(map(math.isnan, (x, y, w, h))) else Box(x, y, w, h))
    return boxes


def split_numbers(row: str) -> list[float]:
    """Return the numbers of a comma, tab or space separated row; raise `ValueError` if invalid."""
    return [float(word) for word in re.split(r'[,;\s]+', row.strip())]


class ImageFiles(Frames):
    """One or more image files of one size, in the order given.

    Raises `ImageError` if the first cannot be read.
    """

    fps = FOLDER_FPS

    def __init__(
        self, path: Path, files: Sequence[Path], groundtruth: list[Box | None] | None = None
    ) -> None:
        self.path, self.files, self.groundtruth = path, files, groundtruth
        height, width = read_image(files[0]).shape[:2]
        self.size = (width, height)
        self.expected = len(files)

    @property
    def count(self) -> int:
        """See `Frames`."""
        return len(self.files)

    def rest(self, first: int) -> ImageFiles:
        """Return the images from index `first` on, without reading any."""
        part = copy.copy(self)
        part.files, part.expected = self.files[first:], self.count - first
        part.groundtruth = self.groundtruth and self.groundtruth[first:]
        return part

    def __iter__(self) -> Iterator[Image]:
        for file in self.files:
            image = read_image(file)
            size = (image.shape[1], image.shape[0])
            if size != self.size:
                raise ImageError(
                    f'{file}: {size[0]}x{size[1]}, but the first image is '
                    f'{self.size[0]}x{self.size[1]}; all images must have the same size'
                )
            yield image


def _open_folder(path: Path) -> ImageFiles:
    folder = path / 'img' if (path / 'img').is_dir() else path
    files = image_files(folder)
    groundtruth, file = None, path / 'groundtruth.txt'
    if file.is_file():
        groundtruth = read_groundtruth(file)
        if len(groundtruth) != len(files):
            raise DataError(
                f'{file}: {len(groundtruth)} rows for {len(files)} images in {folder}; '
                'there must be one row per image: restore the missing ones'
            )
    return ImageFiles(path, files, groundtruth)


def image_files(folder: Path) -> list[Path]:
    """Return the image files of a folder in natural order; raise `DataError` if it has none."""
    files = [file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        suffixes = ' '.join(sorted(IMAGE_SUFFIXES))
        raise DataError(f'{folder}: no images in this folder; expected files named *{suffixes}')
    from natsort import natsorted  # imported here: training and inference do without

    return natsorted(files, key=lambda file: file.name)


class _Video(Frames):
    def __init__(self, path: Path) -> None:
        self.path = path
        capture = cv2.VideoCapture(str(path))
        success, image = capture.read()
        fps = capture.get(cv2.CAP_PROP_FPS)
        expected = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        capture.release()
        if not success:
            raise ImageError(
                f'{path}: not a video that OpenCV can decode; check that the file is complete, '
                'or convert it, for example to H.264 in .mp4'
            )
        self.fps = fps if math.isfinite(fps) and fps > 0 else FOLDER_FPS
        self.size = (image.shape[1], image.shape[0])
        self.expected = int(expected) if expected > 0 else None

    @cached_property
    def count(self) -> int:
        """Number of images, found by decoding: headers of damaged videos have wrong numbers."""
        capture = cv2.VideoCapture(str(self.path))
        count = 0
        while capture.grab():
            count += 1
        capture.release()
        return count

    def __iter__(self) -> Iterator[Image]:
        capture = cv2.VideoCapture(str(self.path))
        try:
            while True:
                success, image = capture.read()
                if not success:
                    return
                yield image  # type: ignore[misc]
        finally:
            capture.release()
