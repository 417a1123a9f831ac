"""Whether what is tracked still looks like the target that was given."""

from __future__ import annotations

import numpy as np

from siamffn_model.runtimes.runtime import Floats

CHECK_INTERVAL = 10  # frames between two measurements of a target that is tracked
SMOOTHING = 0.3  # weight of the latest measurement in moving averages
FIRST_DEVIATION = 0.08  # of the similarity, before it is known
DEVIATIONS, MIN_DROP = 3.5, 0.15  # a drop by less than either is usual
MIN_FRACTION = 0.7  # of the usual similarity that is enough when a target was found again
MIN_FRACTION_TO_RESEMBLE = 0.3  # of the usual similarity, see `resembles`


class Appearance:
    """The similarity of a target to its template, and what is usual for this target.

    The similarity is the correlation coefficient of the first level of the template features, whose
    mean over all positions is subtracted from each channel. For a target that changes it falls with
    time, and varies. Therefore it is compared with its own moving average, in units of its own mean
    deviation from that.

    Args:
        features: (C, H, W) of the template, see `Runtime.features`.

    Attributes:
        doubtful: whether the target was much less similar than usual at the last measurement, or
            has been since it was found again.
    """

    def __init__(self, features: Floats) -> None:
        self._template = _normalised(features)
        self._usual: float | None = None
        self._deviation = FIRST_DEVIATION
        self._frames = 0
        self._measure_next = False
        self._confirmed = True  # since it was last LOST
        self.doubtful = False

    def lose(self) -> None:
        """Note that the target is LOST: what is found next has to look as the target did."""
        self._measure_next, self._confirmed = True, False

    def due(self) -> bool:
        """Count a frame in which the target is TRACKING; return whether to measure it there."""
        self._frames += 1
        return self._measure_next or self._frames % CHECK_INTERVAL == 0

    def similarity(self, features: Floats) -> float:
        """Return the similarity, at most 1, of features (C, H, W) to the template."""
        return float((self._template * _normalised(features)).sum())

    def resembles(self, features: Floats) -> bool:
        """Return whether a candidate with features (C, H, W) may be the target.

        A high score alone does not tell. True until the usual similarity is known.
        """
        if self._usual is None:
            return True
        limit = min(self._least_usual(self._usual), MIN_FRACTION_TO_RESEMBLE * self._usual)
        return self.similarity(features) >= limit

    def measure(self, features: Floats) -> None:
        """Compare the target's features (C, H, W) with what is usual; see `doubtful`."""
        similarity = self.similarity(features)
        self._measure_next = False
        if self._usual is None:
            self._usual, self._confirmed = similarity, True
            return
        limit = self._least_usual(self._usual)
        if not self._confirmed:
            limit = max(limit, MIN_FRACTION * self._usual)
        self.doubtful = similarity < limit
        if not self.doubtful:
            self._confirmed = True
            change = similarity - self._usual
            self._deviation += SMOOTHING * (abs(change) - self._deviation)
            self._usual += SMOOTHING * change

    def _least_usual(self, usual: float) -> float:
        """Return the similarity below which the target has changed more than it used to."""
        return usual - max(MIN_DROP, DEVIATIONS * self._deviation)


def _normalised(features: Floats) -> Floats:
    centred = features - features.mean(axis=(1, 2), keepdims=True)
    normalised: Floats = centred / max(float(np.linalg.norm(centred)), 1e-12)
    return normalised
