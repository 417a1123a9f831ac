"""Draw boxes and labels on images, and make contact sheets."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from siamffn_model.errors import ImageError
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image

Colour = tuple[int, int, int]

GREEN: Colour = (80, 230, 60)
DARK: Colour = (25, 25, 25)
WHITE: Colour = (255, 255, 255)
# Colours of targets (BGR) that remain distinct for colour-blind viewers (Okabe and Ito, 2008).
COLOURS: tuple[Colour, ...] = (
    GREEN,
    (0, 159, 230),
    (233, 180, 86),
    (167, 121, 204),
    (66, 228, 240),
    (0, 94, 213),
    (178, 114, 0),
    WHITE,
)
MAX_PERIMETER = 20_000  # pixels, height + width: lines and text do not grow beyond it
GAP = 4  # pixels around each image of a contact sheet
FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_track(image: Image, box: Box | None, label: str, colour: Colour | None = None) -> None:
    """Draw a box and its label into a BGR uint8 image (H, W, 3), in place.

    Line width and text size are proportional to the image. The label is white on a dark strip above
    the box, or below it if there is not enough space above; without a box, it is in the image's
    upper left corner.
    """
    height, width = image.shape[:2]
    extent = min(height + width, MAX_PERIMETER)
    line = max(1, round(extent / 600))
    left = top = bottom = 0
    if box is not None:
        left, top = round(box.x), round(box.y)
        right, bottom = round(box.x + box.w) - 1, round(box.y + box.h) - 1
        cv2.rectangle(image, (left, top), (right, bottom), DARK, line + 2)
        cv2.rectangle(image, (left, top), (right, bottom), colour or GREEN, line)
    if not label:
        return
    scale = max(0.35, extent / 1400)
    (text_width, text_height), base = cv2.getTextSize(label, FONT, scale, line)
    pad = 2 + line
    strip_width, strip_height = text_width + 2 * pad, text_height + base + 2 * pad
    above = top - line - strip_height
    y = above if above >= 0 else bottom + line + 1
    x = max(0, min(left - line, width - strip_width))
    y = max(0, min(y, height - strip_height))
    cv2.rectangle(image, (x, y), (x + strip_width - 1, y + strip_height - 1), DARK, -1)
    origin = (x + pad, y + pad + text_height)
    cv2.putText(image, label, origin, FONT, scale, WHITE, line, cv2.LINE_AA)


def nth_colour(number: int) -> Colour:
    """Return the colour (BGR) of target `number`, counted from 0; colours repeat after eight."""
    return COLOURS[number % len(COLOURS)]


def contact_sheet(images: Sequence[Image], columns: int = 4, width: int = 320) -> Image:
    """Arrange images in a grid, row by row, each `width` pixels wide, on a dark background.

    Raises `ImageError` if `images` is empty.
    """
    if not images:
        raise ImageError('no images for a contact sheet: give at least one')
    columns = min(columns, len(images))
    rows = []
    for start in range(0, len(images), columns):
        cells = [fit_width(image, width) for image in images[start : start + columns]]
        height = max(cell.shape[0] for cell in cells)
        row = np.full((height + GAP, columns * (width + GAP) + GAP, 3), DARK, np.uint8)
        for column, cell in enumerate(cells):
            x = GAP + column * (width + GAP)
            row[GAP : GAP + cell.shape[0], x : x + width] = cell
        rows.append(row)
    rows.append(np.full((GAP, rows[0].shape[1], 3), DARK, np.uint8))
    return np.concatenate(rows)


def fit_width(image: Image, width: int) -> Image:
    """Resize an image to `width` pixels, keeping its aspect ratio."""
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    interpolation = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.uint8)
