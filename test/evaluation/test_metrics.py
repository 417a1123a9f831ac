from __future__ import annotations

import csv
import io
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siamffn_model.errors import DataError
from siamffn_model.evaluation.metrics import compare, precision, score, success_curve

NAN = math.nan
ABSENT = (NAN, NAN, NAN, NAN)
Row = tuple[float, float, float, float]


# --- a second implementation, slow and plain, written from the conventions alone


def plain_score(truth: list[Row], result: list[Row]) -> tuple[float, float]:
    rows = [truth[0], *result[1:]]
    for i in range(1, len(rows)):
        finite = all(math.isfinite(value) for value in rows[i])
        if not (finite and rows[i][2] > 0 and rows[i][3] > 0):
            rows[i] = rows[i - 1]
    frames = list(zip(truth, rows, strict=False))
    hits = sum(1 for t, r in frames if plain_distance(t, r) <= 20)
    rates = []
    for step in range(21):
        above = sum(1 for t, r in frames if plain_overlap(t, r) > step * 0.05)
        rates.append(above / len(rows))
    return sum(rates) / 21, hits / len(rows)


def plain_overlap(t: Row, r: Row) -> float:
    if not all(value > 0 for value in t):
        return -1
    width = min(t[0] + t[2], r[0] + r[2]) - max(t[0], r[0])
    height = min(t[1] + t[3], r[1] + r[3]) - max(t[1], r[1])
    if not (width > 0 and height > 0):
        return 0
    return width * height / (t[2] * t[3] + r[2] * r[3] - width * height)


def plain_distance(t: Row, r: Row) -> float:
    if not all(value > 0 for value in t):
        return -1
    dx = t[0] + (t[2] - 1) / 2 - (r[0] + (r[2] - 1) / 2)
    dy = t[1] + (t[3] - 1) / 2 - (r[1] + (r[3] - 1) / 2)
    return math.sqrt(dx * dx + dy * dy)


# Quarters of a pixel are exact in binary, so that both implementations meet every threshold alike.
position = st.integers(-40, 200).map(lambda quarters: quarters / 4)
side = st.integers(-4, 200).map(lambda quarters: quarters / 4)
box = st.tuples(position, position, side, side)
truth_row = st.one_of(box, st.just(ABSENT))
result_row = st.one_of(box, st.sampled_from([ABSENT, (5, 5, NAN, 3), (1, 2, math.inf, 4)]))


@given(st.lists(st.tuples(truth_row, result_row), min_size=1, max_size=30), st.integers(0, 3))
def test_agrees_with_plain_implementation(pairs: list[tuple[Row, Row]], missing: int) -> None:
    truth = [pair[0] for pair in pairs]
    result = [pair[1] for pair in pairs][: max(1, len(pairs) - missing)]
    assert score(truth, result) == pytest.approx(plain_score(truth, result), abs=1e-12)


# --- cases that can be worked out by hand


def test_perfect_result_fails_only_at_overlap_one() -> None:
    """Strictly above: an overlap of exactly 1 is not above the last threshold."""
    truth = [(10, 10, 20, 20)] * 5
    assert score(truth, truth) == (pytest.approx(20 / 21), 1.0)


def test_first_frame_is_given() -> None:
    truth = [(10, 10, 20, 20)] * 2
    overlap, distance = compare(truth, [(500, 500, 5, 5), (500, 10, 20, 20)])
    assert overlap.tolist() == [1, 0]
    assert distance.tolist() == [0, 490]


@pytest.mark.parametrize('bad', [ABSENT, (10, 10, 0, 20), (10, 10, 20, -1), (NAN, 1, 2, 3)])
def test_unusable_row_takes_the_row_before(bad: Row) -> None:
    truth = [(10, 10, 20, 20)] * 4
    overlap, distance = compare(truth, [truth[0], (10, 15, 20, 20), bad, bad])
    assert overlap.tolist() == pytest.approx([1, 0.6, 0.6, 0.6])
    assert distance.tolist() == [0, 5, 5, 5]


def test_absent_target_fails_in_success_and_hits_in_precision() -> None:
    truth = [(10, 10, 20, 20), ABSENT, (0, 10, 20, 20)]
    overlap, distance = compare(truth, [(10, 10, 20, 20)] * 3)
    assert overlap.tolist() == [1, -1, -1]
    assert distance.tolist() == [0, -1, -1]
    assert success_curve(overlap)[0] == pytest.approx(1 / 3)
    assert precision(distance) == 1


def test_twenty_pixels_is_a_hit() -> None:
    truth = [(10, 10, 20, 20)] * 3
    result = [truth[0], (30, 10, 20, 20), (30.01, 10, 20, 20)]
    assert score(truth, result).precision == pytest.approx(2 / 3)


def test_centre_counts_pixels() -> None:
    """With (size - 1) / 2 the centres of boxes of another size differ by half the difference."""
    _, distance = compare([(1, 1, 10, 10)] * 2, [(1, 1, 10, 10), (1, 1, 16, 10)])
    assert distance.tolist() == [0, 3]


def test_short_result_is_scored_on_its_length() -> None:
    truth = [(10, 10, 20, 20)] * 4
    assert len(compare(truth, truth[:3])[0]) == 3


@pytest.mark.parametrize('rows', [0, 5])
def test_wrong_number_of_rows_is_named(rows: int) -> None:
    with pytest.raises(DataError, match=rf'{rows} rows of results for 4 frames'):
        score(np.ones((4, 4)), np.ones((rows, 4)))


def test_rows_of_another_form_are_named() -> None:
    with pytest.raises(DataError, match=r'rows of x, y, w, h: .* \(4, 4\), the result \(4, 8\)'):
        score(np.ones((4, 4)), np.ones((4, 8)))


# --- published results must give the published figures


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def benchmark_scores(folder: Path, tracker: str) -> dict[str, tuple[float, float]]:
    """Score every sequence of one tracker's raw results."""
    scores = {}
    with zipfile.ZipFile(folder / 'results' / f'{tracker}.zip') as results:
        for name in results.namelist():
            result = np.loadtxt(io.BytesIO(results.read(name)), delimiter=',')
            truth = np.loadtxt(folder / 'anno' / name, delimiter=',')
            scores[Path(name).stem] = tuple(score(truth, result))
    return scores


@pytest.fixture(scope='session', params=['bench_uav20l', 'bench_otb100'])
def benchmark(request: pytest.FixtureRequest, shared: Path) -> Path:
    folder: Path = shared / 'data' / request.param
    if not folder.is_dir():
        pytest.skip(f'development data absent: no folder {folder}')
    return folder


@pytest.fixture(scope='session')
def measured(benchmark: Path) -> dict[str, dict[str, tuple[float, float]]]:
    trackers = [row['tracker'] for row in read_csv(benchmark / 'expected.csv')]
    return {tracker: benchmark_scores(benchmark, tracker) for tracker in trackers}


def test_published_figures(
    benchmark: Path, measured: dict[str, dict[str, tuple[float, float]]]
) -> None:
    """Files and figures are rounded to 3 decimals: half a unit of the last, and a little."""
    for expected in read_csv(benchmark / 'expected.csv'):
        sequences = measured[expected['tracker']]
        success, hits = np.mean(list(sequences.values()), axis=0)
        assert success == pytest.approx(float(expected['recomputed_success_auc']), abs=0.00051)
        assert hits == pytest.approx(float(expected['recomputed_precision_20px']), abs=0.00051)


def test_published_figures_by_sequence(
    benchmark: Path, measured: dict[str, dict[str, tuple[float, float]]]
) -> None:
    rows = read_csv(benchmark / 'expected_per_sequence.csv')
    assert len(rows) == sum(len(sequences) for sequences in measured.values())
    for expected in rows:
        success, hits = measured[expected['tracker']][expected['sequence']]
        assert success == pytest.approx(float(expected['success_auc']), abs=0.000051)
        assert hits == pytest.approx(float(expected['precision_20px']), abs=0.000051)
