"""Runs of a tracker from several frames of each sequence, which make a score less accidental."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from siamffn_model.datasets.sequences import Sequence

MIN_FRAMES = 20  # shortest part of a sequence that a run is started on


def with_starts(sequences: Iterable[Sequence], starts: int) -> list[Sequence]:
    """Return each sequence, followed by its parts from the other `start_frames` to the end."""
    return [
        sequence.rest(start) for sequence in sequences for start in start_frames(sequence, starts)
    ]


def start_frames(sequence: Sequence, starts: int) -> list[int]:
    """Return the indices of at most `starts` evenly spaced frames, the first of them 0.

    These are the frames i * N / starts of the N frames. Each is moved to the next frame whose
    ground truth is a box with positive coordinates and at least `MIN_FRAMES` frames before the end,
    or to the last such frame if none follows. A short sequence thus has fewer starts.
    """
    count = len(sequence.truth)
    present = np.all(sequence.truth > 0, axis=1)[: max(count - MIN_FRAMES + 1, 0)]
    valid = np.union1d(np.flatnonzero(present), [0])
    wanted = [number * count // starts for number in range(starts)]
    found = np.minimum(np.searchsorted(valid, wanted), len(valid) - 1)
    return [int(frame) for frame in np.unique(valid[found])]
