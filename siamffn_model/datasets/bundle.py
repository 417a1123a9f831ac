"""The training pack as one small file: an uncompressed zip of reduced images and csv files.

The csv files are those of the pack (see `pack`), with the boxes in the reduced images. Objects are
reduced to the size in which crops show them, and images are WebP files, so that the pack takes
less than half of its size. zip files have a checksum for each member.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Mapping
from multiprocessing.pool import ThreadPool
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from siamffn_model.atomic_io import atomic_write
from siamffn_model.datasets.pack import Pack, VideoFrame
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image

Floats = NDArray[np.float64]

OBJECT_SIZE = 96  # pixels, square root of the area of an object's box, at most
QUALITY = 70  # of WebP
DATE = (1980, 1, 1, 0, 0, 0)  # the same content gives the same file


def write_bundle(pack: Pack, path: Path) -> int:
    """Write the pack as one file, atomically; return its size in bytes.

    `Pack.read` reads it. Raises `DataError` if it cannot be written or the pack lacks a file, and
    `ImageError` for a damaged image.
    """
    factors: dict[str, float] = {}  # of an image with several objects, for the smallest one
    for item in pack.objects:
        factor = min(OBJECT_SIZE / float(np.sqrt(item.box.area)), 1.0)
        factors[item.image] = max(factor, factors.get(item.image, 0.0))
    masks = {item.mask: factors[item.image] for item in pack.objects}
    videos = [
        (name, source, frame)
        for source, sequences in pack.videos.items()
        for name, frames in sequences.items()
        for frame in frames
    ]
    images = [*factors, *pack.backgrounds, *(frame.image for _, _, frame in videos)]

    def encode(name: str) -> tuple[bytes, Floats]:
        """Return an encoded image and by what its width and height are multiplied."""
        is_mask = name in masks
        image = pack.mask(name) if is_mask else pack.image(name)
        reduced = _reduce(image, masks[name] if is_mask else factors.get(name, 1.0))
        ratios = np.divide(reduced.shape[1::-1], image.shape[1::-1])
        return (_encode_mask if is_mask else _encode_image)(reduced), ratios

    names = list(dict.fromkeys([*images, *masks]))
    new_names = {name: str(number) for number, name in enumerate(names)}
    with atomic_write(path) as partial, ThreadPool() as pool:
        encoded = dict(zip(names, pool.imap(encode, names, chunksize=16)))
        tables = _tables(pack, videos, new_names, {n: ratios for n, (_, ratios) in encoded.items()})
        with zipfile.ZipFile(partial, 'w') as file:
            for table, rows in tables.items():
                _write(file, table, _csv(rows), zipfile.ZIP_DEFLATED)
            for name, (data, _) in encoded.items():
                _write(file, new_names[name], data, zipfile.ZIP_STORED)
    return path.stat().st_size


def _tables(
    pack: Pack,
    videos: list[tuple[str, str, VideoFrame]],
    new_names: Mapping[str, str],
    ratios: Mapping[str, Floats],
) -> dict[str, list[tuple[object, ...]]]:
    """Return the rows of the csv files, given the new name and the reduction of each image."""
    return {
        'objects.csv': [
            ('image', 'mask', 'x', 'y', 'w', 'h'),
            *(
                (
                    new_names[item.image],
                    new_names[item.mask],
                    *_reduced_box(item.box, ratios[item.image]),
                )
                for item in pack.objects
            ),
        ],
        'backgrounds.csv': [('image',), *((new_names[name],) for name in pack.backgrounds)],
        'videos.csv': [
            ('sequence', 'frame', 'path', 'x', 'y', 'w', 'h', 'source'),
            *(
                (name, frame.frame, new_names[frame.image], *frame.box, source)
                for name, source, frame in videos
            ),
        ],
    }


def _write(file: zipfile.ZipFile, name: str, data: bytes, method: int) -> None:
    file.writestr(zipfile.ZipInfo(name, DATE), data, method)


def _csv(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _reduce(image: Image, factor: float) -> Image:
    height, width = image.shape[:2]
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _reduced_box(box: Box, ratios: Floats) -> list[float]:
    return [round(value, 2) for value in (np.array(box) * np.tile(ratios, 2)).tolist()]


def _encode_image(image: Image) -> bytes:
    _, data = cv2.imencode('.webp', image, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    return data.tobytes()


def _encode_mask(mask: Image) -> bytes:
    options = [cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 9]
    _, data = cv2.imencode('.png', np.where(mask > 127, 255, 0).astype(np.uint8), options)
    return data.tobytes()
