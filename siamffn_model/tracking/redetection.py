"""Re-detection: the tiles of the image that are searched for a LOST target."""

from __future__ import annotations

import math
from bisect import bisect_right

from siamffn_model.imaging.geometry import clip_point

TILE_SPACING = 0.7  # tile distance / search region's side: the score map covers 0.75 of the side


class SearchTiles:
    """The centres of the tiles around (cx, cy), `step` pixels apart, that cover an image.

    The tiles form square rings around the centre tile, which is not included. Their order is ring
    by ring from the inside out, and by angle within a ring. Tiles are computed on access, because
    a large image can have a million of them.

    Args:
        cx: horizontal centre of the first ring, in pixels, within the image.
        cy: vertical centre of the first ring, in pixels, within the image.
        step: distance between neighbouring tiles in pixels.
        size: (width, height) of the image in pixels; centres outside it are moved to its border.
    """

    def __init__(self, cx: float, cy: float, step: float, size: tuple[int, int]) -> None:
        self._center, self._step, self._size = (cx, cy), step, size
        width, height = size
        self._left, self._right = math.ceil(cx / step), math.ceil((width - cx) / step)
        self._above, self._below = math.ceil(cy / step), math.ceil((height - cy) / step)
        self._rings = max(self._left, self._right, self._above, self._below)

    def __len__(self) -> int:
        return self._count_within(self._rings)

    def __getitem__(self, index: int) -> tuple[float, float]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        ring = bisect_right(range(self._rings), index, key=self._count_within)
        column, row = self._ring(ring)[index - self._count_within(ring - 1)]
        cx, cy = self._center
        return clip_point(cx + column * self._step, cy + row * self._step, *self._size)

    def _ranges(self, ring: int) -> tuple[range, range]:
        """Return the columns and rows, counted from the centre tile, up to and with a ring."""
        columns = range(-min(self._left, ring), min(self._right, ring) + 1)
        return columns, range(-min(self._above, ring), min(self._below, ring) + 1)

    def _count_within(self, ring: int) -> int:
        """Return the number of tiles up to and with a ring, without the centre tile."""
        columns, rows = self._ranges(ring)
        return len(columns) * len(rows) - 1

    def _ring(self, ring: int) -> list[tuple[int, int]]:
        """Return (column, row) of the tiles of one ring, sorted by angle."""
        columns, rows = self._ranges(ring)
        tiles = {(x, y) for x in (-ring, ring) if x in columns for y in rows}
        tiles |= {(x, y) for y in (-ring, ring) if y in rows for x in columns}
        return sorted(tiles, key=lambda tile: math.atan2(tile[1], tile[0]))
