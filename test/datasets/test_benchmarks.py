"""The registry of benchmarks: each can be read and has the right protocol."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from siamffn_model.datasets.benchmarks import BENCHMARKS

from .published_benchmarks import write_got10k_val, write_otb, write_uav, write_vot

WRITERS: dict[str, Callable[[Path], None]] = {
    'uav20l': lambda folder: write_uav(folder, 'UAV20L'),
    'uav123': lambda folder: write_uav(folder, 'UAV123'),
    'otb2015': write_otb,
    'vot2016': write_vot,
    'vot2018': write_vot,
    'vot2019': write_vot,
    'got10k': write_got10k_val,
}


@pytest.mark.parametrize('key', WRITERS)
def test_reads_published_layout(tmp_path: Path, key: str) -> None:
    benchmark = BENCHMARKS[key]
    WRITERS[key](tmp_path)
    sequences = benchmark.read(tmp_path, False)
    values = 8 if benchmark.eao_lengths else 4
    assert {sequence.truth.shape[1] for sequence in sequences} == {values}
    files = [benchmark.result_file.format(name=sequence.name) for sequence in sequences]
    assert len(set(files)) == len(files) > 1


def test_reads_sequences(sequence_folder: Path) -> None:
    assert len(BENCHMARKS['sequences'].read(sequence_folder, True)) == 2


def test_only_validation_sets_may_be_used_for_tuning() -> None:
    assert [key for key, benchmark in BENCHMARKS.items() if not benchmark.is_test_set] == [
        'sequences',
        'got10k',
    ]


@pytest.mark.parametrize(('key', 'bench'), [('uav20l', 'uav20l'), ('otb2015', 'otb100')])
def test_published_scores_agree_with_their_source(shared: Path, key: str, bench: str) -> None:
    published = BENCHMARKS[key].published
    with (shared / f'data/bench_{bench}/expected.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    compared = 0
    for row in rows:
        name = {'SiamFC-3s': 'SiamFC', 'CFNet-conv2': 'CFNet'}.get(row['tracker'], row['tracker'])
        name = name.replace('_H', '-H')
        if name in published:
            compared += 1
            scores = float(row['published_success_auc']), float(row['published_precision_20px'])
            assert published[name] == scores
    assert compared == {'uav20l': 8, 'otb2015': 5}[key]
    assert list(published.values()) == sorted(published.values(), reverse=True)


def test_siamffn_is_as_its_paper_prints_it(shared: Path) -> None:
    paper = ' '.join((shared / 'design/siamffn_paper.txt').read_text().split())
    success, precision = BENCHMARKS['uav20l'].published['SiamFFN']
    assert f'scores of {success}/{precision} on the success plot and precision plot' in paper
    success, precision = BENCHMARKS['otb2015'].published['SiamFFN']
    assert f'results of {success} and {precision} on the success plot and precision plot' in paper
