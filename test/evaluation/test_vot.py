"""Tests of VOT's reset-based protocol, against a plain implementation and by hand."""

from __future__ import annotations

import csv
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siamffn_model.datasets.sequences import Sequence
from siamffn_model.errors import DataError
from siamffn_model.evaluation.results import ResetResult
from siamffn_model.evaluation.vot import (
    Code,
    ResetRun,
    format_run,
    parse_run,
    run_with_resets,
    score_runs,
)
from siamffn_model.imaging.geometry import Box, corners, polygon_to_box
from siamffn_model.tracking import State, Track

from .conftest import Clock

NAN = math.nan
SIZE = (40, 30)  # width, height of the images
TARGET = (10, 10, 9, 9)  # 10 x 10 pixels
HALF = (10, 10, 9, 4)  # 10 x 5 of them
AWAY = (30, 20, 5, 5)
START, LOST, SKIP = [1], [2], [0]
Row = list[float] | tuple[float, ...]  # a code, or a box


def sequence(frames: int, name: str = 'a') -> Sequence:
    return Sequence(name, corners([TARGET] * frames), size=SIZE)


def run_of(rows: list[Row]) -> ResetRun:
    return parse_run('\n'.join(','.join(map(str, row)) for row in rows), 'rows')


def score(*runs: list[Row], lengths: tuple[int, int] = (2, 4)) -> ResetResult:
    """Score runs on sequences in which the target does not move."""
    names = [str(number) for number in range(len(runs))]
    sequences = [sequence(len(rows), name) for name, rows in zip(names, runs, strict=True)]
    return score_runs(sequences, dict(zip(names, map(run_of, runs), strict=True)), lengths)


# --- reference implementation, written from the rules of the tool kit


def plain_score(
    runs: list[list[Row]], truths: list[list[Row]], lengths: tuple[int, int]
) -> tuple[float, float, float]:
    counted, failures, frames, pieces = [], 0, 0, []
    longest = max(len(rows) for rows in runs)
    for rows, truth in zip(runs, truths, strict=True):
        overlaps = [
            plain_overlap(row, box) if len(row) == 4 else 0
            for row, box in zip(rows, truth, strict=True)
        ]
        started, begin = 0, 0
        for number, row in enumerate(rows):
            frames += 1
            if row == START:
                started = number
            elif row == LOST:
                failures += 1
                if number + 5 <= len(rows):
                    piece = overlaps[begin : number + 5]
                    pieces.append(piece + [0] * (longest - len(piece)))
                    begin = number + 5
            elif len(row) == 4 and number >= started + 10:
                counted.append(overlaps[number])
        pieces.append(overlaps[begin:])
    curve = []
    for length in range(lengths[0], min(lengths[1], longest) + 1):
        means = [sum(p[1:length]) / (length - 1) for p in pieces if len(p) >= length]
        curve.append(sum(means) / len(means))
    accuracy = sum(counted) / len(counted) if counted else 0
    return accuracy, failures / frames * 100, sum(curve) / len(curve) if curve else 0


def plain_overlap(a: Row, b: Row) -> float:
    """Return the overlap of intersecting boxes with integer coordinates inside the image."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a, b
    shared = sum(
        bx <= x <= bx + bw and by <= y <= by + bh
        for x in range(int(ax), int(ax + aw) + 1)
        for y in range(int(ay), int(ay + ah) + 1)
    )
    return shared / ((aw + 1) * (ah + 1) + (bw + 1) * (bh + 1) - shared)


@st.composite
def runs_and_truths(draw: st.DrawFn) -> tuple[list[Row], list[Row]]:
    """Return up to 40 frames of a moving target and a tracker that sometimes fails."""
    truth: list[Row] = []
    rows: list[Row] = []
    restart = 0
    for number in range(draw(st.integers(1, 40))):
        truth.append((draw(st.integers(8, 12)), 10, draw(st.integers(6, 9)), 6))
        if number <= restart:
            rows.append(START if number == restart else SKIP)
        elif draw(st.integers(0, 14)) == 14:
            rows.append(LOST)
            restart = number + 5
        else:
            rows.append((draw(st.integers(8, 12)), 12, 5, draw(st.integers(2, 8))))
    return rows, truth


@pytest.mark.slow
@given(st.lists(runs_and_truths(), min_size=1, max_size=4), st.integers(2, 20), st.integers(0, 30))
def test_agrees_with_plain_implementation(
    drawn: list[tuple[list[Row], list[Row]]], low: int, more: int
) -> None:
    names = [str(number) for number in range(len(drawn))]
    runs, truths = ([pair[i] for pair in drawn] for i in (0, 1))
    found = score_runs(
        [Sequence(name, corners(truth), size=SIZE) for name, truth in zip(names, truths)],
        dict(zip(names, map(run_of, runs))),
        (low, low + more),
    )
    expected = plain_score(runs, truths, (low, low + more))
    assert (found.accuracy, found.robustness, found.eao) == pytest.approx(expected, abs=1e-12)


# --- cases computed by hand


def test_perfect_run() -> None:
    found = score([START] + [TARGET] * 19, lengths=(5, 20))
    assert (found.accuracy, found.robustness, found.eao, found.failures) == (1, 0, 1, 0)
    assert found.expected_overlap.tolist() == [1] * 20
    assert found.per_sequence == {'0': (1, 0)}


def test_burn_in_is_the_start_and_nine_more_frames() -> None:
    found = score([START] + [TARGET] * 9 + [HALF] * 2)
    assert found.accuracy == 0.5


def test_accuracy_is_pooled_over_frames() -> None:
    """Two frames of 0.5 and one of 1; the mean over sequences would be 0.75."""
    found = score([START] + [TARGET] * 9 + [HALF] * 2, [START] + [TARGET] * 10)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.per_sequence == {'0': (0.5, 0), '1': (1, 0)}


def test_one_failure() -> None:
    """2 of the 12 frames before the failure count, and 4 of the 14 frames after the restart."""
    rows = [START] + [HALF] * 11 + [LOST] + [SKIP] * 4 + [START] + [TARGET] * 13
    found = score(rows, lengths=(2, 31))
    assert len(rows) == 31
    assert found.accuracy == pytest.approx((2 * 0.5 + 4 * 1) / 6)
    assert found.robustness == pytest.approx(100 / 31)
    assert found.failures == 1
    curve = found.expected_overlap
    assert len(curve) == 31
    assert curve[0] == 1
    assert curve[1:12] == pytest.approx(0.75), 'the mean of 0.5 and 1'
    assert curve[13] == pytest.approx((11 * 0.5 / 13 + 1) / 2), 'the second fragment has 14 frames'
    assert curve[14] == pytest.approx(11 * 0.5 / 14), 'only the first fragment is padded with zeros'
    assert curve[30] == pytest.approx(11 * 0.5 / 30)
    assert found.eao == pytest.approx(curve[1:].mean())


@pytest.mark.parametrize('after', [0, 1, 3])
def test_failure_near_the_end_ends_with_the_sequence(after: int) -> None:
    """No frame is left for a restart: the fragment is not padded with zeros."""
    rows = [START] + [TARGET] * 6 + [LOST] + [SKIP] * after
    found = score(rows, [START] + [TARGET] * 19, lengths=(2, 20))
    assert found.failures == 1
    length = len(rows)
    assert found.expected_overlap[length - 1] == pytest.approx((6 / (length - 1) + 1) / 2)
    assert found.expected_overlap[length:].tolist() == pytest.approx([1] * (20 - length))


def test_failure_five_frames_before_the_end_is_padded_with_zeros() -> None:
    """The tool kit cuts at the end of the sequence; the fragment after the cut is empty."""
    rows = [START] + [TARGET] * 6 + [LOST] + [SKIP] * 4
    found = score(rows, [START] + [TARGET] * 19, lengths=(2, 20))
    assert found.expected_overlap[19] == pytest.approx((6 / 19 + 1) / 2)


def test_failure_within_burn_in() -> None:
    """No frame before the failure counts, and the burn-in starts again."""
    rows = [START] + [HALF] * 3 + [LOST] + [SKIP] * 4 + [START] + [HALF] * 9 + [TARGET]
    found = score(rows)
    assert (found.accuracy, found.failures) == (1, 1)


def test_box_outside_the_image_has_overlap_zero() -> None:
    found = score([START] + [TARGET] * 9 + [TARGET, (100, 100, 9, 9)], lengths=(12, 12))
    assert found.accuracy == 0.5
    assert found.eao == pytest.approx(10 / 11)


def test_polygons_are_regions_too() -> None:
    """A rotated square covers rows of 1, 3, 5, 3, 1 pixels of the 100 of the target."""
    diamond = (14, 12, 16, 14, 14, 16, 12, 14)
    assert score([START] + [diamond] * 10).accuracy == pytest.approx(0.13)


def test_sequences_shorter_than_the_interval() -> None:
    """The EAO is the mean over the lengths that exist."""
    found = score([START] + [TARGET] * 2 + [HALF] * 2, lengths=(4, 300))
    assert found.expected_overlap.tolist() == pytest.approx([1, 1, 1, 2.5 / 3, 3 / 4])
    assert found.eao == pytest.approx((2.5 / 3 + 3 / 4) / 2)


def test_scores_without_counted_frames_are_zero() -> None:
    found = score([START] + [TARGET] * 4, lengths=(100, 300))
    assert (found.accuracy, found.eao) == (0, 0)
    assert math.isnan(found.per_sequence['0'][0])
    assert found.summary()['per_sequence'] == {'0': {'A': None, 'failures': 0}}
    assert score([START]).expected_overlap.tolist() == [1]


def test_speed_is_in_the_result() -> None:
    found = score_runs([sequence(2)], {'a': run_of([START, TARGET])}, (1, 2), fps=30.0)
    assert found.fps == 30


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        ([START, TARGET], r'a: 2 rows of results for 3 frames; there must be one row per frame'),
        ([START] + [TARGET] * 3, r'a: 4 rows of results for 3 frames'),
        ([], r'a: 0 rows of results for 3 frames'),
        (
            [TARGET] * 3,
            r'a: row 1 of the result is not 1 \(start\); give the result of a reset-based run',
        ),
    ],
)
def test_invalid_runs_raise(rows: list[Row], message: str) -> None:
    with pytest.raises(DataError, match=message):
        score_runs([sequence(3)], {'a': run_of(rows)}, (1, 3))


def test_unknown_image_size_raises() -> None:
    with pytest.raises(DataError, match='a: the size of its images is unknown'):
        score_runs([Sequence('a', corners([TARGET]))], {'a': run_of([START])}, (1, 3))


# --- result files


@pytest.mark.parametrize('separator', [',', '\t', ' ', ', '])
def test_rows_of_a_file(separator: str) -> None:
    rows = ['1', '1 2 3 4.5', '2', '0', '1.0000', '1 2 3 4 5 6 7 8']
    run = parse_run('\r\n'.join(row.replace(' ', separator) for row in rows) + '\r\n\r\n', 'a.txt')
    assert [Code(code).name for code in run.codes] == [
        'INIT', 'REGION', 'FAILURE', 'SKIPPED', 'INIT', 'REGION',
    ]  # fmt: skip
    assert run.regions[1].tolist() == [1, 2, 4, 2, 4, 6.5, 1, 6.5]
    assert run.regions[5].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert np.isnan(run.regions[[0, 2, 3, 4]]).all()


@pytest.mark.parametrize(
    'row', ['3', '-1', '1.5', 'nan', '', 'x', '1,2', '1,2,3', '1,2,3,nan', '1,2,3,4,5', 'a,b,c,d']
)
def test_invalid_row_raises(row: str) -> None:
    with pytest.raises(DataError, match=rf"x/a\.txt: row 2 is '{row}'; each row must be 1 \(start"):
        parse_run(f'1\n{row}\n1,2,3,4\n', 'x/a.txt')


def test_text_of_a_run() -> None:
    rows = [START, (1, 2, 30.12346, 4), LOST, SKIP, (14, 12, 16, 14, 14, 16, 12, 14)]
    polygon = '14.0000,12.0000,16.0000,14.0000,14.0000,16.0000,12.0000,14.0000'
    assert format_run(run_of(rows)) == f'1\n1.0000,2.0000,30.1235,4.0000\n2\n0\n{polygon}\n'


hundredths = st.integers(-(10**6), 10**6).map(lambda value: value / 100)


@given(st.lists(st.sampled_from([START, LOST, SKIP]) | st.tuples(*[hundredths] * 4)))
def test_written_run_is_read_back(rows: list[Row]) -> None:
    run = run_of(rows)
    again = parse_run(format_run(run), 'again')
    assert np.array_equal(again.codes, run.codes)
    assert np.array_equal(again.regions, run.regions, equal_nan=True)


# --- running the protocol


class Scripted:
    """A tracker with a given box for each frame; the value of the image is its frame number."""

    def __init__(self, boxes: dict[int, Row]) -> None:
        self.boxes = boxes
        self.calls: list[tuple[int, Box | None]] = []

    def init(self, image: np.ndarray, box: Box) -> None:
        self.calls.append((int(image[0, 0, 0]), box))

    def update(self, image: np.ndarray) -> Track:
        frame = int(image[0, 0, 0])
        self.calls.append((frame, None))
        return Track(Box(*self.boxes.get(frame, TARGET)), 0.5, State.TRACKING)


def numbered(frames: int) -> Iterator[np.ndarray]:
    for frame in range(frames):
        yield np.full((SIZE[1], SIZE[0], 3), frame, np.uint8)


def test_live_run() -> None:
    """The tracker fails in frame 3, restarts in 8 and fails in 9; the sequence ends before 14."""
    truth = sequence(12).truth
    truth[8] += 1
    tracker = Scripted({2: HALF, 3: AWAY, 9: AWAY})
    output = run_with_resets(tracker, numbered(12), truth, SIZE)
    expected = [START, TARGET, HALF, LOST, *[SKIP] * 4, START, LOST, SKIP, SKIP]
    assert np.array_equal(output.run.codes, run_of(expected).codes)
    assert np.array_equal(output.run.regions, run_of(expected).regions, equal_nan=True)
    assert output.frames == 6
    assert tracker.calls == [
        (0, polygon_to_box(truth[0])),
        (1, None),
        (2, None),
        (3, None),
        (8, polygon_to_box(truth[8])),
        (9, None),
    ]


def test_live_run_can_be_scored() -> None:
    output = run_with_resets(Scripted({5: AWAY}), numbered(30), sequence(30).truth, SIZE)
    text = format_run(output.run)
    found = score_runs([sequence(30)], {'a': parse_run(text, 'a')}, (2, 30))
    assert (found.accuracy, found.failures) == (1, 1)


@pytest.mark.parametrize('box', [(39, 10, 9, 9), (-50, 10, 9, 9), (10, 10, 0, 0), (NAN,) * 4])
def test_box_without_overlap_is_a_failure(box: Row) -> None:
    output = run_with_resets(Scripted({1: box}), numbered(2), sequence(2).truth, SIZE)
    assert output.run.codes.tolist() == [Code.INIT, Code.FAILURE]


def test_overlap_outside_the_image_is_a_failure() -> None:
    """Target and box leave the image on the right and overlap only outside of it."""
    truth = corners([TARGET, (30, 10, 20, 9)])
    output = run_with_resets(Scripted({1: (42, 10, 9, 9)}), numbered(2), truth, SIZE)
    assert output.run.codes.tolist() == [Code.INIT, Code.FAILURE]


def test_restart_waits_for_an_absent_target() -> None:
    """The target is absent in frames 2 to 8: frame 2 is a failure, and 7 and 8 are no restart."""
    truth = sequence(11).truth
    truth[2:9] = NAN
    tracker = Scripted({})
    output = run_with_resets(tracker, numbered(11), truth, SIZE)
    assert format_run(output.run).split('\n')[2:10] == ['2', '0', '0', '0', '0', '0', '0', '1']
    assert [frame for frame, _ in tracker.calls] == [0, 1, 2, 9, 10]


def test_reading_the_images_is_not_timed(clock: Clock) -> None:
    tracker = clock.timed(Scripted({2: AWAY}))
    output = run_with_resets(tracker, clock.reading(numbered(9)), sequence(9).truth, SIZE)
    assert (output.frames, output.seconds) == (5, 3 + 2 + 3 + 1)


# --- published results must reproduce the published scores


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def read_annotation(folder: Path) -> list[Sequence]:
    sequences = []
    for row in read_csv(folder / 'sequences.csv'):
        truth = np.loadtxt(folder / 'anno' / f'{row["name"]}.txt', delimiter=',')
        truth = corners(truth) if truth.shape[1] == 4 else truth
        size = (int(row['width']), int(row['height']))
        sequences.append(Sequence(row['name'], truth, size=size))
    return sequences


@pytest.mark.slow
@pytest.mark.parametrize('year', ['VOT2018', 'VOT2019'])
def test_published_scores(shared: Path, year: str) -> None:
    """The scores are rounded to three decimals; the tolerance is half a unit plus a margin."""
    folder = shared / 'data/bench_vot'
    if not folder.is_dir():
        pytest.skip(f'development data absent: no folder {folder}')
    sequences = read_annotation(folder / year)
    rows = [row for row in read_csv(folder / 'expected.csv') if row['benchmark'] == year]
    assert len(rows) >= 3
    for row in rows:
        with zipfile.ZipFile(folder / year / 'results' / f'{row["tracker"]}.zip') as results:
            files = {s.name: f'baseline/{s.name}/{s.name}_001.txt' for s in sequences}
            runs = {n: parse_run(results.read(file).decode(), file) for n, file in files.items()}
        found = score_runs(sequences, runs, (int(row['eao_low']), int(row['eao_high'])))
        assert found.failures == int(row['recomputed_lost'])
        assert found.accuracy == pytest.approx(float(row['recomputed_A']), abs=0.00051)
        assert found.robustness == pytest.approx(float(row['recomputed_R']), abs=0.00051)
        assert found.eao == pytest.approx(float(row['recomputed_EAO']), abs=0.00051)
