"""Tests of runs over sequences, in one process, in several processes, and after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from siamffn_model.datasets.benchmarks import BENCHMARKS, Benchmark
from siamffn_model.datasets.sequences import Sequence, read_sequences
from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.errors import DataError, ImageError
from siamffn_model.evaluation import vot
from siamffn_model.evaluation.jobs import run_one_pass
from siamffn_model.evaluation.metrics import score
from siamffn_model.evaluation.raw_results import parse_boxes
from siamffn_model.evaluation.runner import (
    frames_per_second,
    plan,
    run_all,
    track_all,
    track_all_with_resets,
)
from siamffn_model.evaluation.tracker_specs import TrackerSpec, opencv_tracker
from siamffn_model.imaging.geometry import Box, corners
from siamffn_model.tracking import State, Track, TrackerProtocol

if TYPE_CHECKING:  # PROGRAM below imports this module without its package
    from .conftest import Clock

PLAIN = BENCHMARKS['sequences']


class Still:
    """A tracker that always returns the first box."""

    def init(self, image: np.ndarray, box: Box) -> None:
        self.box = box

    def update(self, image: np.ndarray) -> Track:
        return Track(self.box, 0.5, State.TRACKING)


class Drifting(Still):
    """A tracker whose box moves one pixel to the right with each image."""

    def update(self, image: np.ndarray) -> Track:
        self.box = self.box._replace(x=self.box.x + 1)
        return super().update(image)


class Slow(Drifting):
    """A `Drifting` tracker at ten frames per second."""

    def update(self, image: np.ndarray) -> Track:
        time.sleep(0.1)
        return super().update(image)


def tracker_spec(kind: type = Drifting, **identity: str) -> TrackerSpec:
    return TrackerSpec(kind.__name__, kind, {'version': '1', **identity})


@pytest.fixture
def sequences(sequence_folder: Path) -> list[Sequence]:
    """Two rendered sequences of 30 frames; the target is absent in four frames of the second."""
    return read_sequences(sequence_folder)


def results(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted((folder / 'results').rglob('*.txt'))
    }


# --- one sequence


def test_run_of_any_tracker(template_matcher: TrackerProtocol) -> None:
    images, boxes = render_scene(50, seed=3)
    output = run_one_pass(template_matcher, images, boxes[0])
    assert output.boxes.shape == (50, 4)
    assert output.boxes[0].tolist() == list(boxes[0])
    assert output.seconds > 0
    still = run_one_pass(Still(), images, boxes[0])
    assert score(boxes, output.boxes).success > 0.75
    assert score(boxes, still.boxes).success < 0.5


def test_reading_the_images_is_not_timed(clock: Clock) -> None:
    images, boxes = render_scene(5)
    assert run_one_pass(clock.timed(Still()), clock.reading(images), boxes[0]).seconds == 3 + 4


def test_track_all_agrees_with_scoring_each_sequence(
    sequences: list[Sequence], template_matcher: TrackerProtocol
) -> None:
    found = track_all(template_matcher, sequences)
    assert list(found.per_sequence) == ['clip1', 'clip2']
    for sequence in sequences:
        assert sequence.frames is not None
        output = run_one_pass(template_matcher, sequence.frames, Box(*sequence.truth[0]))
        expected = score(sequence.truth, output.boxes)
        assert found.per_sequence[sequence.name].scores == expected
    first, second = (curves.scores.success for curves in found.per_sequence.values())
    assert first > 0.7
    assert second < first, 'clip2 has frames without target'
    assert found.score == pytest.approx((first + second) / 2)


# --- files


def test_results_are_in_the_format_of_the_benchmark(
    sequences: list[Sequence], tmp_path: Path
) -> None:
    jobs = plan(PLAIN, sequences, [tracker_spec(), tracker_spec(Still)], tmp_path)
    assert not any(job.done() for job in jobs)
    run_all(jobs)
    assert all(job.done() for job in jobs)
    assert list(results(tmp_path)) == [
        f'results/{tracker}/clip{number}.txt'
        for tracker in ('Drifting', 'Still')
        for number in '12'
    ]
    for sequence in sequences:
        text = (tmp_path / f'results/Drifting/{sequence.name}.txt').read_text()
        boxes = parse_boxes(text, '')
        expected = np.repeat(sequence.truth[:1], 30, axis=0)
        expected[:, 0] += np.arange(30)
        assert np.abs(boxes - expected).max() < 1e-4
    rates = frames_per_second(jobs)
    assert rates.keys() == {'Drifting', 'Still'}
    assert all(rate > 0 for rate in rates.values())


def test_results_have_the_origin_of_the_benchmark(
    sequences: list[Sequence], tmp_path: Path
) -> None:
    """The tracker itself gets and returns 0-based boxes."""
    for origin in (0, 1):
        moved = [
            Sequence(s.name, s.truth + np.array([origin, origin, 0, 0]), s.frames, origin=origin)
            for s in sequences
        ]
        run_all(plan(PLAIN, moved, [tracker_spec()], tmp_path / str(origin)))
    found = [
        parse_boxes(results(tmp_path / str(o))['results/Drifting/clip1.txt'], '') for o in (0, 1)
    ]
    assert np.allclose(found[1] - found[0], (1, 1, 0, 0))


def test_reset_based_protocol_is_used_where_the_benchmark_defines_it(
    sequences: list[Sequence], tmp_path: Path
) -> None:
    benchmark = Benchmark(
        'VOT', PLAIN.read, result_file='baseline/{name}/{name}_001.txt', eao_lengths=(5, 20)
    )
    regions = [
        Sequence(s.name, corners(s.truth), s.frames, size=s.frames.size)
        for s in sequences[:1]
        if s.frames
    ]
    jobs = plan(benchmark, regions, [tracker_spec()], tmp_path)
    run_all(jobs)
    text = results(tmp_path)['results/Drifting/baseline/clip1/clip1_001.txt']
    assert text.startswith('1\n')
    live = track_all_with_resets(Drifting(), regions, (5, 20))
    read = vot.score_runs(regions, {'clip1': vot.parse_run(text, '')}, (5, 20))
    assert read.per_sequence['clip1'] == pytest.approx(live.per_sequence['clip1'], abs=1e-5)
    record = json.loads(jobs[0].record.read_text())
    assert record['frames'] == 30 - text.split().count('0')


def test_done_depends_on_tracker_sequence_and_files(
    sequences: list[Sequence], tmp_path: Path
) -> None:
    (job, *_) = plan(PLAIN, sequences, [tracker_spec()], tmp_path)
    run_all([job])
    other = plan(PLAIN, sequences, [tracker_spec(weights='other')], tmp_path)[0]
    assert job.done()
    assert not other.done()
    for change in ({'truth': job.sequence.truth + 1}, {'name': 'clip2'}):
        moved = plan(PLAIN, [replace(job.sequence, **change)], [tracker_spec()], tmp_path)[0]
        assert not moved.done()
    with pytest.raises(DataError, match=r'clip1\.txt: missing or incomplete; if each machine has'):
        frames_per_second([other])
    job.record.write_text('{"identity": ')
    assert not job.done()
    run_all([job])
    job.result.unlink()
    assert not job.done()


@pytest.mark.slow
def test_damaged_image_raises_after_all_other_jobs(clips: Path, tmp_path: Path) -> None:
    sequences = read_sequences(clips)
    (clips / 'clip1/img/000005.jpg').write_bytes(b'no picture')
    for workers in (1, 2):
        jobs = plan(PLAIN, sequences, [opencv_tracker('opencv:mil')], tmp_path / str(workers))
        with pytest.raises(ImageError, match=r'opencv-mil, clip1: .*000005\.jpg: damaged [^(]*$'):
            run_all(jobs, workers)
        assert [job.done() for job in jobs] == [False, True]


def test_first_of_several_errors_is_raised(
    sequences: list[Sequence], sequence_folder: Path, tmp_path: Path
) -> None:
    for number in (1, 2):
        (sequence_folder / f'clip{number}/img/000005.jpg').write_bytes(b'no picture')
    with pytest.raises(ImageError, match=r'Drifting, clip1: .* \(2 of 2 runs failed\)'):
        run_all(plan(PLAIN, sequences, [tracker_spec()], tmp_path))


# --- several processes


@pytest.mark.slow
def test_several_processes_give_the_same_results(clips: Path, tmp_path: Path) -> None:
    if not hasattr(cv2, 'TrackerKCF_create'):
        pytest.skip('this build of OpenCV has no KCF and CSRT: opencv-contrib-python-headless has')
    trackers = [opencv_tracker('opencv:kcf'), opencv_tracker('opencv:csrt')]
    for workers in (1, 2):
        jobs = plan(PLAIN, read_sequences(clips), trackers, tmp_path / str(workers))
        run_all(jobs, workers)
        assert all(job.done() for job in jobs)
    assert results(tmp_path / '1') == results(tmp_path / '2')


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[4])
from pathlib import Path
from siamffn_model.datasets.sequences import read_sequences
from siamffn_model.evaluation.runner import plan, run_all
import test_runner
if __name__ == '__main__':
    jobs = plan(test_runner.PLAIN, read_sequences(Path(sys.argv[1])),
                [test_runner.tracker_spec(), test_runner.tracker_spec(test_runner.Slow)],
                Path(sys.argv[2]))
    run_all(jobs, int(sys.argv[3]))
"""


@pytest.mark.slow
@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize('workers', [1, 2])
def test_finished_jobs_survive_a_stop(
    sequence_folder: Path, tmp_path: Path, signal_number: signal.Signals, workers: int
) -> None:
    """Two fast jobs are done and the slow ones are stopped; no process or partial file is left."""
    program = tmp_path / 'program.py'
    program.write_text(PROGRAM)
    out = tmp_path / 'out'
    words = [program, sequence_folder, out, str(workers), Path(__file__).parent]
    process = subprocess.Popen(
        [sys.executable, *map(str, words)], start_new_session=True, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while len(list(out.glob('runs/Drifting/*.json'))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    if signal_number == signal.SIGINT:
        os.killpg(process.pid, signal_number)  # as a terminal does
    else:
        process.kill()
    process.wait(30)
    deadline = time.monotonic() + 30
    while _alive(process.pid):
        assert time.monotonic() < deadline, 'a worker process is still running'
        time.sleep(0.1)
    sequences = read_sequences(sequence_folder)
    jobs = plan(PLAIN, sequences, [tracker_spec(), tracker_spec(Slow)], out)
    assert [job.done() for job in jobs] == [True, True, False, False]
    assert list(results(out)) == ['results/Drifting/clip1.txt', 'results/Drifting/clip2.txt']


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
