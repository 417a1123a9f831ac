"""Rendering of many crops at once: image regions and pasted objects, as tensor operations.

A pixel is blue, green, red and alpha in the bytes of an int32 number. Sums weigh two of its bytes
at a time, as the 16-bit halves of one number: the even bytes (blue and red) and the odd ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siamffn_model.training.device_images import LEVELS, DeviceImages
from siamffn_model.training.device_targets import CROPS, Floats, Ints, Overlays, Targets

EVEN_BYTES = 0x00FF00FF
HALF = 0x00800080  # added before a division of both halves by 256, to round


class Canvas(NamedTuple):
    """Crops (V of them) to render, those of the same size together.

    Attributes:
        view: (V,), the crop in `Targets`: 2 * target + 0 (template) or 1 (search).
        size: (V,), side in pixels, at most that of the crop, which shows the same region.
        first: (V,), position of the first pixel of each crop in the pixels of all.
        groups: the crops of each size, as ranges.
    """

    view: Ints
    size: Ints
    first: Ints
    groups: list[range]

    @classmethod
    def sort(cls, view: Ints, size: Ints) -> tuple[Canvas, Ints]:
        """Return the crops in the order of their size and role, and this order (V,)."""
        order = np.lexsort((size, view % 2))
        view, size = view[order], size[order]
        ends = np.flatnonzero(np.diff(size, append=0) | np.diff(view % 2, append=2)) + 1
        starts = np.concatenate([[0], ends[:-1]])
        groups = [range(start, end) for start, end in zip(starts.tolist(), ends.tolist())]
        return cls(view, size, np.cumsum(size**2) - size**2, groups), order

    def pixels(self, crops: range, data: Tensor) -> Tensor:
        """Return a view (n, size, size) of the pixels of crops of the same size."""
        size, first = int(self.size[crops.start]), int(self.first[crops.start])
        return data[first : first + len(crops) * size**2].view(len(crops), size, size)


def render(images: DeviceImages, targets: Targets, canvas: Canvas) -> Tensor:
    """Return the pixels of all crops as int32 (sum of size**2)."""
    device = images.pixels.device
    total = int((canvas.size**2).sum())
    data = torch.empty(total, dtype=torch.int32, device=device)
    steps, first = _frame_of_pixels(targets, canvas.view, canvas.size)
    window = targets.window.reshape(-1, 2, 2)[canvas.view]
    window = (window - first[:, None]) / steps[:, None]  # in pixels of the crops
    matrix, levels = _sampling(
        images,
        targets.image.ravel()[canvas.view],
        targets.matrix.reshape(-1, 2, 3)[canvas.view],
        steps,
        first,
    )
    fill = _pack(targets.fill.reshape(-1, 3)[canvas.view])
    for group in canvas.groups:
        part = slice(group.start, group.stop)
        pixels = canvas.pixels(group, data)
        _render_base(images.pixels, matrix[part], levels[part], pixels)
        _fill_outside(pixels, window[part], fill[part])
    views = np.full(targets.image.size, -1)
    views[canvas.view] = np.arange(len(canvas.view))
    for layer in targets.layers:
        if layer:
            overlays = Overlays.join(layer)
            crop = views[overlays.view]
            overlays = overlays.select(crop >= 0)
            crop = crop[crop >= 0]
            _draw(images, overlays, crop, steps[crop], first[crop], window[crop], canvas, data)
    return data


def bilinear(
    pixels: Tensor, offset: Tensor, width: Tensor, height: Tensor, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Sample images at x, y (...) within them; return the even and the odd bytes, int32 (...).

    The images have their first pixel at `offset` in `pixels`; offset, width and height are int32
    tensors that broadcast to (...). x and y are overwritten.
    """
    left, top = torch.minimum(x.int(), width - 2), torch.minimum(y.int(), height - 2)
    wx, wy = x.sub_(left).mul_(256).int(), y.sub_(top).mul_(256).int()
    index = top.mul_(width).add_(left).add_(offset).flatten()
    below = (index.view(top.shape) + width).flatten()
    w11 = (wx * wy).add_(128).bitwise_right_shift_(8)
    w01, w10 = wx - w11, wy - w11
    w00 = (256 - wx).sub_(w10)
    even, odd = torch.zeros_like(w00), torch.zeros_like(w00)
    following = pixels[1:]
    for row, column, weight in (
        (index, pixels, w00),
        (index, following, w01),
        (below, pixels, w10),
        (below, following, w11),
    ):
        value = column.index_select(0, row).view(w00.shape)
        even.addcmul_(value & EVEN_BYTES, weight)
        odd.addcmul_(value.bitwise_right_shift_(8).bitwise_and_(EVEN_BYTES), weight)
    return (
        even.add_(HALF).bitwise_right_shift_(8).bitwise_and_(EVEN_BYTES),
        odd.add_(HALF).bitwise_right_shift_(8).bitwise_and_(EVEN_BYTES),
    )


def _frame_of_pixels(targets: Targets, view: Ints, size: Ints) -> tuple[Floats, Floats]:
    """Return a and b (V, 2): pixel j of a crop is at a * j + b in the frame."""
    frame = targets.frame.reshape(-1, 2, 2)[view]
    factor = (CROPS[view % 2] / size)[:, None]  # from pixel j to (j + 0.5) * factor - 0.5
    return frame[:, 0] * factor, frame[:, 1] + frame[:, 0] * (factor - 1) / 2


def _sampling(
    images: DeviceImages, image: Ints, matrix: Floats, steps: Floats, first: Floats
) -> tuple[Floats, Ints]:
    """Choose the level of each image; return the matrix (n, 2, 3) from pixels of a crop to those
    of the level, and offset, width and height (n, 3) of the level.
    """
    linear = matrix[:, :, :2] * steps[:, None]
    offset = (matrix[:, :, :2] @ first[..., None])[..., 0] + matrix[:, :, 2]
    step = np.sqrt(np.abs(np.linalg.det(linear)))
    level = np.clip(np.round(np.log2(np.maximum(step, 1e-6))), 0, LEVELS - 1).astype(int)
    size = images.sizes[image, level]
    ratio = size / images.sizes[image, 0]
    offset = (offset + 0.5) * ratio - 0.5
    matrix = np.concatenate([linear * ratio[..., None], offset[..., None]], axis=2)
    return matrix, np.column_stack([images.offsets[image, level], size])


def _render_base(pixels: Tensor, matrix: Floats, levels: Ints, result: Tensor) -> None:
    """Write the base images of crops into `result` (n, size, size), mirrored beyond their edges."""
    device, size = pixels.device, result.shape[1]
    offset, width, height = torch.tensor(levels.T, dtype=torch.int32, device=device)[
        ..., None, None
    ]
    # Mirroring: x is at | (x + w) mod 2w - w |, with w = width - 1
    shifted = matrix.copy()
    shifted[:, :, 2] += levels[:, 1:] - 1
    a, b, c, d, e, f = torch.tensor(shifted.reshape(-1, 6).T, dtype=torch.float32, device=device)[
        ..., None, None
    ]
    column = torch.arange(size, dtype=torch.float32, device=device)
    row = column[:, None]
    x, y = (a * column) + (b * row + c), (d * column) + (e * row + f)
    for values, side in ((x, width), (y, height)):
        limit = (side - 1).float()
        turns = (values * (0.5 / limit)).floor_()
        values.addcmul_(turns, limit, value=-2).sub_(limit).abs_()
    even, odd = bilinear(pixels, offset, width, height, x, y)
    torch.bitwise_or(even, odd.bitwise_left_shift_(8), out=result)


def _fill_outside(pixels: Tensor, window: Floats, fill: Ints) -> None:
    """Fill crops (n, size, size) outside of windows (n, 2, 2) with colours (n,)."""
    device, size = pixels.device, pixels.shape[1]
    cut = np.flatnonzero((window[:, 0] > 0).any(axis=1) | (window[:, 1] < size - 1).any(axis=1))
    if not len(cut):
        return
    at = torch.arange(size, dtype=torch.float32, device=device)
    limits = torch.tensor(window[cut].reshape(-1, 4).T, dtype=torch.float32, device=device)
    x1, y1, x2, y2 = limits[..., None]
    inside = ((at >= x1) & (at <= x2))[:, None, :] & ((at >= y1) & (at <= y2))[:, :, None]
    colours = torch.tensor(fill[cut], dtype=torch.int32, device=device)[:, None, None]
    index = torch.tensor(cut, device=device)
    pixels[index] = torch.where(inside, pixels[index], colours)


def _draw(
    images: DeviceImages,
    overlays: Overlays,
    crop: Ints,
    steps: Floats,
    first: Floats,
    window: Floats,
    canvas: Canvas,
    data: Tensor,
) -> None:
    """Draw overlays (n), at most one in each crop (n,), within the windows of the crops."""
    size = canvas.size[crop]
    low = (overlays.rect[:, :2] - first) / steps
    high = (overlays.rect[:, 2:] - first) / steps
    low = np.maximum(np.floor(low), np.maximum(np.ceil(window[:, 0]), 0))
    high = np.minimum(np.ceil(high), np.minimum(np.floor(window[:, 1]), size[:, None] - 1))
    extent: Ints = (high - low + 1).astype(int)
    corner: Ints = low.astype(int)
    seen = np.asarray((extent > 0).all(axis=1))
    if not seen.any():
        return
    overlays = overlays.select(seen)
    matrix, levels = _sampling(images, overlays.image, overlays.matrix, steps[seen], first[seen])
    corner, extent, size = corner[seen], extent[seen], size[seen]
    offset = matrix[:, :, 2] + (matrix[:, :, :2] @ corner[..., None])[..., 0]
    start = canvas.first[crop[seen]] + corner[:, 1] * size + corner[:, 0]
    rectangles = _Rectangles(matrix[:, :, :2], offset, extent, start, size, data.device)
    offset_t, width, height = rectangles.expand(levels)
    x, y, index = rectangles.points()
    inside = None
    if overlays.opaque.any():
        edge = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
        (masked,) = rectangles.expand(~overlays.opaque[:, None])
        inside = edge.int().mul_(255), masked
    x, y = (torch.minimum(v.clamp_(min=0), s - 1) for v, s in ((x, width), (y, height)))
    even, odd = bilinear(images.pixels, offset_t, width, height, x, y)
    alpha = odd >> 16
    if inside:
        alpha = torch.where(inside[1] > 0, alpha, inside[0])
    if (overlays.levels != ((1, 1, 1), (0, 0, 0))).any():
        even, odd = _adjust(even, odd, rectangles.expand_floats(overlays.levels.reshape(-1, 6)))
    alpha += alpha >> 7  # 0 to 256
    below = data.index_select(0, index)
    rest = 256 - alpha
    even = even.mul_(alpha).addcmul_(below & EVEN_BYTES, rest).add_(HALF)
    odd = odd.mul_(alpha).addcmul_((below >> 8).bitwise_and_(EVEN_BYTES), rest).add_(HALF)
    even.bitwise_right_shift_(8).bitwise_and_(EVEN_BYTES)
    data.scatter_(0, index, even.bitwise_or_(odd.bitwise_and_(~EVEN_BYTES)))


class _Rectangles:
    """The pixels of rectangles (n of them), one after another, row after row."""

    def __init__(
        self,
        linear: Floats,
        offset: Floats,
        extent: Ints,
        start: Ints,
        stride: Ints,
        device: torch.device,
    ) -> None:
        """Take the affine maps linear (n, 2, 2) and offset (n, 2), extent (n, 2): width and height,
        and the position of each rectangle's first pixel and of the following row in the result.
        """
        self.device = device
        width, height = extent.T
        rows = int(height.sum())
        self.count = int((width * height).sum())
        numbers = self._ints(np.column_stack([width, height, start, stride]))
        width_t, height_t, start_t, stride_t = numbers.T.contiguous()
        each = torch.arange(len(width), device=device)
        of_row = each.repeat_interleave(height_t, output_size=rows)
        row = torch.arange(rows, device=device) - (height_t.cumsum(0) - height_t)[of_row]
        widths = width_t[of_row]
        self.of_pixel = of_row.repeat_interleave(widths, output_size=self.count)
        row_start = (start_t + 0)[of_row] + row * stride_t[of_row]
        first_pixel = widths.cumsum(0) - widths
        values = self._floats(np.concatenate([linear.reshape(-1, 4), offset], axis=1))
        a, b, d, e, c, f = values.T.contiguous().index_select(1, of_row)
        self._line = torch.stack([a, b * row + c, d, e * row + f])
        self._row = torch.arange(rows, device=device).repeat_interleave(
            widths, output_size=self.count
        )
        self._row_start, self._first_pixel = row_start, first_pixel

    def points(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return x and y in the images, float32 (count,), and the positions in the result."""
        number = torch.arange(self.count, device=self.device)
        step = number - self._first_pixel.index_select(0, self._row)
        index = step + self._row_start.index_select(0, self._row)
        steps = step.float()
        a, x, d, y = (line.index_select(0, self._row) for line in self._line)
        return x.addcmul_(a, steps), y.addcmul_(d, steps), index

    def expand(self, values: NDArray[np.generic]) -> list[Tensor]:
        """Return the columns of integers (n, c) for each pixel, int32 (count,) each."""
        columns = self._ints(values.astype(np.int64)).int().T.contiguous()
        return [column.index_select(0, self.of_pixel) for column in columns]

    def expand_floats(self, values: Floats) -> list[Tensor]:
        """Return the columns of numbers (n, c) for each pixel, float32 (count,) each."""
        columns = self._floats(values).T.contiguous()
        return [column.index_select(0, self.of_pixel) for column in columns]

    def _ints(self, values: Ints) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.device)

    def _floats(self, values: Floats) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device)


def _adjust(even: Tensor, odd: Tensor, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Apply gain and offset of each colour; alpha is lost."""
    values = (even & 255, odd & 255, even >> 16)
    blue, green, red = (
        value.float().mul_(gain).add_(offset).clamp_(0, 255).int()
        for value, gain, offset in zip(values, levels[:3], levels[3:])
    )
    return blue.bitwise_or_(red.bitwise_left_shift_(16)), green


def _pack(colours: Floats) -> Ints:
    """Return colours (n, 3) as pixels (n,)."""
    return np.asarray(np.round(colours).clip(0, 255).astype(int) @ (1, 256, 65536))
