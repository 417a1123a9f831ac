"""Cropping on a GPU: image regions are uploaded in one buffer and sampled on the device.

The buffer begins with a header of `HEADER_FIELDS` float64 values per view, followed by the pixels
of all regions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siamffn_model.imaging.crop import View

# Per view: x and y of the first sample in the region, sampling step, byte offset, width and height
# of the region, fill colour (BGR).
HEADER_FIELDS = 9
MAX_STEP = 2  # largest sampling step, in pixels of the image, up to which a region is uploaded


def header_size(views: int) -> int:
    """Return the size in bytes of the header for a number of views."""
    return 8 * HEADER_FIELDS * views


def sampled_region(view: View, size: int) -> tuple[slice, slice]:
    """Return the rows and columns of the image from which a crop of this size is sampled.

    The region has at least one row and one column. Samples outside the region are outside the
    image.
    """
    height, width = view.image.shape[:2]
    rows, columns = (
        slice(
            min(max(math.floor(first), 0), length - 1),
            max(min(math.floor(first + (size - 1) * view.side / size) + 2, length), 1),
        )
        for first, length in zip(_first_sample(view, size)[::-1], (height, width))
    )
    return rows, columns


def buffer_size(slots: int, size: int) -> int:
    """Return the size in bytes of a buffer that is large enough for any views in these slots."""
    return header_size(slots) + slots * 3 * (MAX_STEP * size + 1) ** 2


def pack_views(views: Sequence[View], size: int, slots: int, buffer: NDArray[np.uint8]) -> int:
    """Write at most `slots` views to a flat buffer for `sample_crops`; return the bytes used.

    Views larger than `MAX_STEP * size` pixels are cropped here: their crops have fewer pixels than
    their regions. So the buffer's size does not depend on that of the images. The headers of unused
    slots are set to 0, which makes their regions empty.
    """
    header = buffer[: header_size(slots)].view(np.float64).reshape(slots, HEADER_FIELDS)
    header[len(views) :] = 0
    used = header_size(slots)
    for fields, view in zip(header, views):
        if view.side > MAX_STEP * size:
            region, x, y, step = view.crop(size), 0.0, 0.0, 1.0
        else:
            rows, columns = sampled_region(view, size)
            region, step = view.image[rows, columns], view.side / size
            x, y = _first_sample(view, size)
            x, y = x - columns.start, y - rows.start
        fields[:6] = x, y, step, used, region.shape[1], region.shape[0]
        fields[6:] = view.fill
        buffer[used : used + region.size].reshape(region.shape)[...] = region
        used += region.size
    return used


def _first_sample(view: View, size: int) -> tuple[float, float]:
    """Return x and y of the crop's first sample, where (0, 0) is the centre of the first pixel."""
    half_extent = view.side / size * (size - 1) / 2
    return view.x - 0.5 - half_extent, view.y - 0.5 - half_extent


def sample_crops(buffer: Tensor, slots: int, size: int) -> Tensor:
    """Return crops (slots, size, size, 3), uint8, from a buffer of `pack_views`.

    Interpolation is bilinear, as in `View.crop`. Crops of unused slots are black. Shapes do not
    depend on the content of the buffer, so a CUDA graph can capture this function.
    """
    header = buffer[: header_size(slots)].view(torch.float64).view(slots, HEADER_FIELDS)
    first, step = header[:, :2].float(), header[:, 2].float()
    offset, width, height = (header[:, field].long().view(-1, 1, 1) for field in (3, 4, 5))
    fill = header[:, 6:].float().view(-1, 1, 1, 3)
    distance = torch.arange(size, device=buffer.device) * step[:, None]
    x, y = (first[:, :1] + distance)[:, None, :], (first[:, 1:] + distance)[:, :, None]
    left, top = x.floor().long(), y.floor().long()
    right_weight, bottom_weight = x - left, y - top
    channel = torch.arange(3, device=buffer.device)
    total = torch.zeros(slots, size, size, 3, device=buffer.device)
    for row, row_weight in ((top, 1 - bottom_weight), (top + 1, bottom_weight)):
        for column, column_weight in ((left, 1 - right_weight), (left + 1, right_weight)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            index = torch.where(inside, offset + 3 * (row * width + column), 0)
            pixels = buffer[index[..., None] + channel].float()
            values = torch.where(inside[..., None], pixels, fill)
            total += (row_weight * column_weight)[..., None] * values
    return total.round().to(torch.uint8)
