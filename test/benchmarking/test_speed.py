"""The measurements and the report of `siamffn benchmark`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from siamffn_model.benchmarking import hardware as hardware_module
from siamffn_model.benchmarking import measurements, speed
from siamffn_model.benchmarking import stages as stages_module
from siamffn_model.benchmarking.complexity import count_complexity
from siamffn_model.benchmarking.hardware import Hardware, measure_hardware
from siamffn_model.benchmarking.measurements import Measurements, measure
from siamffn_model.benchmarking.report import (
    add_section,
    as_dict,
    format_results,
    format_scaling,
    hardware_shares,
    report_section,
)
from siamffn_model.benchmarking.speed import (
    SpeedResult,
    TrackerConfig,
    compare,
    frames_per_second,
    measure_image_sizes,
    measure_target_counts,
    time_call,
)
from siamffn_model.benchmarking.stages import Stages, count_stages
from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.errors import DataError
from siamffn_model.imaging.crop import View
from siamffn_model.imaging.image import Image
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.runtimes.nanotrack import FILES
from siamffn_model.runtimes.runtime import Floats
from siamffn_model.tracking.opencv import OpenCVTracker

from ..command import siamffn

pytestmark = pytest.mark.slow

CROP_MS, SEARCH_MS, DECODE_MS, OPENCV_MS = 2, 10, 3, 40


class Clock:
    """A replacement of `time.perf_counter` that only advances when a test advances it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def advance(self, milliseconds: float) -> None:
        self.seconds += milliseconds / 1e3


class FakeRuntime:
    """A runtime without a network that records the number of views of each search."""

    name, score_map = 'fake', ScoreMap(25)

    def __init__(self, clock: Clock, device: str = 'cpu') -> None:
        self.device = device
        self.searches: list[int] = []
        self._clock = clock

    def template(self, view: View) -> object:
        return view

    def features(self, template: object) -> Floats:
        return np.zeros((1, 1, 1))

    def search(self, views: list[View], templates: list[object]) -> Floats:
        self.searches.append(len(views))
        for view in views:
            view.crop(255)
            self._clock.advance(SEARCH_MS)
        return np.full((len(views), 5, 625), 0.5)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the clock of the benchmark, and make crops and updates take a fixed time."""
    clock = Clock()
    crop, update_all = View.crop, speed.update_all

    def timed_crop(view: View, size: int) -> Image:
        clock.advance(CROP_MS)
        return crop(view, size)

    def timed_update_all(trackers: list[speed.Tracker], images: list[Image]) -> object:
        clock.advance(DECODE_MS * len(trackers))
        return update_all(trackers, images)

    monkeypatch.setattr(View, 'crop', timed_crop)
    monkeypatch.setattr(speed, 'update_all', timed_update_all)
    monkeypatch.setattr(OpenCVTracker, 'update', lambda *_: clock.advance(OPENCV_MS))
    for module in (speed, measurements):
        monkeypatch.setattr(module, 'time', SimpleNamespace(perf_counter=clock))
    return clock


@pytest.fixture(autouse=True)
def two_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure each tracker in two rounds of one update."""
    monkeypatch.setattr(speed, 'SECONDS_PER_ROUND', 0.0)
    monkeypatch.setattr(speed, 'ROUNDS', 2)


@pytest.fixture
def runtimes(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> list[FakeRuntime]:
    """Replace the runtimes of all trackers; return those that have been loaded."""
    loaded: list[FakeRuntime] = []

    def load(config: TrackerConfig) -> FakeRuntime:
        loaded.append(FakeRuntime(clock, config.device))
        return loaded[-1]

    monkeypatch.setattr(TrackerConfig, 'load', load)
    return loaded


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the measurement of memory, which starts a process for each tracker."""
    monkeypatch.setattr(speed, '_measure_memory', lambda config: (100.0, 0.0))


def test_statistics_of_a_call_exclude_the_warm_up(clock: Clock) -> None:
    durations = iter([1000, 1000, *range(1, 21)])
    median, p95 = time_call(lambda: clock.advance(next(durations)), runs=20)
    assert median == pytest.approx(10.5)
    assert p95 == pytest.approx(19.05)
    assert next(durations, None) is None, 'two warm-up calls and 20 measured calls'


@pytest.mark.usefixtures('runtimes', 'no_memory')
def test_stages_of_an_update() -> None:
    on_cpu, on_gpu, baseline = compare(
        [
            TrackerConfig('siamffn_lite0', 'auto', 'cpu'),
            TrackerConfig('siamffn_lite0', 'auto', 'cuda'),
            TrackerConfig('opencv:mil'),
        ],
        2,
    )
    update = 2 * (CROP_MS + SEARCH_MS + DECODE_MS)
    for result in (on_cpu, on_gpu):
        assert result.name == 'siamffn_lite0, fake'
        assert result.update == pytest.approx(update)
        assert result.update_p95 == pytest.approx(update)
        assert result.updates_per_second == pytest.approx(2000 / update)
        assert result.decode == pytest.approx(2 * DECODE_MS)
    assert on_cpu.crop == pytest.approx(2 * CROP_MS)
    assert on_cpu.network == pytest.approx(2 * SEARCH_MS)
    assert on_gpu.crop is None, 'crops on the GPU are a part of the search'
    assert on_gpu.network == pytest.approx(2 * (CROP_MS + SEARCH_MS))
    assert baseline.name == 'OpenCV mil'
    assert baseline.update == pytest.approx(2 * OPENCV_MS)
    assert (baseline.crop, baseline.network, baseline.decode) == (None, None, None)


def test_a_round_lasts_for_its_time(
    runtimes: list[FakeRuntime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, 'SECONDS_PER_ROUND', 0.1)
    tracker = speed.TimedTracker(TrackerConfig('siamffn_lite0', 'auto', 'cpu'), render_scene(4), 1)
    tracker.run_round()
    updates = -(-100 // (CROP_MS + SEARCH_MS + DECODE_MS))
    assert {stage: len(times) for stage, times in tracker.times.items()} == {
        'update': updates,
        'crop': updates,
        'search': updates,
    }


def test_memory_is_that_of_a_process_with_one_tracker() -> None:
    ours, cuda = speed._measure_memory(TrackerConfig('siamffn_lite0', 'auto', 'cpu'))
    baseline, _ = speed._measure_memory(TrackerConfig('opencv:kcf'))
    assert ours > baseline > 30
    assert cuda == 0


def test_each_target_needs_one_search_per_update(runtimes: list[FakeRuntime], clock: Clock) -> None:
    results = measure_target_counts([TrackerConfig('siamffn_lite0', 'auto', 'cpu')])
    assert [result.targets for result in results] == [1, 2, 4, 8, 16]
    update = CROP_MS + SEARCH_MS + DECODE_MS
    assert [result.update for result in results] == pytest.approx(
        [count * update for count in (1, 2, 4, 8, 16)]
    )
    (runtime,) = runtimes
    assert set(runtime.searches) == {1, 2, 4, 8, 16}
    runtime = FakeRuntime(clock)
    assert frames_per_second(runtime) == pytest.approx(1e3 / (CROP_MS + SEARCH_MS))
    assert runtime.searches == [1] * 23  # init, 2 updates to warm up, 20


def test_the_same_target_is_measured_in_larger_images(runtimes: list[FakeRuntime]) -> None:
    results = measure_image_sizes(TrackerConfig('siamffn_lite0', 'auto', 'cpu'))
    assert [size for size, _ in results] == ['640x480', '1280x720', '1920x1080', '3840x2160']
    assert len(runtimes) == 1
    small = render_scene(1, (640, 480))
    large = speed._enlarge(small, 3840, 2160)
    assert large.images[0].shape == (2160, 3840, 3)
    assert large.boxes == small.boxes
    assert np.array_equal(large.images[0][:480, :640], small.images[0])


def make_result(name: str, update: float) -> SpeedResult:
    return SpeedResult(name, 1, update, 2 * update, 1e3 / update, memory_mb=100)


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split('|')[1:-1]] for line in table.splitlines()]


def test_speeds_are_relative_to_the_baseline() -> None:
    results = [make_result('fast', 10.0), make_result('siamban_r50, PyTorch eager', 300.0)]
    results[0].crop, results[0].cuda_mb = 1.5, 32.6
    header, _, fast, slow = cells(format_results(results))
    assert header[-2:] == ['RSS, MB', 'speed']
    assert fast == ['fast', '1.50', '', '', '10.00', '20.00', '100', '100 + 33 of the GPU', '30.00']
    assert slow[1:] == ['', '', '', '300.00', '600.00', '3', '100', '1.00']
    assert 'speed' not in format_results(results[:1])


def test_a_section_is_added_before_the_others(tmp_path: Path) -> None:
    file = tmp_path / 'benchmarks.md'
    file.write_text('# Benchmarks\n\nAbout.\n\n## 2026-01-01\n\nold\n')
    add_section(file, report_section(Measurements([make_result('fast', 10)])))
    text = file.read_text()
    assert text.startswith('# Benchmarks\n\nAbout.\n\n## 20')
    assert text.endswith('## 2026-01-01\n\nold\n')
    assert '| fast ' in text
    file.write_text('# Benchmarks\n')
    add_section(file, '## new\n')
    assert file.read_text() == '# Benchmarks\n## new\n\n'
    with pytest.raises(DataError, match=r'none\.md cannot be read'):
        add_section(tmp_path / 'none.md', '')


@pytest.mark.usefixtures('runtimes', 'no_memory')
def test_the_command_prints_json() -> None:
    done = siamffn('benchmark', '--model', 'siamfc_alex', '--json')
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    names = [tracker['name'] for tracker in content['trackers']]
    assert names[0] == 'siamfc_alex, fake'
    assert {'OpenCV csrt', 'OpenCV kcf', 'OpenCV mil'} < set(names)
    assert content['machine']['processor'] and content['machine']['date']


@pytest.mark.usefixtures('runtimes', 'no_memory')
def test_nanotrack_is_measured_in_the_runtimes_that_it_supports(tmp_path: Path) -> None:
    words = 'benchmark', '--model', 'siamfc_alex', '--runtime', 'auto', '--runtime', 'eager'
    missing = siamffn(*words, '--nanotrack', tmp_path)
    assert missing.exit_code == 2 and FILES[0] in missing.stderr
    for name in FILES:
        (tmp_path / name).touch()
    done = siamffn(*words, '--nanotrack', tmp_path, '--json')
    assert done.exit_code == 0, done.output
    names = [tracker['name'] for tracker in json.loads(done.stdout)['trackers']]
    assert names.count('siamfc_alex, fake') == 2
    assert names.count('nanotrack, fake') == 1


@pytest.mark.usefixtures('runtimes', 'no_memory', 'bounds')
def test_the_command_adds_a_report(tmp_path: Path) -> None:
    file = tmp_path / 'benchmarks.md'
    file.write_text('# Benchmarks\n')
    done = siamffn('benchmark', '--model', 'siamfc_alex', '--report', file, '--device', 'cpu')
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith(f'see {file}\n')
    section = file.read_text()
    for row in cells(done.stdout):
        assert row in cells(section)
    update = CROP_MS + SEARCH_MS + DECODE_MS
    row = ['siamfc_alex, fake', '16', f'{16 * update}.00', f'{1000 / update:.0f}']
    assert row in [cells_of_row[:4] for cells_of_row in cells(section)]
    assert ['3840x2160', f'{update}.00', '1.00'] in cells(section)


# --- parts, bounds of the device, stages on a GPU


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> Hardware:
    """Replace the measurement of the device."""
    hardware = Hardware(matrix_flops=800e12, copy_bytes=4e12)
    monkeypatch.setattr(hardware_module, 'measure_hardware', lambda device: hardware)
    return hardware


@pytest.mark.usefixtures('runtimes', 'no_memory', 'bounds')
def test_every_part_has_at_least_one_round_after_the_time_limit() -> None:
    config = TrackerConfig('siamffn_lite0', 'auto', 'cpu')
    *_, results = measure([config], [], 1, scaling=True, seconds=0)
    assert [result.targets for result in results.targets] == [1, 2, 4, 8, 16]
    assert len(results.sizes) == 4
    assert results.trackers[0].memory_mb is None, 'a process for each tracker takes too long'
    assert results.stages == [], 'on a GPU only'


@pytest.mark.usefixtures('no_memory', 'bounds')
def test_on_a_gpu_all_models_have_more_targets_and_stages(
    monkeypatch: pytest.MonkeyPatch, runtimes: list[FakeRuntime]
) -> None:
    stages = Stages('siamffn_lite0, fake', 1, 0.1, 0.5, 0.05, {'conv': 0.4})
    monkeypatch.setattr(measurements, 'choose_runtime', lambda device, runtime: (device, runtime))
    monkeypatch.setattr(
        stages_module, 'profile_stages', lambda config, targets: replace(stages, targets=targets)
    )
    config = TrackerConfig('siamffn_lite0', '', 'cuda')
    baseline = measurements.baseline_config('cuda')
    *_, results = measure([config], [baseline], 1, scaling=True)
    assert [result.name for result in results.targets] == (
        5 * ['siamffn_lite0, fake'] + 5 * ['siamban_r50, fake']
    )
    rows = cells(format_scaling(results))
    update = CROP_MS + SEARCH_MS + DECODE_MS
    host = f'{update - 0.65:.3f}'
    assert ['siamffn_lite0, fake', '1', '0.100', '0.500', '0.050', host] in rows
    content = as_dict(results)
    assert content['hardware'] == {'matrix_flops': 800e12, 'copy_bytes': 4e12}
    assert json.loads(json.dumps(content)) == content


def test_shares_of_the_hardware() -> None:
    counts = count_complexity('siamffn_r50')
    result = SpeedResult('siamffn_r50, fake', 4, 10.0, 10.0, 400.0)
    matrix, memory = hardware_shares(result, Hardware(1e12, 1e12))
    assert matrix == pytest.approx(400 * 2 * counts.macs / 1e12)
    assert memory == pytest.approx(100 * 2 * (counts.parameters + 4 * counts.values) / 1e12)


def test_the_bounds_of_the_cpu_are_plausible() -> None:
    hardware = measure_hardware('cpu')
    assert 1e8 < hardware.matrix_flops < 1e15
    assert 1e8 < hardware.copy_bytes < 1e13


def test_events_of_a_profile_are_counted_by_stage() -> None:
    def event(name: str, microseconds: float, kind: str = 'CUDA') -> SimpleNamespace:
        time_range = SimpleNamespace(elapsed_us=lambda: microseconds)
        return SimpleNamespace(
            name=name, time_range=time_range, device_type=SimpleNamespace(name=kind)
        )

    events: Any = [
        event('Memcpy HtoD (Pinned -> Device)', 20),
        event('conv', 300),
        event('conv', 100),
        event('relu', 100),
        event('Memcpy DtoH (Device -> Pinned)', 10),
        event('cudaGraphLaunch', 5000, 'CPU'),
    ]
    stages = count_stages('model', 2, events, updates=10)
    assert (stages.name, stages.targets) == ('model', 2)
    assert (stages.upload, stages.network, stages.download) == pytest.approx((0.002, 0.05, 0.001))
    assert stages.kernels == pytest.approx({'conv': 0.04, 'relu': 0.01})


@pytest.mark.usefixtures('runtimes', 'no_memory', 'bounds')
def test_the_command_writes_json_after_each_part(tmp_path: Path) -> None:
    file = tmp_path / 'results.json'
    words = ['--model', 'siamfc_alex', '--device', 'cpu', '--seconds', '0']
    done = siamffn('benchmark', *words, '--report', file)
    assert done.exit_code == 0, done.output
    content = json.loads(file.read_text())
    assert [result['targets'] for result in content['targets']] == [1, 2, 4, 8, 16]
    assert [result['size'] for result in content['sizes']][-1] == '3840x2160'
