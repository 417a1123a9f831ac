"""The command `track`, in this process and as an executable."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from siamffn_model.imaging.sources import open_frames
from siamffn_model.tracking import Track, Tracker

from ..command import siamffn

SIAMFFN = Path(sys.executable).parent / 'siamffn'


@pytest.mark.slow
def test_track(clips: Path, random_weights: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    done = siamffn(
        'track', clips / 'clip1', '--weights', random_weights, '--device', 'cpu',
        '--out', out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert '6 frames, mean score ' in done.stdout
    assert str(out / 'overlay.mp4') in done.stdout
    assert len((out / 'boxes.csv').read_text().splitlines()) == 7
    assert (out / 'overlay.mp4').is_file()


def test_track_starts_from_the_given_box(clips: Path, random_weights: Path, tmp_path: Path) -> None:
    images = clips / 'clip1' / 'img'
    done = siamffn(
        'track', images, '--init', '40.5, 30,20,25', '--weights', random_weights, '--out', tmp_path
    )
    assert done.exit_code == 0, done.output
    first = (tmp_path / 'boxes.csv').read_text().splitlines()[1]
    assert first == '0,40.50,30.00,20.00,25.00,1.0000,TRACKING'


def test_track_goes_on_after_a_damaged_image(
    clips: Path, random_weights: Path, tmp_path: Path
) -> None:
    images = clips / 'clip1' / 'img'
    (images / '000003.jpg').write_bytes(b'no picture')
    done = siamffn('track', images.parent, '--weights', random_weights, '--out', tmp_path / 'out')
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1].startswith('5 frames, ')
    assert 'warning: 5 of 6 frames, 1 unreadable; the first: ' in done.stderr
    assert '000003.jpg: damaged or not an image' in done.stderr
    rows = (tmp_path / 'out' / 'boxes.csv').read_text().splitlines()[1:]
    assert [row.partition(',')[0] for row in rows] == ['0', '1', '3', '4', '5']


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_end_track_as_ctrl_c_does(
    clips: Path,
    random_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    signal.signal(number, signal.SIG_DFL)  # also where `nohup` runs the tests
    update, before = Tracker.update, signal.getsignal(number)
    calls: list[int] = []

    def terminated(self: Tracker, image: np.ndarray) -> Track:
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), number)
        return update(self, image)

    monkeypatch.setattr(Tracker, 'update', terminated)
    done = siamffn('track', clips / 'clip1', '--weights', random_weights, '--out', tmp_path / 'out')
    assert done.exit_code == 130
    assert done.stderr.splitlines()[-1] == 'interrupted'
    assert len((tmp_path / 'out' / 'boxes.csv').read_text().splitlines()) == 4
    assert open_frames(tmp_path / 'out' / 'overlay.mp4').count == 3
    assert signal.getsignal(number) == before


@pytest.mark.slow
def test_track_with_names_that_are_not_utf8(
    clips: Path, random_weights: Path, tmp_path: Path
) -> None:
    """In a process of its own, whose standard output is strict."""
    folder = (clips / 'clip1').rename(clips / os.fsdecode(b'caf\xe9'))
    out = tmp_path / os.fsdecode(b'r\xe9sultat')
    words = ['track', folder, '--weights', random_weights, '--out', out, '--device', 'cpu']
    done = subprocess.run(
        [sys.executable, '-m', 'siamffn_model', *words], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert r'r\udce9sultat/boxes.csv' in done.stdout
    assert sorted(file.name for file in out.iterdir()) == ['boxes.csv', 'overlay.mp4']
    (folder / 'groundtruth.txt').unlink()
    done = subprocess.run(
        [sys.executable, '-m', 'siamffn_model', *words], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 2 and r'caf\udce9: no ground truth' in done.stderr


@pytest.mark.slow
def test_settings_reach_the_tracker(clips: Path, random_weights: Path, tmp_path: Path) -> None:
    boxes = []
    for number, value in enumerate(('0.1', '0.8')):
        out = tmp_path / str(number)
        words = ['--weights', random_weights, '--out', out, '--set', f'lost_threshold={value}']
        assert siamffn('track', clips / 'clip1', *words).exit_code == 0
        boxes.append((out / 'boxes.csv').read_text())
    assert boxes[0] != boxes[1]


@pytest.mark.slow
def test_track_accepts_an_exported_folder(clips: Path, tmp_path: Path) -> None:
    pytest.importorskip('openvino', reason='extra [openvino] not installed')
    folder = tmp_path / 'model'
    done = siamffn('export', '--format', 'openvino', '--out', folder, '--sequences', clips)
    assert done.exit_code == 0, done.output
    first, second, third = done.stdout.splitlines()
    assert re.match(r'OpenVINO \w+ against PyTorch eager, 10 crops: largest difference of ', first)
    assert re.fullmatch(
        r'success over 2 sequences: 0\.\d{4} as trained, 0\.\d{4} exported \([+-]0\.\d{4}\)', second
    )
    assert third == f'see {folder}: `siamffn track --weights {folder} ...`'
    boxes = []
    for words in ([], ['--weights', folder]):
        done = siamffn('track', clips / 'clip1', '--device', 'cpu', '--out', tmp_path, *words)
        assert done.exit_code == 0, done.output
        columns = (0, 1, 2, 3, 4, 5)
        boxes.append(np.loadtxt(tmp_path / 'boxes.csv', delimiter=',', skiprows=1, usecols=columns))
    # A model that OpenVINO has just converted differs from the same read from a file by rounding.
    assert boxes[0] == pytest.approx(boxes[1], abs=0.1), 'the boxes are those of the weights'


@pytest.mark.slow
def test_executable(clips: Path, random_weights: Path, tmp_path: Path) -> None:
    words = ['track', clips / 'clip2', '--weights', random_weights, '--out', tmp_path]
    done = subprocess.run([SIAMFFN, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / 'boxes.csv').read_text().splitlines()) == 7
    missing = subprocess.run([SIAMFFN, 'track', 'no.mp4'], capture_output=True, text=True)
    assert missing.returncode == 2
    assert missing.stderr == (
        'Error: no.mp4: no such file or folder; give a video, or a folder of images\n'
    )


@pytest.mark.slow
def test_ctrl_c_keeps_the_results_so_far(
    sequence_folder: Path, random_weights: Path, tmp_path: Path
) -> None:
    """Interrupt the tracking of a long clip after its first frames."""
    img = sequence_folder / 'clip1' / 'img'
    for number in range(31, 3001):
        os.link(img / '000030.jpg', img / f'{number:06d}.jpg')
    words = ['track', img, '--init', '9,9,40,40', '--weights', random_weights, '--out', tmp_path]
    log = tmp_path / 'stderr.txt'
    with log.open('w') as errors:
        process = subprocess.Popen([SIAMFFN, *words], stderr=errors)
        try:
            deadline = time.monotonic() + 100
            while not re.search(r' [1-9]\d*/3000', log.read_text()):  # the progress bar
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, log.read_text()
    assert log.read_text().endswith('interrupted\n')
    assert 'Traceback' not in log.read_text()
    rows = (tmp_path / 'boxes.csv').read_text().splitlines()
    assert 2 <= len(rows) < 3000
    assert (tmp_path / 'overlay.mp4').is_file()
