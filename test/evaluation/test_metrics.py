"""Tests of success and precision, against a plain implementation and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siamffn_model.errors import DataError
from siamffn_model.evaluation.metrics import (
    DISTANCES,
    NORM_DISTANCES,
    Curves,
    Scores,
    compare,
    compare_boxes,
    mean_curves,
    score,
)

NAN = math.nan
ABSENT = (NAN, NAN, NAN, NAN)
Row = tuple[float, float, float, float]


# --- reference implementation, written from the rules of the tool kits


def plain_curves(
    truth: list[Row], result: list[Row], absent_counts: bool
) -> tuple[list[float], list[float], list[float]]:
    rows = [truth[0], *result[1:]]
    for i in range(1, len(rows)):
        finite = all(math.isfinite(value) for value in rows[i])
        if not (finite and rows[i][2] > 0 and rows[i][3] > 0):
            rows[i] = rows[i - 1]
    frames = list(zip(truth, rows, strict=False))
    if not absent_counts:
        frames = [(t, r) for t, r in frames if all(value > 0 for value in t)]
    count = len(frames) or 1
    success = [sum(plain_overlap(t, r) > i * 0.05 for t, r in frames) / count for i in range(21)]
    near = [sum(plain_distance(t, r) <= i for t, r in frames) / count for i in range(51)]
    norm = [
        sum(plain_distance(t, r, True) <= i / 100 for t, r in frames) / count for i in range(51)
    ]
    return success, near, norm


def plain_overlap(t: Row, r: Row) -> float:
    if not all(value > 0 for value in t):
        return -1
    width = min(t[0] + t[2], r[0] + r[2]) - max(t[0], r[0])
    height = min(t[1] + t[3], r[1] + r[3]) - max(t[1], r[1])
    if not (width > 0 and height > 0):
        return 0
    return width * height / (t[2] * t[3] + r[2] * r[3] - width * height)


def plain_distance(t: Row, r: Row, of_size: bool = False) -> float:
    if not all(value > 0 for value in t):
        return -1
    dx = t[0] + (t[2] - 1) / 2 - (r[0] + (r[2] - 1) / 2)
    dy = t[1] + (t[3] - 1) / 2 - (r[1] + (r[3] - 1) / 2)
    if of_size:
        dx, dy = dx / t[2], dy / t[3]
    return math.sqrt(dx * dx + dy * dy)


# Quarters of a pixel and sizes that are powers of two are exact in binary; both implementations
# therefore compute the same values, also at the thresholds.
position = st.integers(-40, 200).map(lambda quarters: quarters / 4)
side = st.sampled_from([-1, 0, 0.5, 1, 2, 4, 8, 16, 32, 64])
box = st.tuples(position, position, side, side)
truth_row = st.one_of(box, st.just(ABSENT))
result_row = st.one_of(box, st.sampled_from([ABSENT, (5, 5, NAN, 3), (1, 2, math.inf, 4)]))
pairs_of_rows = st.lists(st.tuples(truth_row, result_row), min_size=2, max_size=30)


@given(pairs_of_rows, st.integers(0, 1), st.booleans())
def test_agrees_with_plain_implementation(
    pairs: list[tuple[Row, Row]], missing: int, absent_counts: bool
) -> None:
    truth = [pair[0] for pair in pairs]
    result = [pair[1] for pair in pairs][: len(pairs) - missing]
    found = compare(truth, result).curves(absent_counts)
    expected = plain_curves(truth[: len(result)], result, absent_counts)
    for curve, plain in zip(found, expected, strict=True):
        assert curve == pytest.approx(plain, abs=1e-12)
    success, near, norm = expected
    assert found.scores == pytest.approx((sum(success) / 21, near[20], norm[20]), abs=1e-12)


# --- cases computed by hand


def test_perfect_result_fails_only_at_overlap_one() -> None:
    """An overlap of exactly 1 is not strictly above the last threshold."""
    truth = [(10, 10, 20, 20)] * 5
    assert score(truth, truth) == (pytest.approx(20 / 21), 1.0, 1.0)


def test_first_frame_is_replaced_by_the_ground_truth() -> None:
    truth = [(10, 10, 20, 20)] * 2
    overlap, distance, _ = compare(truth, [(500, 500, 5, 5), (500, 10, 20, 20)])
    assert overlap.tolist() == [1, 0]
    assert distance.tolist() == [0, 490]


@pytest.mark.parametrize('bad', [ABSENT, (10, 10, 0, 20), (10, 10, 20, -1), (NAN, 1, 2, 3)])
def test_invalid_row_is_replaced_by_the_row_before(bad: Row) -> None:
    truth = [(10, 10, 20, 20)] * 4
    overlap, distance, _ = compare(truth, [truth[0], (10, 15, 20, 20), bad, bad])
    assert overlap.tolist() == pytest.approx([1, 0.6, 0.6, 0.6])
    assert distance.tolist() == [0, 5, 5, 5]


def test_absent_target_is_a_failure_in_success_and_a_hit_in_precision() -> None:
    truth = [(10, 10, 20, 20), ABSENT, (0, 10, 20, 20)]
    overlap, distance, _ = compare(truth, [(10, 10, 20, 20)] * 3)
    assert overlap.tolist() == [1, -1, -1]
    assert distance.tolist() == [0, -1, -1]
    found = compare(truth, [(10, 10, 20, 20)] * 3)
    curves = found.curves()
    assert (curves.success[0], curves.precision[0]) == (pytest.approx(1 / 3), 1)
    assert found.curves(absent_counts=False).success[0] == 1


def test_scores_without_any_annotation_are_zero() -> None:
    curves = compare([ABSENT] * 3, [(10, 10, 20, 20)] * 3).curves(absent_counts=False)
    assert curves.scores == (0, 0, 0)


def test_twenty_pixels_is_a_hit() -> None:
    truth = [(10, 10, 20, 20)] * 3
    result = [truth[0], (30, 10, 20, 20), (30.01, 10, 20, 20)]
    assert score(truth, result).precision == pytest.approx(2 / 3)


def test_centre_is_that_of_pixels() -> None:
    """Centres at (size - 1) / 2 differ by half of the difference in size."""
    _, distance, _ = compare([(1, 1, 10, 10)] * 2, [(1, 1, 10, 10), (1, 1, 16, 10)])
    assert distance.tolist() == [0, 3]


def test_distance_in_units_of_the_target() -> None:
    """4 of 20 pixels in x and 8 of 40 in y are 0.2 each, which is the threshold of LaSOT."""
    truth = [(10, 10, 20, 40)] * 4
    found = compare(truth, [truth[0], (14, 10, 20, 40), (10, 18, 20, 40), (14, 18, 20, 40)])
    assert found.norm_distance.tolist() == pytest.approx([0, 0.2, 0.2, 0.2 * math.sqrt(2)])
    assert found.curves().scores.norm_precision == 0.75


def test_thresholds() -> None:
    assert (DISTANCES[20], NORM_DISTANCES[20]) == (20, 0.2)


def test_result_without_its_last_row_is_scored_without_the_last_frame() -> None:
    """The published results of MDNet have this form on two sequences."""
    truth = [(10, 10, 20, 20)] * 4
    assert len(compare(truth, truth[:3]).overlap) == 3


@pytest.mark.parametrize('rows', [0, 1, 2, 5])
def test_wrong_number_of_rows_raises(rows: int) -> None:
    with pytest.raises(DataError, match=rf'{rows} rows of results for 4 frames'):
        score(np.ones((4, 4)), np.ones((rows, 4)))


def test_no_row_for_a_single_frame_raises() -> None:
    with pytest.raises(DataError, match='0 rows of results for 1 frames'):
        score(np.ones((1, 4)), np.ones((0, 4)))


def test_compare_boxes_replaces_no_boxes() -> None:
    """Neither the first nor invalid rows are replaced; a target at the image border is present."""
    truth = np.array([(0, -5, 20, 20), (10, 10, 20, 20), ABSENT], float)
    boxes = np.array([ABSENT, (10, 15, 20, 20), ABSENT], float)
    found = compare_boxes(truth, boxes, np.array([True, True, False]))
    assert found.overlap.tolist() == [0, 0.6, -1]
    assert found.distance.tolist() == [math.inf, 5, -1]
    assert found.norm_distance.tolist() == [math.inf, 0.25, -1]


def test_mean_is_over_sequences() -> None:
    half, ones = np.full(21, 0.5), np.ones(51)
    mean = mean_curves([Curves(half, ones, ones), Curves(half / 2, ones * 0, ones / 2)])
    assert mean.scores == Scores(0.375, 0.5, 0.75)


def test_rows_of_another_shape_raise() -> None:
    with pytest.raises(DataError, match=r'rows of x, y, w, h: .* \(4, 4\), the result \(4, 8\)'):
        score(np.ones((4, 4)), np.ones((4, 8)))
