"""Crops cut on a GPU: what of the images they show goes up in one piece, and is sampled there."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siamffn_model.imaging.crop import View

NUMBERS = 9  # of each view: x, y, step; its window's offset, width, height; the colour beyond


def head_size(views: int) -> int:
    """Return the bytes before the pixels: each view's numbers."""
    return 8 * NUMBERS * views


def bounds(view: View, size: int) -> tuple[slice, slice]:
    """Return rows and columns of the image that a crop of this size is sampled from, at least one.

    What is sampled outside of them is outside of the image.
    """
    height, width = view.image.shape[:2]
    rows, columns = (
        slice(
            min(max(math.floor(first), 0), length - 1),
            max(min(math.floor(first + (size - 1) * view.side / size) + 2, length), 1),
        )
        for first, length in zip(_first(view, size)[::-1], (height, width))
    )
    return rows, columns


def bytes_needed(views: Sequence[View], size: int) -> int:
    """Return how large a buffer `pack` needs."""
    areas = [(bounds(view, size), view.image.shape[2]) for view in views]
    return head_size(len(views)) + sum(
        (rows.stop - rows.start) * (columns.stop - columns.start) * channels
        for (rows, columns), channels in areas
    )


def pack(views: Sequence[View], size: int, slots: int, buffer: NDArray[np.uint8]) -> int:
    """Write up to `slots` views to a flat buffer, as `sample` reads them; return the bytes used."""
    head = buffer[: head_size(slots)].view(np.float64).reshape(slots, NUMBERS)
    used = head_size(slots)
    for numbers, view in zip(head, views):
        rows, columns = bounds(view, size)
        window = view.image[rows, columns]
        x, y = _first(view, size)
        numbers[:6] = (
            x - columns.start,
            y - rows.start,
            view.side / size,
            used,
            window.shape[1],
            window.shape[0],
        )
        numbers[6:] = view.fill
        buffer[used : used + window.size].reshape(window.shape)[...] = window
        used += window.size
    return used


def _first(view: View, size: int) -> tuple[float, float]:
    """Return where the crop's first pixel is sampled: (0, 0) is the centre of the image's first."""
    reach = view.side / size * (size - 1) / 2
    return view.x - 0.5 - reach, view.y - 0.5 - reach


def sample(buffer: Tensor, slots: int, size: int) -> Tensor:
    """Return the crops (slots, size, size, 3), uint8, of a buffer that `pack` filled.

    They are interpolated linearly, as `View.crop` does it. Shapes depend on no value, so that a
    CUDA graph can hold it.
    """
    numbers = buffer[: head_size(slots)].view(torch.float64).view(slots, NUMBERS)
    first, step = numbers[:, :2].float(), numbers[:, 2].float()
    offset, width, height = (numbers[:, place].long().view(-1, 1, 1) for place in (3, 4, 5))
    beyond = numbers[:, 6:].float().view(-1, 1, 1, 3)
    ahead = torch.arange(size, device=buffer.device) * step[:, None]
    x, y = (first[:, :1] + ahead)[:, None, :], (first[:, 1:] + ahead)[:, :, None]
    left, top = x.floor().long(), y.floor().long()
    right_share, lower_share = x - left, y - top
    channel = torch.arange(3, device=buffer.device)
    total = torch.zeros(slots, size, size, 3, device=buffer.device)
    for row, row_share in ((top, 1 - lower_share), (top + 1, lower_share)):
        for column, share in ((left, 1 - right_share), (left + 1, right_share)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            place = torch.where(inside, offset + 3 * (row * width + column), 0)
            pixels = buffer[place[..., None] + channel].float()
            seen = torch.where(inside[..., None], pixels, beyond)
            total += (row_share * share)[..., None] * seen
    return total.round().to(torch.uint8)
