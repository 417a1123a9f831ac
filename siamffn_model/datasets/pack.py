"""The training pack: objects with masks, backgrounds and short videos, as tar and csv files.

Layout, where paths in the csv files are names in the tar files:

- objects.csv with columns image,mask,x,y,w,h, and objects_1.tar and objects_2.tar;
- backgrounds.csv with column image, and backgrounds.tar;
- videos.csv with columns sequence,frame,path,x,y,w,h,source, and videos.tar.

Boxes are x, y, w, h in pixels of the stored image, counted from 0. Columns not named are ignored.
"""

from __future__ import annotations

import csv
import tarfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from siamffn_model.errors import DataError, ImageError
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import decode_image


class CutOut(NamedTuple):
    """An object: the file names of its image and its mask, and the bounding box of the mask."""

    image: str
    mask: str
    box: Box


class VideoFrame(NamedTuple):
    """A crop of a video frame: file name, number of the frame in the source, box of the target."""

    image: str
    frame: int
    box: Box


@dataclass(frozen=True)
class Pack:
    """All files of the pack in memory, still encoded; an image is decoded on each request.

    Attributes:
        files: name -> content of each image and mask.
        objects: the objects, in the order of objects.csv.
        backgrounds: file names of the background images.
        videos: source -> sequence -> frames, in the order of videos.csv.
    """

    files: dict[str, bytes]
    objects: list[CutOut]
    backgrounds: list[str]
    videos: dict[str, dict[str, list[VideoFrame]]]

    @classmethod
    def read(cls, folder: Path) -> Pack:
        """Read the csv and tar files in a folder; raise `DataError` if one is missing."""
        files: dict[str, bytes] = {}
        for name in ('objects_1.tar', 'objects_2.tar', 'backgrounds.tar', 'videos.tar'):
            files.update(read_tar(folder / name))
        objects = [
            CutOut(row['image'], row['mask'], parse_box(row))
            for row in read_csv(folder / 'objects.csv')
        ]
        videos: dict[str, dict[str, list[VideoFrame]]] = defaultdict(lambda: defaultdict(list))
        for row in read_csv(folder / 'videos.csv'):
            frame = VideoFrame(row['path'], int(row['frame']), parse_box(row))
            videos[row['source']][row['sequence']].append(frame)
        backgrounds = [row['image'] for row in read_csv(folder / 'backgrounds.csv')]
        plain = {source: dict(sequences) for source, sequences in videos.items()}
        return cls(files, objects, backgrounds, plain)

    def image(self, name: str) -> NDArray[np.uint8]:
        """Decode an image: BGR uint8 (H, W, 3).

        Raises:
            DataError: the pack has no such file.
            ImageError: the file is damaged.
        """
        return decode_file(self.files, name, cv2.IMREAD_COLOR)

    def mask(self, name: str) -> NDArray[np.uint8]:
        """Decode a mask: uint8 (H, W), 0 or 255; raises the errors of `image`."""
        return decode_file(self.files, name, cv2.IMREAD_GRAYSCALE)


def decode_file(files: dict[str, bytes], name: str, flag: int) -> NDArray[np.uint8]:
    """Decode an image of a pack in memory; raises the errors of `Pack.image`."""
    if name not in files:
        raise DataError(f'the pack contains no file {name}: unpack it again from its source')
    image = decode_image(np.frombuffer(files[name], np.uint8), flag)
    if image is None:
        raise ImageError(f'file {name} of the pack is damaged: copy the pack again')
    return np.asarray(image, np.uint8)


def parse_box(row: dict[str, str]) -> Box:
    """Return the box in the columns x, y, w and h of a row."""
    return Box(float(row['x']), float(row['y']), float(row['w']), float(row['h']))


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read the rows of a csv file; raise `DataError` if it cannot be read."""
    try:
        with path.open(newline='') as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise DataError(
            f'cannot read {path} ({error.strerror}): give the folder of the pack'
        ) from None


def read_tar(path: Path) -> dict[str, bytes]:
    """Read all files of a tar file; raise `DataError` if it is missing or damaged."""
    try:
        with tarfile.open(path) as tar:
            members = [member for member in tar if member.isfile()]
            return {m.name: file.read() for m in members if (file := tar.extractfile(m))}
    except (OSError, tarfile.TarError) as error:
        raise DataError(
            f'cannot read {path} ({error}): give the folder of the complete pack'
        ) from None
