"""Frames of a sequence side by side, with the trackers' boxes drawn into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from siamffn_model.errors import DataError
from siamffn_model.evaluation.metrics import Floats
from siamffn_model.imaging.drawing import DARK, WHITE, Colour, contact_sheet, draw_track, fit_width
from siamffn_model.imaging.sources import Frames, Image, ImageFiles, read_image

WIDTH = 400  # pixels of each frame
LINE = 2  # pixels
DASH = 5  # pixels of a dash, and as many to the next


def strip(
    frames: Frames,
    boxes: Mapping[str, Floats],
    truth: Floats,
    colours: Mapping[str, str],
    count: int = 5,
) -> Image:
    """Return `count` frames spread evenly behind the first, each with its number.

    Args:
        frames: N images; of files only those shown are read.
        boxes: (M, 4) by tracker, x, y, w, h in pixels, 0-based; nothing is drawn for NaN, and where
            M is below N for what is behind. The first tracker is drawn over the others.
        truth: (N, 4) drawn as a dashed white line; NaN where the target is absent.
        colours: '#rrggbb' by tracker (`plots.tracker_colours`).

    Raises:
        DataError: fewer images than rows in `truth`.
        ImageError: an image cannot be read.
    """
    steps = np.linspace(0, len(truth) - 1, count + 1)[1:]  # in the first all have the same box
    numbers = sorted({round(step) for step in steps})
    pictures = []
    for number, image in zip(numbers, _images(frames, numbers)):
        scale = WIDTH / image.shape[1]
        picture = fit_width(image, WIDTH)
        for name, rows in list(boxes.items())[::-1]:
            if number < len(rows):
                _draw_box(picture, rows[number] * scale, _bgr(colours[name]))
        _draw_dashed(picture, truth[number] * scale)
        draw_track(picture, None, f'#{number + 1}')
        pictures.append(picture)
    return contact_sheet(pictures, columns=count, width=WIDTH)


def _images(frames: Frames, numbers: Sequence[int]) -> list[Image]:
    if isinstance(frames, ImageFiles):
        files = frames.files
        images = [read_image(files[number]) for number in numbers if number < len(files)]
    else:
        images = []
        for number, image in enumerate(frames):
            if number in numbers:
                images.append(image)
            if number == numbers[-1]:
                break
    if len(images) < len(numbers):
        raise DataError(
            f'{frames.path}: no image {numbers[-1] + 1}, which the ground truth has a row for; '
            'restore the missing images'
        )
    return images


def _corners(box: Floats) -> tuple[int, int, int, int] | None:
    if not np.isfinite(box).all():
        return None
    x, y, w, h = np.clip(box, -1e6, 1e6)
    return round(x), round(y), round(x + w) - 1, round(y + h) - 1


def _draw_box(image: Image, box: Floats, colour: Colour) -> None:
    if corners := _corners(box):
        cv2.rectangle(image, corners[:2], corners[2:], DARK, LINE + 2)
        cv2.rectangle(image, corners[:2], corners[2:], colour, LINE)


def _draw_dashed(image: Image, box: Floats) -> None:
    if corners := _corners(box):
        left, top, right, bottom = corners
        for x in range(left, right, 2 * DASH):
            for y in (top, bottom):
                cv2.line(image, (x, y), (min(x + DASH, right), y), WHITE, 1)
        for y in range(top, bottom, 2 * DASH):
            for x in (left, right):
                cv2.line(image, (x, y), (x, min(y + DASH, bottom)), WHITE, 1)


def _bgr(colour: str) -> Colour:
    red, green, blue = bytes.fromhex(colour.removeprefix('#'))
    return blue, green, red
