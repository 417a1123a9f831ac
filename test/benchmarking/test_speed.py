"""What `siamffn benchmark` measures and tells."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from siamffn_model.benchmarking import speed
from siamffn_model.benchmarking.report import add_section, format_results, report_section
from siamffn_model.benchmarking.speed import (
    SpeedResult,
    TrackerConfig,
    compare,
    frames_per_second,
    measure_target_counts,
    time_call,
)
from siamffn_model.cli.main import main
from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.errors import DataError
from siamffn_model.imaging.crop import View
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.runtimes.runtime import Floats


class Recorder:
    """A runtime that does nothing, and counts."""

    name, device, score_map = 'nothing', 'cpu', ScoreMap(25)

    def __init__(self) -> None:
        self.searched: list[int] = []

    def template(self, view: View) -> object:
        return view

    def search(self, views: list[View], templates: list[object]) -> Floats:
        self.searched.append(len(views))
        return np.full((len(views), 5, 625), 0.5)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure no longer than it takes."""
    monkeypatch.setattr(speed, 'SECONDS_PER_ROUND', 0.0)
    monkeypatch.setattr(speed, 'ROUNDS', 2)


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """The runtimes of all that is measured, without networks."""
    made: list[Recorder] = []

    def load(self: TrackerConfig) -> Recorder:
        made.append(Recorder())
        return made[-1]

    monkeypatch.setattr(TrackerConfig, 'load', load)
    return made


def test_the_median_is_taken_after_a_warm_up() -> None:
    calls: list[int] = []
    median, p95 = time_call(lambda: calls.append(1), runs=20)
    assert len(calls) == 22 and 0 < median <= p95


def test_trackers_are_measured_by_stages_and_with_their_memory() -> None:
    ours, peer = compare(
        [TrackerConfig('siamffn_lite0', 'auto', 'cpu'), TrackerConfig('opencv:kcf')], 2
    )
    assert ours.name.startswith('siamffn_lite0, ') and peer.name == 'OpenCV kcf'
    assert ours.crop and ours.network and ours.decode is not None
    assert ours.crop + ours.network + ours.decode == pytest.approx(ours.update, rel=0.5)
    assert ours.update <= ours.update_p95
    assert ours.updates_per_second == pytest.approx(2000 / ours.update)
    assert peer.network is None
    assert ours.memory_mb and peer.memory_mb and ours.memory_mb > peer.memory_mb > 30


def test_a_target_costs_one_search_an_update_whatever_it_scores(recorders: list[Recorder]) -> None:
    rows = measure_target_counts(TrackerConfig('siamffn_lite0'))
    assert [row.targets for row in rows] == [1, 2, 4, 8, 16]
    (runtime,) = recorders
    assert set(runtime.searched) == {1, 2, 4, 8, 16}
    lost = Recorder()
    assert frames_per_second(lost) > 0 and set(lost.searched) == {1}


def test_larger_images_show_the_same_target_in_the_same_place() -> None:
    small = render_scene(1, (640, 480))
    large = speed._enlarge(small, 3840, 2160)
    assert large.images[0].shape == (2160, 3840, 3) and large.boxes == small.boxes
    assert np.array_equal(large.images[0][:480, :640], small.images[0])


def row(name: str, update: float) -> SpeedResult:
    return SpeedResult(name, 1, update, 2 * update, 1e3 / update, memory_mb=100)


def test_speeds_are_multiples_of_the_reference() -> None:
    rows = [row('quick', 10.0), row('siamban_r50, PyTorch eager', 300.0)]
    lines = [
        [cell.strip() for cell in line.split('|')] for line in format_results(rows).splitlines()
    ]
    assert lines[0][-2] == 'speed'
    assert lines[2] == [
        '', 'quick', '', '', '', '10.00', '20.00', '100', '100', '30.00', '',
    ]  # fmt: skip
    assert lines[3][-2] == '1.00'
    assert 'speed' not in format_results(rows[:1])


def test_a_section_comes_before_the_earlier_ones(tmp_path: Path) -> None:
    file = tmp_path / 'benchmarks.md'
    file.write_text('# Benchmarks\n\nAbout.\n\n## 2026-01-01\n\nold\n')
    add_section(file, report_section([row('quick', 10.0)], 'more'))
    text = file.read_text()
    assert text.startswith('# Benchmarks\n\nAbout.\n\n## 20') and text.endswith(
        '## 2026-01-01\n\nold\n'
    )
    assert '| quick ' in text and 'more' in text
    file.write_text('# Benchmarks\n')
    add_section(file, '## new\n')
    assert file.read_text() == '# Benchmarks\n## new\n\n'
    with pytest.raises(DataError, match=r'none\.md cannot be read'):
        add_section(tmp_path / 'none.md', '')


def test_the_command_prints_json(
    recorders: list[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, '_measure_memory', lambda config: (100.0, 0.0))
    done = CliRunner().invoke(main, ['benchmark', '--model', 'siamfc_alex', '--json'])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    names = [tracker['name'] for tracker in found['trackers']]
    assert names[0] == 'siamfc_alex, nothing'
    assert {'OpenCV csrt', 'OpenCV kcf', 'OpenCV mil'} < set(names)
    assert found['machine']['processor'] and found['machine']['date']
