"""The training pack: objects with masks, backgrounds and short videos, in tars with csv lists."""

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
from siamffn_model.imaging.sources import decode_image


class CutOut(NamedTuple):
    """An object in its image: names of the image and of the mask, and the mask's box."""

    image: str
    mask: str
    box: Box


class VideoFrame(NamedTuple):
    """A crop of a video: its name, the frame's number in the source, and the target's box."""

    image: str
    frame: int
    box: Box


@dataclass(frozen=True)
class Pack:
    """The whole pack in memory, as encoded files; images are decoded when asked for."""

    files: dict[str, bytes]
    objects: list[CutOut]
    backgrounds: list[str]
    videos: dict[str, dict[str, list[VideoFrame]]]  # source -> sequence -> frames

    @classmethod
    def read(cls, folder: Path) -> Pack:
        """Read the pack's csv and tar files; raises `DataError` naming what is missing."""
        files: dict[str, bytes] = {}
        for name in ('objects_1.tar', 'objects_2.tar', 'backgrounds.tar', 'videos.tar'):
            files.update(_read_tar(folder / name))
        objects = [
            CutOut(row['image'], row['mask'], _box(row)) for row in _rows(folder / 'objects.csv')
        ]
        videos: dict[str, dict[str, list[VideoFrame]]] = defaultdict(lambda: defaultdict(list))
        for row in _rows(folder / 'videos.csv'):
            frame = VideoFrame(row['path'], int(row['frame']), _box(row))
            videos[row['source']][row['sequence']].append(frame)
        backgrounds = [row['image'] for row in _rows(folder / 'backgrounds.csv')]
        plain = {source: dict(sequences) for source, sequences in videos.items()}
        return cls(files, objects, backgrounds, plain)

    def image(self, name: str) -> NDArray[np.uint8]:
        """Decode an image: BGR uint8 (H, W, 3)."""
        return self._decode(name, cv2.IMREAD_COLOR)

    def mask(self, name: str) -> NDArray[np.uint8]:
        """Decode a mask: uint8 (H, W), 0 or 255."""
        return self._decode(name, cv2.IMREAD_GRAYSCALE)

    def _decode(self, name: str, flag: int) -> NDArray[np.uint8]:
        if name not in self.files:
            raise DataError(f'the pack holds no file {name}: unpack it again from its source')
        data = np.frombuffer(self.files[name], np.uint8)
        image = decode_image(data, flag)
        if image is None:
            raise ImageError(f'file {name} of the pack is damaged: copy the pack again')
        return np.asarray(image, np.uint8)


def _box(row: dict[str, str]) -> Box:
    return Box(float(row['x']), float(row['y']), float(row['w']), float(row['h']))


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline='') as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise DataError(
            f'cannot read {path} ({error.strerror}): give the folder of the pack'
        ) from None


def _read_tar(path: Path) -> dict[str, bytes]:
    try:
        with tarfile.open(path) as tar:
            members = [member for member in tar if member.isfile()]
            return {m.name: file.read() for m in members if (file := tar.extractfile(m))}
    except (OSError, tarfile.TarError) as error:
        raise DataError(
            f'cannot read {path} ({error}): give the folder of the whole pack'
        ) from None
