"""VOT's reset-based (supervised) protocol: a tracker is re-initialised five frames after a failure.

`run_with_resets` runs a tracker. `score_runs` computes accuracy, robustness and EAO like the tool
kit of PySOT (github.com/STVIR/pysot, toolkit/evaluation), from which papers take their scores.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from siamffn_model.datasets.sequences import Sequence
from siamffn_model.errors import DataError
from siamffn_model.evaluation.metrics import Floats
from siamffn_model.evaluation.polygons import polygon_overlap
from siamffn_model.evaluation.results import ResetResult
from siamffn_model.imaging.geometry import corners, polygon_to_box
from siamffn_model.imaging.image import Image
from siamffn_model.tracking import TrackerProtocol

RESTART = 5  # frames from a failure to the next initialisation
BURN_IN = 10  # frames from each initialisation on that are excluded from the accuracy


class Code(IntEnum):
    """The kind of a result row; all but REGION are the numbers in VOT's result files."""

    REGION = -1
    SKIPPED = 0
    INIT = 1
    FAILURE = 2


@dataclass(frozen=True)
class ResetRun:
    """The result of a tracker on one sequence of N frames.

    Attributes:
        codes: (N,) values of `Code`.
        regions: (N, 8) corners x1, y1, ..., x4, y4 in pixels; NaN unless the code is REGION.
    """

    codes: NDArray[np.int8]
    regions: Floats


class LiveRun(NamedTuple):
    """The output of `run_with_resets`.

    Attributes:
        run: the result on the sequence.
        seconds: time spent in the tracker, without reading the images.
        frames: number of frames for which the tracker was called.
    """

    run: ResetRun
    seconds: float
    frames: int


def parse_run(text: str, source: str) -> ResetRun:
    """Parse a VOT result file: each row is 1 (start), 2 (failure), 0 (skipped) or a region.

    A region is x,y,w,h or x1,y1,...,x4,y4, separated by commas, tabs or spaces. Raises `DataError`
    with the source and the row if a row has another form.
    """
    rows = []
    for number, line in enumerate(text.rstrip().splitlines(), 1):
        row = _parse_row(line)
        if row is None:
            raise DataError(
                f'{source}: row {number} is {line!r}; each row must be 1 (start), 2 (failure), '
                '0 (skipped), x,y,w,h or x1,y1,...,x4,y4'
            )
        rows.append(row)
    return _to_run(rows)


def _parse_row(line: str) -> list[float] | None:
    try:
        row = [float(word) for word in line.replace(',', ' ').split()]
    except ValueError:
        return None
    if len(row) == 1:
        return row if row[0] in (Code.SKIPPED, Code.INIT, Code.FAILURE) else None
    return row if len(row) in (4, 8) and all(map(math.isfinite, row)) else None


def _to_run(rows: list[list[float]]) -> ResetRun:
    """Convert rows of 1 number (a code), 4 (a box) or 8 (corners) to a `ResetRun`."""
    length = np.array([len(row) for row in rows], int)
    codes = np.array([row[0] if len(row) == 1 else Code.REGION for row in rows], np.int8)
    regions = np.full((len(rows), 8), np.nan)
    regions[length == 4] = corners([row for row in rows if len(row) == 4])
    regions[length == 8] = np.reshape([row for row in rows if len(row) == 8], (-1, 8))
    return ResetRun(codes, regions)


def format_run(run: ResetRun) -> str:
    """Return the text of a VOT result file, with four decimals.

    Axis-aligned regions are written as x,y,w,h, others as their four corners.
    """
    boxes = np.concatenate([run.regions[:, :2], run.regions[:, 4:6] - run.regions[:, :2]], axis=1)
    aligned = np.all(np.abs(corners(boxes) - run.regions) < 1e-5, axis=1)
    lines = []
    for i, code in enumerate(run.codes):
        region = boxes[i] if aligned[i] else run.regions[i]
        is_region = code == Code.REGION
        lines.append(','.join(f'{value:.4f}' for value in region) if is_region else str(code))
    return ''.join(f'{line}\n' for line in lines)


def run_with_resets(
    tracker: TrackerProtocol, images: Iterable[Image], truth: Floats, size: tuple[int, int]
) -> LiveRun:
    """Run a tracker on one sequence with the reset-based protocol.

    The tracker is initialised with `polygon_to_box` of the ground truth. A frame in which its box
    does not overlap the ground truth, or in which the target is absent, is a failure. Four frames
    are then skipped, and further ones until the target is present, before the tracker is
    initialised again.

    Args:
        tracker: is not called for skipped frames.
        images: N images, BGR uint8 (H, W, 3).
        truth: (N, 8) corners in pixels, 0-based; NaN where the target is absent.
        size: (width, height) of the images.
    """
    rows: list[list[float]] = []
    seconds, frames = 0.0, 0
    tracking, restart = False, 0
    for number, (region, image) in enumerate(zip(truth, images)):
        if not tracking and (number < restart or np.isnan(region).any()):
            rows.append([Code.SKIPPED])
            continue
        start = time.perf_counter()
        if tracking:
            row = [*tracker.update(image).box]
        else:
            tracker.init(image, polygon_to_box(region))
            row = [Code.INIT]
        seconds += time.perf_counter() - start
        frames += 1
        if tracking and not polygon_overlap(corners(row), region, size) > 0:
            row, restart = [Code.FAILURE], number + RESTART
        tracking = row != [Code.FAILURE]
        rows.append(row)
    return LiveRun(_to_run(rows), seconds, frames)


def score_runs(
    sequences: Iterable[Sequence],
    runs: Mapping[str, ResetRun],
    lengths: tuple[int, int],
    fps: float | None = None,
) -> ResetResult:
    """Compute accuracy, robustness and EAO of a tracker.

    The accuracy is the mean overlap over the frames of all sequences, without frames that have no
    region and without the burn-in, which is each initialisation and the nine frames after it; it is
    0 if no frame is left. The EAO is the mean of the expected overlap over the lengths in `lengths`
    that the longest sequence reaches; it is 0 if there are none.

    Args:
        sequences: the sequences, with polygons as ground truth.
        runs: result of the tracker by name of the sequence.
        lengths: first and last sequence length of the EAO, both included.
        fps: measured frames per second.

    Raises:
        DataError: a run does not have one row per frame or does not start with an initialisation,
            or the image size of a sequence is unknown; the message names the sequence.
    """
    overlaps: list[Floats] = []
    counted: list[Floats] = []
    failures: list[NDArray[np.intp]] = []
    per_sequence = {}
    for sequence in sequences:
        run = runs[sequence.name]
        size = _check_run(sequence, run)
        overlaps.append(polygon_overlap(run.regions, sequence.truth, size))
        failures.append(np.flatnonzero(run.codes == Code.FAILURE))
        counted.append(overlaps[-1][_counts_for_accuracy(run.codes)])
        accuracy = float(counted[-1].mean()) if len(counted[-1]) else math.nan
        per_sequence[sequence.name] = accuracy, len(failures[-1])
    pooled, curve = np.concatenate(counted), _expected_overlap(overlaps, failures)
    inside = curve[lengths[0] - 1 : lengths[1]]
    return ResetResult(
        accuracy=float(pooled.mean()) if len(pooled) else 0.0,
        robustness=100 * sum(map(len, failures)) / sum(map(len, overlaps)),
        eao=float(inside.mean()) if len(inside) else 0.0,
        expected_overlap=curve,
        per_sequence=per_sequence,
        fps=fps,
    )


def _check_run(sequence: Sequence, run: ResetRun) -> tuple[int, int]:
    """Return the size of the images; raises `DataError`, see `score_runs`."""
    name, rows, frames = sequence.name, len(run.codes), len(sequence.truth)
    if rows != frames:
        raise DataError(
            f'{name}: {rows} rows of results for {frames} frames; there must be one row per '
            'frame: check that the result is complete and belongs to this year of VOT'
        )
    if run.codes[0] != Code.INIT:
        raise DataError(
            f'{name}: row 1 of the result is not 1 (start); give the result of a reset-based run '
            "(VOT's baseline), not of a one-pass or unsupervised run"
        )
    if sequence.size is None:
        raise DataError(f'{name}: the size of its images is unknown; provide the images, too')
    return sequence.size


def _counts_for_accuracy(codes: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Return whether each frame counts for the accuracy, (N,)."""
    counts = codes == Code.REGION
    for start in np.flatnonzero(codes == Code.INIT):
        counts[start : start + BURN_IN] = False
    return counts


def _expected_overlap(overlaps: list[Floats], failures: list[NDArray[np.intp]]) -> Floats:
    """Return the expected overlap (n,) in sequences of 1 to n frames; n is the longest sequence.

    Each sequence is cut into fragments five frames after each failure. A fragment before a cut is
    padded with zeros to the length n; the last fragment ends with the sequence, even if it contains
    a failure in the last four frames. The overlap of a fragment over a length is the mean without
    its first frame, and 1 for a length of 1. The result is the unweighted mean over the fragments
    that are long enough.
    """
    longest = max(map(len, overlaps))
    length = np.arange(1, longest + 1)
    total, count = np.zeros(longest), np.zeros(longest)
    for overlap, failed in zip(overlaps, failures):
        cuts = failed + RESTART
        fragments = np.split(overlap, cuts[cuts <= len(overlap)])
        for i, fragment in enumerate(fragments):
            padded = np.zeros(longest)
            padded[1 : len(fragment)] = fragment[1:]
            reached = length <= (longest if i < len(fragments) - 1 else len(fragment))
            total += padded.cumsum() * reached
            count += reached
    curve = total / (count * np.maximum(length - 1, 1))
    curve[0] = 1
    return curve
