"""Correct the aspect ratio of boxes by what the network predicts in the first image.

The network sees the target in the template, but not the box that was given. It may add the shadow
of a building to it, or leave out the hair round a face. In the first image, where the box is known,
that shows as a wrong aspect ratio, of which a part is found again in later images.
"""

from __future__ import annotations

import numpy as np

from siamffn_model.imaging.geometry import Box
from siamffn_model.runtimes.runtime import Floats
from siamffn_model.tracking.steadiness import mean_candidate, overlaps

SHARE = 0.3  # of the first image's error, as a logarithm, that is corrected in later images
MIN_OVERLAP = 0.3  # IoU of predicted and given box; below it, the network found something else


def size_correction(candidates: Floats, box: Box) -> Floats:
    """Return the factors (2) of the widths and heights of later candidates; 1 to leave them.

    Args:
        candidates: (5, N), see `Runtime.search`, in the search region of the first image, in pixels
            of the image.
        box: the box that was given.
    """
    scores = candidates[0]
    predicted = mean_candidate(candidates[1:], scores, int(scores.argmax()))
    given = np.array([0, 0, box.w, box.h])
    if not overlaps(predicted[:, None], given) >= MIN_OVERLAP:  # also if it is not a number
        return np.ones(2)
    factor = ((predicted[2] / predicted[3]) / (box.w / box.h)) ** (SHARE / 2)
    return np.array([1 / factor, factor])
