"""The images of the training pack on a device: one flat buffer that batches are sampled from."""

from __future__ import annotations

from multiprocessing.pool import ThreadPool
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siamffn_model.datasets.copy_paste import make_sprite, sprite_corner
from siamffn_model.datasets.pack import Pack
from siamffn_model.errors import DataError, ImageError
from siamffn_model.imaging.crop import mean_colour
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image
from siamffn_model.training.pair_sources import (
    BACKGROUND_PARTS,
    OBJECT_PARTS,
    draw_textured_part,
)

LEVELS = 4  # sizes of each image: 1, 1/2, 1/4 and 1/8
PARTS = 4  # textured parts that are drawn in advance for each object and background

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class DeviceImages(NamedTuple):
    """Images (n of them) of several sizes, and what is drawn within them.

    The images are those of the objects (O), then those of the backgrounds (K), then the video
    frames (F). A pixel is blue, green, red and alpha in the four bytes of an integer; alpha is the
    mask of the object, blurred at its edge.

    Attributes:
        pixels: (N,) int32 on the device, row after row of each image and level.
        offsets: (n, LEVELS), position of the first pixel in `pixels`.
        sizes: (n, LEVELS, 2), width and height.
        means: (n, 3), mean colour.
        boxes: (n, 4), x, y, w, h of the object or target; of a background, the entire image.
        outlines: (O, H, 2), convex hulls of the objects, as `Sprite.outline`, in their images.
        parts: (O + K, PARTS, 4), boxes x, y, w, h of textured parts.
        videos: source -> sequence -> (frames, 2), image and frame number, in the order of time.
        unreadable: an error message for each damaged image, which is left out.
    """

    pixels: Tensor
    offsets: Ints
    sizes: Ints
    means: Floats
    boxes: Floats
    outlines: Floats
    parts: Floats
    videos: dict[str, list[Ints]]
    unreadable: list[str]

    @property
    def objects(self) -> int:
        """The number of objects."""
        return len(self.outlines)

    @property
    def backgrounds(self) -> int:
        """The number of backgrounds."""
        return len(self.parts) - len(self.outlines)


class _Decoded(NamedTuple):
    levels: list[NDArray[np.uint32]]
    mean: Floats
    box: Box
    outline: NDArray[np.float32]
    parts: list[Box]


def load_images(pack: Pack, device: torch.device, seed: int) -> DeviceImages:
    """Decode all images of a pack in threads and copy them to a device.

    `seed` is that of the textured parts. Damaged images are left out. Raises `DataError` if no
    object, background or video remains.
    """

    def decode(task: tuple[int, str, str | None, Box | None]) -> _Decoded | str:
        number, name, mask, box = task
        try:
            rng = None if number >= stills else np.random.default_rng((seed, number))
            return _decode(pack, name, mask, box, rng)
        except ImageError as error:
            return str(error)

    frames = [
        (source, sequence, frame)
        for source, sequences in pack.videos.items()
        for sequence, listed in sequences.items()
        for frame in sorted(listed, key=lambda frame: frame.frame)
    ]
    files: list[tuple[str, str | None, Box | None]] = [
        *((item.image, item.mask, item.box) for item in pack.objects),
        *((name, None, None) for name in pack.backgrounds),
        *((frame.image, None, frame.box) for _, _, frame in frames),
    ]
    objects, stills = len(pack.objects), len(pack.objects) + len(pack.backgrounds)
    with ThreadPool() as pool:
        results = pool.map(decode, [(n, *file) for n, file in enumerate(files)], chunksize=32)
    good = [number for number, result in enumerate(results) if not isinstance(result, str)]
    unreadable = [result for result in results if isinstance(result, str)]
    images = [result for result in results if not isinstance(result, str)]
    del results
    counts = np.histogram(good, bins=[0, objects, stills, max(len(files), stills + 1)])[0]
    if not counts.all():
        raise DataError(
            f'the pack has {counts[0]} readable objects, {counts[1]} backgrounds and {counts[2]} '
            'video frames: training on a device needs all three; copy the pack again'
        )
    videos: dict[str, dict[str, list[tuple[int, int]]]] = {}
    for image, number in enumerate(good):
        if number >= stills:
            source, sequence, frame = frames[number - stills]
            videos.setdefault(source, {}).setdefault(sequence, []).append((image, frame.frame))
    still = int(counts[0] + counts[1])
    sizes = np.array([[level.shape[::-1] for level in image.levels] for image in images])
    means, boxes = (np.array([image[i] for image in images], float) for i in (1, 2))
    outlines = _stack_outlines([image.outline for image in images[: counts[0]]])
    parts = np.array([image.parts for image in images[:still]], float)
    pixels, offsets = _concatenate([image.levels for image in images])
    return DeviceImages(
        torch.from_numpy(pixels).to(device),
        offsets,
        sizes,
        means,
        boxes,
        outlines,
        parts,
        {name: [np.array(s) for s in sequences.values()] for name, sequences in videos.items()},
        unreadable,
    )


def _decode(
    pack: Pack, name: str, mask: str | None, box: Box | None, rng: np.random.Generator | None
) -> _Decoded:
    """Decode an image, with its mask if it has one; `rng` draws its textured parts."""
    image = pack.image(name)
    height, width = image.shape[:2]
    bounds = box or Box(0, 0, width, height)
    alpha, outline = np.full((height, width), 255, np.uint8), np.zeros((0, 2), np.float32)
    if mask and box:
        sprite = make_sprite(image, pack.mask(mask), box)
        x, y = sprite_corner(box)
        h, w = sprite.mask.shape
        alpha[:] = 0
        alpha[y : y + h, x : x + w] = sprite.mask
        outline = sprite.outline + np.array((x, y), np.float32)
    ratios = OBJECT_PARTS if mask else BACKGROUND_PARTS
    count = PARTS if rng else 0
    parts = [draw_textured_part(rng, image, bounds, ratios) for _ in range(count) if rng]
    levels = _levels(np.asarray(cv2.merge([*cv2.split(image), alpha]), np.uint8))
    return _Decoded(levels, np.array(mean_colour(image)), bounds, outline, parts)


def _levels(image: Image) -> list[NDArray[np.uint32]]:
    """Return an image (H, W, 4) and its reductions as integers (h, w), each at least (2, 2)."""
    levels = []
    for _ in range(LEVELS):
        levels.append(np.ascontiguousarray(image).view(np.uint32)[..., 0])
        size = tuple(max(side // 2, 2) for side in image.shape[1::-1])
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return levels


def _stack_outlines(outlines: list[NDArray[np.float32]]) -> Floats:
    """Return (O, H, 2): outlines (h, 2), each padded with copies of its first point."""
    longest = max(map(len, outlines))
    padded = [np.concatenate([o, np.repeat(o[:1], longest - len(o), axis=0)]) for o in outlines]
    return np.array(padded, float)


def _concatenate(images: list[list[NDArray[np.uint32]]]) -> tuple[NDArray[np.int32], Ints]:
    """Return all pixels in one array (N,) and the offset (n, LEVELS) of each image and level.

    The lists are emptied, so that all pixels are in memory only once.
    """
    counts = np.array([[level.size for level in levels] for levels in images])
    offsets = (np.cumsum(counts) - counts.ravel()).reshape(counts.shape)
    if counts.sum() >= 2**31:
        raise DataError(f'the pack has {counts.sum()} pixels, at most 2**31: use a smaller pack')
    pixels = np.empty(counts.sum(), np.uint32)
    for levels, starts in zip(images, offsets):
        for level, start in zip(levels, starts):
            pixels[start : start + level.size] = level.ravel()
        levels.clear()
    return pixels.view(np.int32), offsets
