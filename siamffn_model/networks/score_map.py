"""The layout of the candidates of a model on the search crop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ScoreMap:
    """The layout of N = max(1, number of anchors) * side * side candidates.

    Candidates are ordered by anchor, row and column.

    Attributes:
        side: number of cells per row and per column.
        anchors: width and height of each anchor in pixels of the search crop; empty for anchor-free
            models.
        sized: whether the model predicts the size of the target, not only its position.
        stride: distance of neighbouring cells in pixels of the search crop.
    """

    side: int
    anchors: tuple[tuple[float, float], ...] = ()
    sized: bool = True
    stride: int = 8

    @property
    def candidates(self) -> int:
        """The number N of candidates."""
        return max(1, len(self.anchors)) * self.side**2

    def points(self) -> NDArray[np.float64]:
        """Return (2, N): x and y of each candidate from the centre of the crop, in pixels."""
        line = self.stride * (np.arange(self.side) - self.side // 2)
        x, y = np.meshgrid(line, line)
        return np.tile([x.ravel(), y.ravel()], max(1, len(self.anchors))).astype(float)

    def window(self) -> NDArray[np.float64]:
        """Return (N,): the Hanning window over the cells, 1 at the centre and 0 at the border."""
        hanning = np.hanning(self.side)
        return np.tile(np.outer(hanning, hanning).ravel(), max(1, len(self.anchors)))
