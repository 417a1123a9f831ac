"""Published raw results reproduce the published scores; wrong results raise errors."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from siamffn_model.datasets.benchmarks import BENCHMARKS
from siamffn_model.datasets.sequences import Sequence, read_sequences
from siamffn_model.errors import DataError
from siamffn_model.evaluation.raw_results import find_trackers, format_boxes
from siamffn_model.evaluation.report_filmstrips import draw_filmstrips
from siamffn_model.evaluation.results import OPEResult, ResetResult
from siamffn_model.evaluation.scoring import report, score_tracker

pytestmark = pytest.mark.slow

ROUNDED = 0.00051  # half a unit of the third decimal of the published scores, plus a margin


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def published(shared: Path, folder: str) -> Path:
    path = shared / 'data' / folder
    if not path.is_dir():
        pytest.skip(f'development data absent: no folder {path}')
    return path


def score_all(benchmark: str, folder: Path) -> dict[str, OPEResult | ResetResult]:
    sequences = BENCHMARKS[benchmark].read(folder, False)
    sources = find_trackers([folder / 'results'], [sequence.name for sequence in sequences])
    return {
        name: score_tracker(BENCHMARKS[benchmark], sequences, source)
        for name, source in sources.items()
    }


# --- published results must reproduce the published scores


@pytest.fixture(scope='session', params=[('uav20l', 'bench_uav20l'), ('otb2015', 'bench_otb100')])
def one_pass(
    request: pytest.FixtureRequest, shared: Path
) -> tuple[Path, Mapping[str, OPEResult | ResetResult]]:
    """The folder of a benchmark, and the results of all trackers in it."""
    benchmark, name = request.param
    folder = published(shared, name)
    return folder, score_all(benchmark, folder)


def test_published_scores(one_pass: tuple[Path, Mapping[str, OPEResult]]) -> None:
    folder, found = one_pass
    expected = rows(folder / 'expected.csv')
    assert found.keys() == {row['tracker'] for row in expected}
    for row in expected:
        scores = found[row['tracker']].curves.scores
        assert scores.success == pytest.approx(float(row['recomputed_success_auc']), abs=ROUNDED)
        assert scores.precision == pytest.approx(
            float(row['recomputed_precision_20px']), abs=ROUNDED
        )
        assert 0 < scores.norm_precision < 1


def test_published_scores_by_sequence(one_pass: tuple[Path, Mapping[str, OPEResult]]) -> None:
    folder, found = one_pass
    expected = rows(folder / 'expected_per_sequence.csv')
    assert len(expected) == sum(len(result.per_sequence) for result in found.values())
    for row in expected:
        scores = found[row['tracker']].per_sequence[row['sequence']].scores
        assert scores.success == pytest.approx(float(row['success_auc']), abs=0.000051)
        assert scores.precision == pytest.approx(float(row['precision_20px']), abs=0.000051)


def test_published_scores_by_attribute(shared: Path) -> None:
    folder = published(shared, 'bench_uav20l')
    found = score_all('uav20l', folder)
    expected = rows(folder / 'expected_attributes.csv')
    assert set(found['BACF'].per_attribute) == {row['attribute'] for row in expected}
    for row in expected:
        for tracker in ('BACF', 'STRCF'):
            scores = found[tracker].per_attribute[row['attribute']].scores
            success, near = row[f'{tracker}_success_auc'], row[f'{tracker}_precision_20px']
            assert scores.success == pytest.approx(float(success), abs=ROUNDED)
            assert scores.precision == pytest.approx(float(near), abs=ROUNDED)


def test_scores_without_absent_frames_agree_with_other_tool_kits(shared: Path) -> None:
    """The README.md of bench_uav20l has both scores of BACF."""
    folder = published(shared, 'bench_uav20l')
    benchmark = BENCHMARKS['uav20l']
    sequences = benchmark.read(folder, False)
    source = folder / 'results/BACF.zip'
    scores = score_tracker(benchmark, sequences, source, absent_counts=False).curves.scores
    assert scores[:2] == pytest.approx((0.420, 0.548), abs=ROUNDED)


@pytest.mark.parametrize('year', ['2018', '2019'])
def test_published_scores_of_vot(shared: Path, year: str) -> None:
    folder = published(shared, 'bench_vot')
    found = score_all(f'vot{year}', folder / f'VOT{year}')
    expected = [row for row in rows(folder / 'expected.csv') if row['benchmark'] == f'VOT{year}']
    assert found.keys() == {row['tracker'] for row in expected}
    for row in expected:
        result = found[row['tracker']]
        assert isinstance(result, ResetResult)
        assert result.accuracy == pytest.approx(float(row['recomputed_A']), abs=ROUNDED)
        assert result.robustness == pytest.approx(float(row['recomputed_R']), abs=ROUNDED)
        assert result.eao == pytest.approx(float(row['recomputed_EAO']), abs=ROUNDED)
        assert result.failures == int(row['recomputed_lost'])


# --- errors and filmstrips


@pytest.fixture
def sequences(sequence_folder: Path) -> list[Sequence]:
    """Two rendered sequences of 30 frames."""
    return read_sequences(sequence_folder)


def write_results(folder: Path, sequences: list[Sequence], shift: float = 0) -> Path:
    folder.mkdir(parents=True)
    for sequence in sequences:
        (folder / f'{sequence.name}.txt').write_text(format_boxes(sequence.truth + shift))
    return folder


@pytest.mark.parametrize('count', [28, 31])
def test_wrong_number_of_rows_raises(sequences: list[Sequence], tmp_path: Path, count: int) -> None:
    tracker = write_results(tmp_path / 'x', sequences)
    (tracker / 'clip2.txt').write_text('1,2,3,4\n' * count)
    with pytest.raises(DataError, match=rf'x: clip2: {count} rows of results for 30 frames'):
        score_tracker(BENCHMARKS['sequences'], sequences, tracker)


def test_report_and_filmstrips_of_two_trackers(sequences: list[Sequence], tmp_path: Path) -> None:
    sources = {
        'far': write_results(tmp_path / 'far', sequences, 15),
        'near': write_results(tmp_path / 'near', sequences),
    }
    benchmark = BENCHMARKS['sequences']
    report(tmp_path / 'out', benchmark, sequences, sources, fps={'near': 12.5})
    table = (tmp_path / 'out/table.md').read_text()
    assert table.index('| near') < table.index('| far')
    assert '12.5' in table
    assert {path.name for path in (tmp_path / 'out/strips').iterdir()} == {'clip1.jpg', 'clip2.jpg'}


def test_filmstrips_of_a_benchmark_with_origin_1_are_equal(
    sequences: list[Sequence], tmp_path: Path
) -> None:
    benchmark = BENCHMARKS['sequences']
    pictures = []
    for origin in (0, 1):
        moved = [
            Sequence(s.name, s.truth + np.array([origin, origin, 0, 0]), s.frames, origin=origin)
            for s in sequences
        ]
        sources = {'x': write_results(tmp_path / str(origin), moved)}
        results = {'x': score_tracker(benchmark, moved, sources['x'])}
        pictures.append(draw_filmstrips(benchmark, moved, sources, results)['clip1'])
    assert np.array_equal(*pictures)


def test_filmstrips_ignore_results_of_another_benchmark(
    sequences: list[Sequence], tmp_path: Path
) -> None:
    """A folder may contain car1.txt of UAV20L and car1_1.txt and car1_2.txt of UAV123."""
    parts = [Sequence(f'clip_{number}', s.truth, s.frames) for number, s in enumerate(sequences, 1)]
    tracker = write_results(tmp_path / 'x', parts)
    (tracker / 'clip.txt').write_text('of another set')
    report(tmp_path / 'out', BENCHMARKS['sequences'], parts, {'x': tracker})
    names = {path.name for path in (tmp_path / 'out/strips').iterdir()}
    assert names == {'clip_1.jpg', 'clip_2.jpg'}
