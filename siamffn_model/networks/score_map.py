"""Where on the search crop the scores of a model lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STRIDE = 8  # pixels of the search crop between neighbouring cells of a score map


@dataclass(frozen=True)
class ScoreMap:
    """The candidates of a model: N = max(1, anchors) * side * side, in the order of its outputs.

    The cells come row by row, and all of the first anchor's before those of the second. `anchors`
    are widths and heights in pixels of the search crop, none for a model free of anchors. `sized`
    is False for a model that tells where the target is but not how large.
    """

    side: int
    anchors: tuple[tuple[float, float], ...] = ()
    sized: bool = True

    @property
    def candidates(self) -> int:
        """N, their number."""
        return max(1, len(self.anchors)) * self.side**2

    def points(self) -> NDArray[np.float64]:
        """Return (2, N): x and y of each candidate, in pixels from the search crop's centre."""
        line = STRIDE * (np.arange(self.side) - self.side // 2)
        x, y = np.meshgrid(line, line)
        return np.tile([x.ravel(), y.ravel()], max(1, len(self.anchors))).astype(float)

    def window(self) -> NDArray[np.float64]:
        """Return (N): the Hanning window over the cells, 1 in the middle and 0 at the edge."""
        hanning = np.hanning(self.side)
        return np.tile(np.outer(hanning, hanning).ravel(), max(1, len(self.anchors)))
