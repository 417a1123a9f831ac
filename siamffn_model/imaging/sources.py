"""Open a video file, a folder of images, or a sequence folder."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

from siamffn_model.errors import DataError, ImageError
from siamffn_model.imaging.frames import FOLDER_FPS, Frame, Frames
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.groundtruth import read_groundtruth
from siamffn_model.imaging.image import read_image
from siamffn_model.imaging.live_source import is_live

IMAGE_SUFFIXES = {'.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp'}


def open_frames(path: str | Path) -> Frames:
    """Open a video file, a folder of images, or a sequence folder (img/ + groundtruth.txt).

    Images are in natural order: img2 comes before img10.

    Raises:
        DataError: `path` does not exist or is a stream or camera, the folder has no images, or the
            number of rows of the ground truth differs from that of images.
        ImageError: the video or the first image cannot be read.
    """
    text, path = str(path), Path(path)
    if path.is_dir():
        return _open_folder(path)
    if path.is_file():
        from siamffn_model.imaging.video_reader import Video  # training needs no FFmpeg

        return Video(path)
    if is_live(text):
        raise DataError(
            f'{text}: streams and cameras are not supported here; give a video file or a folder '
            'of images, start `siamffn console`, or publish the camera as a ROS topic'
        )
    raise DataError(f'{path}: no such file or folder; give a video, or a folder of images')


class ImageFiles(Frames):
    """One or more image files of one size, in the order given.

    Raises `ImageError` if the first cannot be read.
    """

    fps = FOLDER_FPS

    def __init__(
        self, path: Path, files: Sequence[Path], groundtruth: list[Box | None] | None = None
    ) -> None:
        self.path, self.files, self.groundtruth = path, files, groundtruth
        self.unreadable = []
        height, width = read_image(files[0]).shape[:2]
        self.size = (width, height)
        self.expected = len(files)

    @property
    def count(self) -> int:
        """Number of files, which are not read."""
        return len(self.files)

    def __len__(self) -> int:
        return self.count

    def rest(self, first: int) -> ImageFiles:
        """Return the images from index `first` on, without reading any."""
        part = copy.copy(self)
        part.files, part.expected = self.files[first:], self.count - first
        part.groundtruth = self.groundtruth and self.groundtruth[first:]
        return part

    def read(self) -> Iterator[Frame]:
        """See `Frames`; raises `ImageError` for an image of another size than the first."""
        self.unreadable = []
        for number, file in enumerate(self.files):
            try:
                image = read_image(file)
            except ImageError as error:
                self.unreadable.append(str(error))
                continue
            size = (image.shape[1], image.shape[0])
            if size != self.size:
                raise ImageError(
                    f'{file}: {size[0]}x{size[1]}, but the first image is '
                    f'{self.size[0]}x{self.size[1]}; all images must have the same size'
                )
            yield Frame(number, number / self.fps, image)


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
