"""The smoothed motion of a target, from which its next position is predicted."""

from __future__ import annotations

import numpy as np

SMOOTHING = 0.5  # weight of the latest displacement in the moving average


class Motion:
    """Exponential moving average of the displacement of a target's centre, in pixels per frame."""

    def __init__(self) -> None:
        self._mean = np.zeros(2)

    def reset(self) -> None:
        """Set the motion to zero."""
        self._mean[:] = 0

    def update(self, displacement: tuple[float, float]) -> None:
        """Add the displacement (x, y) between two consecutive frames to the average."""
        self._mean += SMOOTHING * (displacement - self._mean)

    def predict(self, cx: float, cy: float, gain: float) -> tuple[float, float]:
        """Return the centre after one more frame, with the motion multiplied by `gain`."""
        dx, dy = gain * self._mean
        return cx + dx, cy + dy
