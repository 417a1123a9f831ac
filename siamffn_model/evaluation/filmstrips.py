"""Filmstrips: frames of a sequence side by side, with the boxes of several trackers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from siamffn_model.errors import DataError
from siamffn_model.evaluation.metrics import Floats
from siamffn_model.imaging.drawing import DARK, WHITE, Colour, contact_sheet, draw_track, fit_width
from siamffn_model.imaging.frames import Frames
from siamffn_model.imaging.image import Image, read_image
from siamffn_model.imaging.sources import ImageFiles

FRAME_WIDTH = 400  # pixels
LINE = 2  # pixels, width of a line
DASH = 5  # pixels, length of a dash and of the gap after it


def draw_filmstrip(
    frames: Frames,
    boxes: Mapping[str, Floats],
    truth: Floats,
    colours: Mapping[str, str],
    count: int = 5,
) -> Image:
    """Return an image of `count` numbered frames, spread evenly over the frames after the first.

    Args:
        frames: N images; of image files only those shown are read.
        boxes: (M, 4) boxes of each tracker: x, y, w, h in pixels, 0-based. Rows with NaN and rows
            missing at the end (M < N) are not drawn. The first tracker is drawn on top.
        truth: (N, 4) ground truth, drawn as a dashed white line; NaN where the target is absent.
        colours: '#rrggbb' by tracker (`plots.tracker_colours`).
        count: maximum number of frames.

    Raises:
        DataError: there are fewer images than rows in `truth`.
        ImageError: an image cannot be read.
    """
    # The first frame is left out because all trackers start from the same box.
    steps = np.linspace(0, len(truth) - 1, count + 1)[1:]
    numbers = sorted({round(step) for step in steps})
    pictures = []
    for number, image in zip(numbers, _read_images(frames, numbers)):
        scale = FRAME_WIDTH / image.shape[1]
        picture = fit_width(image, FRAME_WIDTH)
        for name, rows in list(boxes.items())[::-1]:
            if number < len(rows):
                _draw_box(picture, rows[number] * scale, _bgr(colours[name]))
        _draw_dashed_box(picture, truth[number] * scale)
        draw_track(picture, None, f'#{number + 1}')
        pictures.append(picture)
    return contact_sheet(pictures, columns=count, width=FRAME_WIDTH)


def _read_images(frames: Frames, numbers: Sequence[int]) -> list[Image]:
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
            f'{frames.path}: image {numbers[-1] + 1} is missing, but the ground truth has a row '
            'for it; restore the missing images'
        )
    return images


def _corners(box: Floats) -> tuple[int, int, int, int] | None:
    """Return left, top, right, bottom in whole pixels, or None if the box is not finite."""
    if not np.isfinite(box).all():
        return None
    x, y, w, h = np.clip(box, -1e6, 1e6)
    return round(x), round(y), round(x + w) - 1, round(y + h) - 1


def _draw_box(image: Image, box: Floats, colour: Colour) -> None:
    if corners := _corners(box):
        cv2.rectangle(image, corners[:2], corners[2:], DARK, LINE + 2)
        cv2.rectangle(image, corners[:2], corners[2:], colour, LINE)


def _draw_dashed_box(image: Image, box: Floats) -> None:
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
