"""Runs from several starts: the frames they start from, their scores, and the standard errors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from siamffn_model.datasets.benchmarks import BENCHMARKS
from siamffn_model.datasets.sequences import Sequence, read_sequences
from siamffn_model.evaluation.metrics import score
from siamffn_model.evaluation.results import OPEResult, score_one_pass
from siamffn_model.evaluation.runner import plan, run_all, track_all
from siamffn_model.evaluation.scoring import report
from siamffn_model.evaluation.starts import start_frames, with_starts
from siamffn_model.evaluation.tables import difference_tables
from siamffn_model.evaluation.tracker_specs import TrackerSpec
from siamffn_model.imaging.geometry import Box
from siamffn_model.tracking import State, Track, TrackerProtocol


class Still:
    """A tracker that always returns the first box."""

    def init(self, image: np.ndarray, box: Box) -> None:
        self.box = box

    def update(self, image: np.ndarray) -> Track:
        return Track(self.box, 0.5, State.TRACKING)


def moving(name: str, frames: int, absent: range = range(0), attribute: str = '') -> Sequence:
    """Return the ground truth of a target that moves by one pixel per frame."""
    truth = np.tile([50.0, 50, 40, 40], (frames, 1))
    truth[:, 0] += np.arange(frames)
    truth[absent] = np.nan
    return Sequence(name, truth, attributes=(attribute,) if attribute else ())


def shifted(sequences: list[Sequence], shifts: list[float]) -> OPEResult:
    """Score boxes with a constant error in x for each run, except in its first frame."""
    boxes = {
        sequence.name: sequence.truth + np.array([shift, 0, 0, 0])
        for sequence, shift in zip(sequences, shifts, strict=True)
    }
    return score_one_pass(sequences, boxes)


# --- frames


@pytest.mark.parametrize(
    ('frames', 'absent', 'starts', 'expected'),
    [
        (129, range(0), 1, [0]),
        (129, range(0), 4, [0, 32, 64, 96]),
        (129, range(30, 50), 4, [0, 50, 64, 96]),  # the next frame with a target
        (129, range(30, 120), 4, [0, 29]),  # no such frame with 20 frames left
        (67, range(0), 4, [0, 16, 33, 47]),  # 20 frames from 47 on
        (20, range(0), 4, [0]),
        (6, range(0), 4, [0]),
    ],
)
def test_starts(frames: int, absent: range, starts: int, expected: list[int]) -> None:
    assert start_frames(moving('a', frames, absent), starts) == expected


def test_start_needs_a_box_with_positive_coordinates() -> None:
    sequence = moving('a', 80)
    sequence.truth[40:45, 0] = -3
    sequence.truth[45:50, 2] = 0
    assert start_frames(sequence, 2) == [0, 50]


def test_part_of_a_sequence(sequence_folder: Path) -> None:
    complete = read_sequences(sequence_folder)[0]
    assert complete.rest(0) is complete
    part = complete.rest(10)
    assert (part.name, part.complete_name, part.start) == ('clip1@11', 'clip1', 10)
    assert np.array_equal(part.truth, complete.truth[10:])
    assert complete.frames is not None and part.frames is not None
    assert len(part.frames) == part.frames.expected == 20
    for image, expected in zip(part.frames, list(complete.frames)[10:], strict=True):
        assert np.array_equal(image, expected)
    assert len(complete.frames) == 30


# --- scores


def test_score_is_the_mean_over_starts_then_over_sequences() -> None:
    sequences = with_starts([moving('long', 100, attribute='SV'), moving('short', 20)], 4)
    assert [s.name for s in sequences] == ['long', 'long@26', 'long@51', 'long@76', 'short']
    shifts = [0, 4, 8, 40, 20]
    result = shifted(sequences, shifts)
    single = [
        score(s.truth, s.truth + np.array([shift, 0, 0, 0])).success
        for s, shift in zip(sequences, shifts)
    ]
    assert list(result.per_start['long']) == [0, 25, 50, 75]
    assert result.per_sequence['long'].scores.success == pytest.approx(np.mean(single[:4]))
    assert result.per_attribute['SV'].scores.success == pytest.approx(np.mean(single[:4]))
    assert result.score == pytest.approx((np.mean(single[:4]) + single[4]) / 2)
    per_start = result.summary()['per_start']
    assert per_start['long']['76']['success'] == pytest.approx(single[3], abs=1e-4)


def test_standard_error_is_that_of_the_runs() -> None:
    sequences = with_starts([moving('a', 100), moving('b', 100)], 3)
    result = shifted(sequences, [0, 5, 10, 15, 20, 30])
    runs = [c.scores.success for starts in result.per_start.values() for c in starts.values()]
    assert result.standard_error == pytest.approx(np.std(runs, ddof=1) / math.sqrt(6))
    assert math.isnan(shifted(sequences[:1], [3]).standard_error)


def test_difference_is_paired() -> None:
    sequences = with_starts([moving('a', 100), moving('b', 100)], 2)
    first, second = shifted(sequences, [0, 6, 12, 30]), shifted(sequences, [1, 9, 12, 24])
    pairs = [
        second.per_start[name][start].scores.success - curves.scores.success
        for name, starts in first.per_start.items()
        for start, curves in starts.items()
    ]
    found, error = second.difference(first)
    assert found == pytest.approx(np.mean(pairs)) == pytest.approx(second.score - first.score)
    assert error == pytest.approx(np.std(pairs, ddof=1) / 2)
    assert error < min(first.standard_error, second.standard_error)
    assert second.difference(second) == (0, 0)
    assert all(map(math.isnan, second.difference(shifted(sequences[:3], [1, 9, 12]))))


def test_table_of_differences() -> None:
    sequences = with_starts([moving('a', 100)], 2)
    results = {'first': shifted(sequences, [0, 6]), 'second': shifted(sequences, [1, 2])}
    (table,) = difference_tables(results)
    assert table.header[3] == 'difference to first'
    rows = {row.name: [cell.text for cell in row.cells] for row in table.rows}
    difference, error = results['second'].difference(results['first'])
    assert rows['first'][2:] == ['+0.000', '0.000']
    assert rows['second'][2:] == [f'{difference:+.3f}', f'{error:.3f}']
    assert difference_tables({'one': shifted(sequences[:1], [0])}) == []


# --- runs


def test_runs_from_several_starts(sequence_folder: Path, tmp_path: Path) -> None:
    """Each start has its own files, which no other number of starts replaces or takes."""
    complete, benchmark = read_sequences(sequence_folder), BENCHMARKS['sequences']
    spec = TrackerSpec('Still', Still, {})
    run_all(plan(benchmark, complete, [spec], tmp_path))
    sequences = with_starts(complete, 2)
    jobs = plan(benchmark, sequences, [spec], tmp_path)
    assert {job.sequence.name: job.done() for job in jobs} == {
        'clip1': True, 'clip2': True, 'clip1@11': False, 'clip2@10': False,
    }  # fmt: skip
    run_all([job for job in jobs if not job.done()])
    assert all(job.done() for job in jobs)
    assert not any(
        job.done() for job in plan(benchmark, [s.rest(5) for s in complete], [spec], tmp_path)
    )
    sources = {'Still': tmp_path / 'results/Still'}
    report(tmp_path, benchmark, sequences, sources)
    tracker: TrackerProtocol = Still()
    expected = track_all(tracker, sequences)
    page = (tmp_path / 'table.md').read_text()
    assert f'{expected.score:.3f}' in page and f'{expected.standard_error:.3f}' in page
    assert {path.name for path in (tmp_path / 'strips').iterdir()} == {'clip1.jpg', 'clip2.jpg'}
    report(tmp_path, benchmark, complete, sources)
    assert 'standard error' not in (tmp_path / 'table.md').read_text()
