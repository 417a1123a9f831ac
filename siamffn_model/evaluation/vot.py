"""VOT's protocol with resets: a tracker that loses its target is started again five frames later.

`follow` runs it live. `with_resets` scores it like the tool kit that came with PySOT
(github.com/STVIR/pysot, toolkit/evaluation), which papers take their figures from.
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
from siamffn_model.evaluation.polygons import polygon_overlap, to_box
from siamffn_model.evaluation.results import WithResets
from siamffn_model.imaging.geometry import corners
from siamffn_model.imaging.sources import Image
from siamffn_model.tracking import TrackerProtocol

RESTART = 5  # frames from a failure to the start after it
BURN_IN = 10  # frames from a start that accuracy leaves out, the first of them the start itself


class Code(IntEnum):
    """What happened in a frame; all but REGION are the numbers of VOT's result files."""

    REGION = -1
    SKIPPED = 0
    INIT = 1
    FAILURE = 2


@dataclass(frozen=True)
class ResetRun:
    """What a tracker did on one sequence of N frames.

    Attributes:
        codes: (N) of `Code`.
        regions: (N, 8) corners x1, y1, ..., x4, y4 in pixels, NaN unless the code is REGION.
    """

    codes: NDArray[np.int8]
    regions: Floats


class Followed(NamedTuple):
    """A live run.

    Attributes:
        run: what the tracker did.
        seconds: that it took, without the reading of images.
        frames: for which it was called.
    """

    run: ResetRun
    seconds: float
    frames: int


def parse_run(text: str, source: str) -> ResetRun:
    """Read a result file of VOT: in each row 1 (start), 2 (failure), 0 (skipped) or a region.

    A region is x,y,w,h or x1,y1,...,x4,y4; commas, tabs or spaces separate. Raises `DataError`
    naming the source and the row that is none of these.
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
    return _run(rows)


def _parse_row(line: str) -> list[float] | None:
    try:
        row = [float(word) for word in line.replace(',', ' ').split()]
    except ValueError:
        return None
    if len(row) == 1:
        return row if row[0] in (Code.SKIPPED, Code.INIT, Code.FAILURE) else None
    return row if len(row) in (4, 8) and all(map(math.isfinite, row)) else None


def _run(rows: list[list[float]]) -> ResetRun:
    """Make a run of rows of 1 number (a code), 4 (a box) or 8 (corners)."""
    length = np.array([len(row) for row in rows], int)
    codes = np.array([row[0] if len(row) == 1 else Code.REGION for row in rows], np.int8)
    regions = np.full((len(rows), 8), np.nan)
    regions[length == 4] = corners([row for row in rows if len(row) == 4])
    regions[length == 8] = np.reshape([row for row in rows if len(row) == 8], (-1, 8))
    return ResetRun(codes, regions)


def format_run(run: ResetRun) -> str:
    """Return the text of a result file, regions to the ten-thousandth of a pixel.

    Upright boxes, which is all that our trackers answer, become x,y,w,h; others their corners.
    """
    boxes = np.concatenate([run.regions[:, :2], run.regions[:, 4:6] - run.regions[:, :2]], axis=1)
    upright = np.all(np.abs(corners(boxes) - run.regions) < 1e-5, axis=1)
    lines = []
    for i, code in enumerate(run.codes):
        region = boxes[i] if upright[i] else run.regions[i]
        is_region = code == Code.REGION
        lines.append(','.join(f'{value:.4f}' for value in region) if is_region else str(code))
    return ''.join(f'{line}\n' for line in lines)


def follow(
    tracker: TrackerProtocol, images: Iterable[Image], truth: Floats, size: tuple[int, int]
) -> Followed:
    """Run the protocol live on one sequence.

    The tracker starts from `to_box` of the truth. A frame in which its box does not overlap the
    truth (also for want of a truth) is a failure; four frames are then skipped, and further ones
    until the target is there, before it is started again.

    Args:
        tracker: not called for skipped frames.
        images: one for each row of `truth`.
        truth: (N, 8) corners in pixels, counted from 0; NaN where the target is absent.
        size: (width, height) of the images.
    """
    rows: list[list[float]] = []
    seconds, frames = 0.0, 0
    tracking, restart = False, 0
    for number, (region, image) in enumerate(zip(truth, images)):
        if not tracking and (number < restart or np.isnan(region).any()):
            rows.append([Code.SKIPPED])
            continue
        begin = time.perf_counter()
        if tracking:
            row = [*tracker.update(image).box]
        else:
            tracker.init(image, to_box(region))
            row = [Code.INIT]
        seconds += time.perf_counter() - begin
        frames += 1
        if tracking and not polygon_overlap(corners(row), region, size) > 0:
            row, restart = [Code.FAILURE], number + RESTART
        tracking = row != [Code.FAILURE]
        rows.append(row)
    return Followed(_run(rows), seconds, frames)


def with_resets(
    sequences: Iterable[Sequence],
    runs: Mapping[str, ResetRun],
    lengths: tuple[int, int],
    fps: float | None = None,
) -> WithResets:
    """Score a tracker's runs by name of the sequence.

    Accuracy is the mean over the frames of all sequences, without those that have no region and
    without the burn-in, which is each start and the nine frames after it; 0 if none is left. EAO is
    the mean of the expected overlaps over the lengths of `lengths`, both ends included, that the
    longest sequence reaches; 0 if it reaches none, so that a set too short is seen at once.

    Raises:
        DataError: a run that has not one row a frame or does not begin with a start, or a sequence
            whose image size is not known, each naming the sequence.
    """
    overlaps: list[Floats] = []
    counted: list[Floats] = []
    failures: list[NDArray[np.intp]] = []
    per_sequence = {}
    for sequence in sequences:
        run = runs[sequence.name]
        size = _check(sequence, run)
        overlaps.append(polygon_overlap(run.regions, sequence.truth, size))
        failures.append(np.flatnonzero(run.codes == Code.FAILURE))
        counted.append(overlaps[-1][_counts(run.codes)])
        accuracy = float(counted[-1].mean()) if len(counted[-1]) else math.nan
        per_sequence[sequence.name] = accuracy, len(failures[-1])
    pooled, curve = np.concatenate(counted), _expected_overlap(overlaps, failures)
    inside = curve[lengths[0] - 1 : lengths[1]]
    return WithResets(
        accuracy=float(pooled.mean()) if len(pooled) else 0.0,
        robustness=100 * sum(map(len, failures)) / sum(map(len, overlaps)),
        eao=float(inside.mean()) if len(inside) else 0.0,
        expected_overlap=curve,
        per_sequence=per_sequence,
        fps=fps,
    )


def _check(sequence: Sequence, run: ResetRun) -> tuple[int, int]:
    """Return the size of the images; raises `DataError`, see `with_resets`."""
    name, rows, frames = sequence.name, len(run.codes), len(sequence.truth)
    if rows != frames:
        raise DataError(
            f'{name}: {rows} rows of results for {frames} frames; there must be one row a frame: '
            'is the result of another year, or cut short?'
        )
    if run.codes[0] != Code.INIT:
        raise DataError(
            f'{name}: row 1 of the result is not 1 (start); give the result of a run with resets '
            "(VOT's baseline), not of one pass or without supervision"
        )
    if sequence.size is None:
        raise DataError(f'{name}: the size of its images is not known; give the images, too')
    return sequence.size


def _counts(codes: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Return whether each frame (N) counts for accuracy."""
    counts = codes == Code.REGION
    for start in np.flatnonzero(codes == Code.INIT):
        counts[start : start + BURN_IN] = False
    return counts


def _expected_overlap(overlaps: list[Floats], failures: list[NDArray[np.intp]]) -> Floats:
    """Return (n) the mean overlap to expect in a sequence of 1 to n frames, n the longest there is.

    Each sequence is cut five frames after each failure. A piece with such a cut after it goes on
    with zeros for ever; the last one ends with the sequence, even where a failure is so late that
    nothing was left to start on. A piece's overlap over a length is the mean without its first
    frame; with only that frame it is 1. The mean over the pieces that are long enough is plain.
    """
    longest = max(map(len, overlaps))
    number = np.arange(1, longest + 1)
    total, share = np.zeros(longest), np.zeros(longest)
    for overlap, failed in zip(overlaps, failures):
        cuts = failed + RESTART
        pieces = np.split(overlap, cuts[cuts <= len(overlap)])
        for i, piece in enumerate(pieces):
            padded = np.zeros(longest)
            padded[1 : len(piece)] = piece[1:]
            reached = number <= (longest if i < len(pieces) - 1 else len(piece))
            total += padded.cumsum() * reached
            share += reached
    curve = total / (share * np.maximum(number - 1, 1))
    curve[0] = 1
    return curve
