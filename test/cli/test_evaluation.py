"""The commands `evaluate`, `score`, `tune` and `calibrate`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from siamffn_model.datasets.benchmarks import BENCHMARKS
from siamffn_model.networks.names import DEFAULT_MODEL
from siamffn_model.networks.zoo import read_card

from ..command import siamffn


@pytest.mark.slow
def test_evaluate(clips: Path, random_weights: Path, tmp_path: Path) -> None:
    file, out = tmp_path / 'scores' / 'out.json', tmp_path / 'out'
    done = siamffn(
        'evaluate', 'sequences', '--data', clips, '--weights', random_weights,
        '--tracker', 'opencv:mil', '--device', 'cpu', '--out', out, '--json', file,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == f'see {out}/report.html'
    summary = json.loads(file.read_text())
    assert json.loads((out / 'summary.json').read_text()) == summary
    assert sorted(summary) == ['opencv-mil', DEFAULT_MODEL]
    table = [line.split('|')[1:-1] for line in done.stdout.splitlines() if line[:1] == '|']
    for name, scores in summary.items():
        assert list(scores) == [
            'success', 'precision', 'norm_precision', 'fps', 'per_attribute', 'per_sequence',
        ]  # fmt: skip
        assert list(scores['per_sequence']) == ['clip1', 'clip2']
        assert scores['fps'] > 0
        row = next(row for row in table if row[0].strip().replace('\\', '') == name)
        printed = [float(cell.strip(' *')) for cell in row[1:]]
        expected = [scores[key] for key in ('success', 'precision', 'norm_precision')]
        assert printed[:3] == pytest.approx(expected, abs=0.00056)
        assert len((out / f'results/{name}/clip1.txt').read_text().splitlines()) == 6
    assert {path.name for path in (out / 'strips').iterdir()} == {'clip1.jpg', 'clip2.jpg'}


@pytest.mark.slow
def test_score_and_evaluate_give_the_same_scores(
    clips: Path, random_weights: Path, tmp_path: Path
) -> None:
    out, again = tmp_path / 'out', tmp_path / 'again'
    words = ['evaluate', 'sequences', '--data', clips, '--weights', random_weights, '--out', out]
    assert siamffn(*words).exit_code == 0
    folder = out / 'results' / DEFAULT_MODEL
    other = shutil.copytree(folder, tmp_path / 'other')
    third = shutil.copytree(folder, tmp_path / 'third')
    words = ['sequences', '--annotations', clips, '--results', folder, other, third]
    done = siamffn('score', *words, '--out', again)
    assert done.exit_code == 0, done.output
    expected = json.loads((out / 'summary.json').read_text())[DEFAULT_MODEL]
    del expected['fps']
    names = [DEFAULT_MODEL, 'other', 'third']
    assert json.loads((again / 'summary.json').read_text()) == dict.fromkeys(names, expected)
    assert not (again / 'strips').exists()
    done = siamffn('score', *words, '--out', again, '--strips', '--leave-out-absent')
    assert done.exit_code == 0, done.output
    assert len(list((again / 'strips').iterdir())) == 2
    assert 'so they are not comparable' in (again / 'report.html').read_text()


@pytest.mark.slow
def test_several_starts(sequence_folder: Path, tmp_path: Path) -> None:
    words = ['--starts', '2', '--out']
    trackers = ['--tracker', 'opencv:mil', '--tracker', 'opencv:kcf']
    done = siamffn('evaluate', 'sequences', '--data', sequence_folder, *trackers, *words, tmp_path)
    assert done.exit_code == 0, done.output
    summary = json.loads((tmp_path / 'summary.json').read_text())
    first, second = summary['opencv-mil'], summary['opencv-kcf']
    assert list(first['per_start']['clip1']) == ['1', '11']
    assert second['difference']['to'] == 'opencv-mil'
    expected = second['success'] - first['success']
    assert second['difference']['success'] == pytest.approx(expected, abs=2e-4)
    again, results = tmp_path / 'again', tmp_path / 'results/opencv-mil'
    given = ['--annotations', sequence_folder, '--results', results]
    assert siamffn('score', 'sequences', *given, *words, again).exit_code == 0
    scored = json.loads((again / 'summary.json').read_text())['opencv-mil']
    assert scored == {key: value for key, value in first.items() if key != 'fps'}


@pytest.mark.slow
def test_evaluate_resumes_an_interrupted_run(clips: Path, tmp_path: Path) -> None:
    """Existing results of the same tracker are kept with --resume, and only with it."""
    words = ['evaluate', 'sequences', '--data', clips, '--tracker', 'opencv:mil', '--out', tmp_path]
    assert siamffn(*words).exit_code == 0
    kept = tmp_path / 'results/opencv-mil/clip1.txt'
    missing = tmp_path / 'runs/opencv-mil/clip2.json'
    before = kept.stat().st_mtime_ns
    missing.unlink()
    assert siamffn(*words, '--resume').exit_code == 0
    assert missing.is_file()
    assert kept.stat().st_mtime_ns == before
    assert siamffn(*words).exit_code == 0
    assert kept.stat().st_mtime_ns != before


@pytest.mark.slow
def test_evaluate_in_two_processes_of_torchrun(clips: Path, tmp_path: Path) -> None:
    """Each process tracks one sequence; the first process scores both."""
    command = [
        sys.executable,
        '-m',
        'torch.distributed.run',
        '--nproc-per-node',
        '2',
        '--standalone',
    ]
    words = ['evaluate', 'sequences', '--data', clips, '--tracker', 'opencv:mil', '--out', tmp_path]
    done = subprocess.run(
        [*command, '-m', 'siamffn_model', *map(str, words)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('see ') == 1
    assert list(json.loads((tmp_path / 'summary.json').read_text())) == ['opencv-mil']


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['evaluate', 'lasot', '--data', '.'], "'lasot': choose one of sequences, uav20l, uav123"),
        (['evaluate', 'uav20l', '--data', 'nowhere'], 'nowhere: no such folder'),
        (['evaluate', 'sequences', '--data', '.', '--tracker', 'csrt'], 'is no tracker of OpenCV'),
        (
            ['evaluate', 'sequences', '--data', '.', '--set', 'windw=1'],
            "'windw=1': give KEY=NUMBER",
        ),
        (
            ['evaluate', 'sequences', '--data', '.', '--set', 'lr=a'],
            'the keys are window_influence, penalty_k',
        ),
        (['evaluate', 'sequences', '--data', '.', '--set', 'lr=7'], 'lr is 7: give a number from'),
        (
            ['evaluate', 'sequences', '--data', '.', '--set', 'motion_gain=nan'],
            'motion_gain is nan',
        ),
        (
            ['evaluate', 'sequences', '--data', '.', '--set', 'lost_patience=2.5'],
            'give KEY=WHOLE NUMBER',
        ),
        (
            ['evaluate', 'sequences', '--data', '.', '--set', 'lost_threshold=0.9'],
            'must be in ascending order',
        ),
        (
            ['evaluate', 'vot2018', '--data', '.', '--starts', '4'],
            '--starts 4 does not apply to VOT2018',
        ),
        (['score', 'sequences', '--annotations', '.', '--results', 'none'], 'none: no such folder'),
        (['tune', 'uav20l', '--data', '.'], 'UAV20L is a test set: a tracker tuned on it cannot'),
        (['tune', 'vot2018', '--data', '.'], 'VOT2018 is a test set'),
    ],
)
def test_evaluation_reports_invalid_arguments(
    clips: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(clips)
    done = siamffn(*words)
    assert done.exit_code == 2
    assert message in done.stderr.splitlines()[-1]
    assert not Path('out').exists()


def test_evaluate_reports_a_damaged_sequence(clips: Path, tmp_path: Path) -> None:
    (clips / 'clip2' / 'img' / '000003.jpg').unlink()
    file = tmp_path / 'out.json'
    done = siamffn('evaluate', 'sequences', '--data', clips, '--json', file)
    assert done.exit_code == 2
    assert 'clip2/groundtruth.txt: 6 rows for 5 images' in done.stderr
    assert not file.exists()


def test_the_help_lists_every_benchmark() -> None:
    text = siamffn('evaluate', '--help').stdout
    assert all(re.search(rf'\b{name}\b', text) for name in BENCHMARKS)


@pytest.mark.slow
def test_tune(clips: Path, random_weights: Path, tmp_path: Path) -> None:
    study = tmp_path / 'tune.db'
    words = ['sequences', '--data', clips, '--weights', random_weights, '--study', study]
    done = siamffn('tune', *words, '--trials', '2')
    assert done.exit_code == 0, done.output
    output = re.fullmatch(
        r'(0\.\d{4}) with --set window_influence=(\S+) --set penalty_k=(\S+) --set lr=(\S+) '
        r'--set motion_gain=(\S+)\n',
        done.stdout,
    )
    assert output, done.stdout
    assert siamffn('tune', *words, '--trials', '2').stdout == done.stdout, 'no trials are left'
    other = siamffn('tune', 'sequences', '--data', clips, '--study', study)
    assert other.exit_code == 2
    assert str(study) in other.stderr


@pytest.mark.slow
def test_calibrate(clips: Path, tmp_path: Path) -> None:
    def calibration_error(*options: str | Path) -> float:
        done = siamffn('calibrate', 'sequences', '--data', clips, *options)
        assert done.exit_code == 0, done.output
        match = re.search(r'^expected calibration error (0\.\d{3})$', done.stdout, re.MULTILINE)
        assert match
        return float(match[1])

    written = tmp_path / 'calibrated.safetensors'
    first = calibration_error('--out', written)
    assert read_card(written)['calibration']
    assert calibration_error('--weights', written) < max(first, 0.2)
    refused = siamffn('calibrate', 'uav20l', '--data', clips, '--out', tmp_path / 'none')
    assert refused.exit_code == 2
    assert 'UAV20L is a test set' in refused.stderr
