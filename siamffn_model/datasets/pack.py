"""The training pack: objects with masks, backgrounds and short videos, as tar and csv files.

Layout, where paths in the csv files are names in the tar files:

- objects.csv with columns image,mask,x,y,w,h, and objects_1.tar and objects_2.tar;
- backgrounds.csv with column image, and backgrounds.tar;
- videos.csv with columns sequence,frame,path,x,y,w,h,source, and videos.tar.

Boxes are x, y, w, h in pixels of the stored image, counted from 0. Columns not named are ignored.
The pack can also be one zip file with the same csv files and all images (see `bundle`).
"""

from __future__ import annotations

import csv
import io
import tarfile
import zipfile
import zlib
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

TABLES = ('objects', 'backgrounds', 'videos')
REWRITE = '`siamffn data bundle`'


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
    def read(cls, path: Path) -> Pack:
        """Read the csv and tar files in a folder, or a bundle; raise `DataError` if one is missing.

        It is also raised for a damaged bundle.
        """
        if path.is_file():
            files = _read_zip(path)
        else:
            files = {}
            for name in ('objects_1', 'objects_2', 'backgrounds', 'videos'):
                files.update(read_tar(path / f'{name}.tar'))
            files.update({f'{name}.csv': _read_bytes(path / f'{name}.csv') for name in TABLES})
        tables = [_parse_csv(files.pop(f'{name}.csv', None), path) for name in TABLES]
        objects = [CutOut(row['image'], row['mask'], parse_box(row)) for row in tables[0]]
        videos: dict[str, dict[str, list[VideoFrame]]] = defaultdict(lambda: defaultdict(list))
        for row in tables[2]:
            frame = VideoFrame(row['path'], int(row['frame']), parse_box(row))
            videos[row['source']][row['sequence']].append(frame)
        plain = {source: dict(sequences) for source, sequences in videos.items()}
        return cls(files, objects, [row['image'] for row in tables[1]], plain)

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
    return _parse_csv(_read_bytes(path), path)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f'cannot read {path} ({error.strerror}): give the folder of the pack'
        ) from None


def _parse_csv(content: bytes | None, path: Path) -> list[dict[str, str]]:
    """Return the rows of a csv file of the pack at `path`."""
    if content is None:
        raise DataError(f'{path} is a zip file, but not of the pack: write it with {REWRITE}')
    return list(csv.DictReader(io.StringIO(content.decode(), newline='')))


def _read_zip(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as file:
            return {name: file.read(name) for name in file.namelist()}
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(
            f'{path} is damaged or not a bundle ({error}): copy it again, or write it with '
            f'{REWRITE}'
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
