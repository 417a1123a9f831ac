"""Whether what is tracked still looks like the target that was given."""

from __future__ import annotations

import numpy as np

from siamffn_model.runtimes.runtime import Floats

CHECK_INTERVAL = 10  # frames between two measurements of a target that is tracked
SMOOTHING = 0.3  # weight of the latest similarity in their moving average
MIN_FRACTION = 0.7  # of the usual similarity that is enough to be taken for the target
CONSTANT = 0.45  # usual similarity from which on a target is known to keep its appearance


class Appearance:
    """The similarity of a target to its template, and what is usual for this target.

    The similarity is the correlation coefficient of the first level of the template features, whose
    mean over all positions is subtracted from each channel. For a target that changes it falls with
    time, therefore it is compared with its own moving average.

    Args:
        features: (C, H, W) of the template, see `Runtime.features`.

    Attributes:
        doubtful: whether the target has not been as similar as usual since it was found again, or,
            if it used to keep its appearance, at the last measurement.
    """

    def __init__(self, features: Floats) -> None:
        self._template = _normalised(features)
        self._usual: float | None = None
        self._frames = 0
        self.doubtful = False

    def due(self, found_again: bool) -> bool:
        """Count a frame in which the target is tracked; return whether to measure it there."""
        self._frames += 1
        return found_again or self._frames % CHECK_INTERVAL == 0

    def similarity(self, features: Floats) -> float:
        """Return the similarity, at most 1, of features (C, H, W) to the template."""
        return float((self._template * _normalised(features)).sum())

    def measure(self, features: Floats, found_again: bool) -> None:
        """Compare the target's features (C, H, W) with what is usual; see `doubtful`."""
        similarity = self.similarity(features)
        usual = similarity if self._usual is None else self._usual
        if found_again or self.doubtful or usual >= CONSTANT:
            self.doubtful = similarity < MIN_FRACTION * usual
        if not self.doubtful:
            self._usual = usual + SMOOTHING * (similarity - usual)


def _normalised(features: Floats) -> Floats:
    centred = features - features.mean(axis=(1, 2), keepdims=True)
    normalised: Floats = centred / max(float(np.linalg.norm(centred)), 1e-12)
    return normalised
