"""siamffn_ros/bags/replay.py: bags with ground truth, played into the node over DDS."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from sensor_msgs.msg import CompressedImage
from siamffn.msg import TrackStatus
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from siamffn_model.cli.main import main as siamffn
from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import BoxError, DataError, ProcessError
from siamffn_model.imaging.geometry import Box, iou
from siamffn_model.tracking import State
from siamffn_ros.bags import replay
from siamffn_ros.bags.io import START, TRUTH_TOPIC, create_bag, open_bag
from siamffn_ros.bags.processes import TrackerProcess, node_arguments
from siamffn_ros.bags.recorder import ReplayResult
from siamffn_ros.bags.replay import OUTPUTS, play_and_record, read_box, read_image_topic
from siamffn_ros.messages.conversions import to_detection, to_nanoseconds, to_stamp
from siamffn_ros.messages.images import to_image

PERIOD = 10**9 / 30
NOW = 1_700_000_000_000_000_000
DELAY = 7_000_000  # nanoseconds from stamp to record time
CAMERA = '/left/image_raw'
RATE = 0.25  # slow enough for a node on a busy machine to track before the second of video ends


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('replay')


@pytest.fixture(scope='module')
def replayed(bag: Path, weights: Path, clip: Scene, folder: Path) -> ReplayResult:
    # with best effort, an image may be lost while the machine is busy
    arguments = ['-p', 'image_qos:=reliable', '-p', f'weights:={weights}']
    return play_and_record(bag, clip.boxes[0], folder, arguments, rate=RATE)


def test_every_published_frame_arrives(replayed: ReplayResult, clip: Scene) -> None:
    assert len(replayed.published) == len(clip.images)
    last = replayed.last
    assert last.frames_processed + last.frames_dropped == len(clip.images)


def test_stamps_and_id_are_those_of_the_images(replayed: ReplayResult) -> None:
    assert set(replayed.observations) <= set(replayed.published)
    assert replayed.last.target_id == '1'
    assert replayed.last.header.frame_id == 'camera'


def test_status_is_consistent(replayed: ReplayResult) -> None:
    last = replayed.last
    assert 0 < last.mean_ms <= last.max_ms and 0 < last.last_ms <= last.max_ms
    for seen in replayed.observations.values():
        assert 0 <= seen.score <= 1
        assert (seen.box is None) == (seen.state is State.LOST)


def test_results_are_in_the_bag(replayed: ReplayResult, folder: Path) -> None:
    with open_bag(folder / 'detections.mcap') as bag:
        assert bag.topics == {
            '/tracker/detections': 'vision_msgs/msg/Detection2DArray',
            '/tracker/status': 'siamffn/msg/TrackStatus',
        }
        assert bag.count >= 2 * len(replayed.observations)


def test_boxes_overlap_the_target(replayed: ReplayResult, clip: Scene) -> None:
    overlaps = []
    for stamp, seen in replayed.observations.items():
        truth = clip.boxes[round((stamp - START) / PERIOD)]
        overlaps.append(float(iou(seen.box or Box(0, 0, 0, 0), truth)))
    assert np.mean(overlaps) > 0.5 and np.median(overlaps) > 0.6


def test_a_node_that_ends_stops_the_replay_with_its_reason(tmp_path: Path, bag: Path) -> None:
    message = (
        r'the node cannot start: cannot configure: weight file nowhere\.safetensors is missing'
    )
    with pytest.raises(ProcessError, match=message):
        play_and_record(bag, Box(1, 1, 9, 9), tmp_path, ['-p', 'weights:=nowhere.safetensors'])
    assert not (tmp_path / 'detections.mcap').exists()


def test_a_node_that_crashes_stops_the_replay_with_its_log(tmp_path: Path) -> None:
    program = 'import os; print("[ERROR] [1.5] [tracker]: boom", flush=True); os.abort()'
    process = object.__new__(TrackerProcess)
    process.log = tmp_path / 'node.log'
    with process.log.open('wb') as log:
        process._process = subprocess.Popen([sys.executable, '-c', program], stdout=log)
    process._process.wait()
    with pytest.raises(ProcessError, match=r'(?s)ended unexpectedly \(exit code -6\).*: boom'):
        process.check()


def test_a_refused_box_stops_the_replay(tmp_path: Path, bag: Path, weights: Path) -> None:
    with pytest.raises(BoxError, match=r'refused the box.*outside'):
        play_and_record(bag, Box(5000, 1, 9, 9), tmp_path, ['-p', f'weights:={weights}'])


# --- any bag


def write_bag(
    path: Path, clip: Scene, start: int, topic: str = CAMERA, truth: bool = False, **options: Any
) -> Path:
    """Write the clip as a bag whose first stamp is `start`; record times are later than stamps.

    The bag also contains the output of an earlier run. With `format`, images are compressed.
    """
    with create_bag(path) as bag:
        for number, (image, box) in enumerate(zip(clip.images, clip.boxes)):
            stamp = start + round(number * PERIOD)
            recorded = NOW + DELAY + round(number * PERIOD)
            header = Header(stamp=to_stamp(stamp), frame_id='eye')
            bag.write(topic, to_message(image, header, **options), recorded)
            detections = [to_detection('1', box, 1.0, header)]
            array = Detection2DArray(header=header, detections=detections)
            if truth:
                bag.write(TRUTH_TOPIC, array, recorded)
            bag.write('/tracker/detections', Detection2DArray(header=header), recorded)
            old = TrackStatus(header=header, target_id='old', state=TrackStatus.LOST)
            bag.write('/tracker/status', old, recorded)
    return path


def to_message(image: np.ndarray, header: Header, format: str = '') -> Any:  # noqa: A002
    if not format:
        return to_image(image, header)
    data = cv2.imencode(f'.{format}', image)[1].tobytes()
    return CompressedImage(header=header, format=format, data=data)


def command(*words: object) -> Result:
    return CliRunner().invoke(siamffn, ['bag', 'replay', *map(str, words)])


def test_raw_images_of_another_topic(tmp_path: Path, clip: Scene, weights: Path) -> None:
    """The first box and the ground truth come from the bag; earlier outputs are replaced."""
    source = write_bag(tmp_path / 'clip.mcap', clip, NOW, truth=True)
    out = tmp_path / 'out'
    out.mkdir()
    for name in OUTPUTS:
        (out / name).write_text('old')
    params = tmp_path / 'params.yaml'
    params.write_text(
        '/**: {ros__parameters: {image_qos: reliable}}\n'
        '/tracker: {ros__parameters: {weights: nowhere, image_transport: compressed, '
        'output_qos: sensor_data, autostart: false, use_sim_time: true}}\n'
    )
    options = ['--params-file', params, '--weights', weights, '--device', 'cpu', '--rate', RATE]
    result = command(source, '-o', out, *options, '--min-success', 0.5)
    assert result.exit_code == 0, result.output
    assert {file.name for file in out.iterdir()} == set(OUTPUTS)
    summary = json.loads((out / 'summary.json').read_text())
    total = len(clip.images)
    assert summary['frames_published'] == total == summary['frames_received']
    assert 0 < summary['latency_ms']['median'] < 10_000
    assert summary['scores']['success'] > 0.5
    assert f'success          {summary["scores"]["success"]:.3f}' in result.output
    with open_bag(out / 'detections.mcap') as bag:
        statuses = [status for _, status in bag.read('/tracker/status')]
    assert {status.target_id for status in statuses} <= {'', '1'}, 'none is from the bag'
    assert {status.header.frame_id for status in statuses} == {'eye'}
    stamps = {to_nanoseconds(status.header.stamp) for status in statuses}
    assert max(stamps) == NOW + round((total - 1) * PERIOD)


def test_compressed_images_and_too_low_success(tmp_path: Path, clip: Scene, weights: Path) -> None:
    source = write_bag(tmp_path / 'clip.mcap', clip, NOW, truth=True, format='png')
    init = tmp_path / 'groundtruth.txt'
    init.write_text('\n'.join(','.join(map(str, box)) for box in clip.boxes))
    out = tmp_path / 'out'
    options = ['--init-file', init, '--weights', weights, '--min-success', 0.99, '--rate', RATE]
    result = command(source, '-o', out, *options)
    assert result.exit_code == 1, result.output
    summary = json.loads((out / 'summary.json').read_text())
    assert f'success {summary["scores"]["success"]:.3f} is below 0.99' in result.output
    assert summary['scores']['success'] > 0.3 and summary['frames_published'] == len(clip.images)


def test_stamps_from_zero(tmp_path: Path, clip: Scene, weights: Path) -> None:
    """A zero stamp means none: the box refers to the latest image. The bag has no ground truth."""
    source = write_bag(tmp_path / 'clip.mcap', clip, 0)
    x, y, w, h = clip.boxes[0]
    out = tmp_path / 'out'
    options = ['--init', f'{x},{y},{w},{h}', '--weights', weights, '--rate', RATE]
    result = command(source, '-o', out, *options)
    assert result.exit_code == 0, result.output
    summary = json.loads((out / 'summary.json').read_text())
    assert summary['scores'] is None and 'success' not in result.output
    assert summary['frames_published'] == len(clip.images) and summary['frames_tracked'] > 1


def test_read_image_topic(tmp_path: Path, clip: Scene) -> None:
    source = write_bag(tmp_path / 'clip.mcap', clip, NOW, format='jpg')
    images = read_image_topic(source)
    assert (images.name, images.transport) == (CAMERA, 'compressed')
    assert images.first == Header(stamp=to_stamp(NOW), frame_id='eye')
    assert images.stamps == [NOW + round(n * PERIOD) for n in range(len(clip.images))]
    assert images.longest_gap == pytest.approx(1 / 30, abs=1e-6)


def test_parameters_of_the_node() -> None:
    assert node_arguments(None, model=None) == []
    assert node_arguments(Path('x.yaml'), weights=Path('a: b'), device=None, autostart=True) == [
        '--params-file', 'x.yaml', '-p', 'tracker:weights:="a: b"', '-p', 'tracker:autostart:=true',
    ]  # fmt: skip


# --- errors


@pytest.fixture(scope='module')
def without_truth(folder: Path, clip: Scene) -> Path:
    return write_bag(folder / 'clip.mcap', clip, NOW)


@pytest.mark.parametrize('text', ['', 'NaN,NaN,NaN,NaN\n1,2,3,4', '1,2,3'])
def test_file_without_a_box_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / 'init.txt').write_text(text)
    with pytest.raises(DataError, match=r'init\.txt.*row.*must be x,y,w,h'):
        read_box(tmp_path / 'init.txt')


@pytest.mark.parametrize(
    ('options', 'error'),
    [
        ([], 'give the target with --init x,y,w,h'),
        (['--init', '1,2,3,4', '--min-success', '0.5'], 'has no /ground_truth to evaluate against'),
        (['--init', '1,2,3,4', '--init-file', 'x.txt'], 'give --init or --init-file, not both'),
        (['--init', '1,2,3,4', '--topic', '/up'], f'give --topic with one of {CAMERA}'),
        (['--init-file', 'nowhere.txt'], 'nowhere.txt: cannot be read'),
        (['--init', '1,2,3,4', '--params-file', 'nowhere.yaml'], "'nowhere.yaml' does not exist"),
        (['--init', '1,2,3'], "'1,2,3' is not a box"),
    ],
)
def test_wrong_options_are_refused(
    tmp_path: Path, without_truth: Path, options: Sequence[str], error: str
) -> None:
    result = command(without_truth, '-o', tmp_path / 'out', *options)
    assert result.exit_code == 2 and error in result.output, result.output


@pytest.mark.parametrize(
    ('text', 'error'),
    [
        ('/**: {ros__parameters: [1', 'is not a params file'),
        ('/**: {ros__parameters: {image_qos: best}}', "image_qos is 'best': set it to"),
    ],
)
def test_a_node_that_cannot_start_is_reported_in_one_line(
    tmp_path: Path, bag: Path, text: str, error: str
) -> None:
    (tmp_path / 'params.yaml').write_text(text)
    result = command(bag, '-o', tmp_path / 'out', '--params-file', tmp_path / 'params.yaml')
    lines = [line for line in result.output.splitlines() if line.startswith('Error: ')]
    assert result.exit_code == 2 and len(result.output.splitlines()) == len(lines) == 1
    assert lines[0].startswith('Error: the node cannot start: ') and error in lines[0]


def test_bag_without_images_is_refused(tmp_path: Path, bag: Path) -> None:
    with create_bag(tmp_path / 'empty.mcap') as writer:
        writer.write(TRUTH_TOPIC, Detection2DArray(), NOW)
    result = command(tmp_path / 'empty.mcap', '-o', tmp_path / 'out')
    assert result.exit_code == 2 and 'empty.mcap has no topic of type' in result.output


def test_bag_is_not_overwritten(tmp_path: Path, bag: Path) -> None:
    source = tmp_path / 'detections.mcap'
    source.write_bytes(bag.read_bytes())
    result = command(source, '-o', tmp_path)
    assert result.exit_code == 2 and 'would be overwritten' in result.output
    assert source.read_bytes() == bag.read_bytes()


def test_the_node_ends_with_the_command(
    tmp_path: Path, bag: Path, weights: Path, peer: Any
) -> None:
    """On SIGTERM, which launch sends at shutdown."""
    mine = shutil.copytree(weights, tmp_path / 'mine')
    words = ['bag', 'replay', bag, '-o', tmp_path / 'out', '--weights', mine, '--rate', 0.1]
    process = subprocess.Popen([sys.executable, '-m', 'siamffn_model', *map(str, words)])
    peer.until(lambda: peer.statuses, 'the first status')
    assert len(running(mine)) == 2, 'command and node'
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 130
    assert not running(mine)
    assert not (tmp_path / 'out' / 'detections.mcap').exists()


def test_a_signal_at_the_very_end_interrupts(
    tmp_path: Path, bag: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the result is formed: both processes are stopped, and no result is returned."""
    stopped: list[str] = []

    class Process:
        def __init__(self, *_: object) -> None:
            self.name = 'node' if len(_) == 2 else 'player'

        def stop(self) -> None:
            stopped.append(self.name)

    class Recorder:
        def result(self, _: object) -> str:
            os.kill(os.getpid(), signal.SIGINT)
            return 'result'

    for name, replacement in {
        'TrackerProcess': Process,
        'Player': Process,
        'node_with_executor': lambda *_: contextlib.nullcontext((Recorder(), None)),
        '_wait_for_node': lambda *_: None,
        '_record': lambda *_: {},
    }.items():
        monkeypatch.setattr(replay, name, replacement)
    with pytest.raises(KeyboardInterrupt):
        replay.play_and_record(bag, Box(1, 2, 3, 4), tmp_path, [])
    assert stopped == ['player', 'node']


def running(path: Path) -> list[str]:
    """Return the ids of processes with this path in their command lines."""
    ids = []
    for file in Path('/proc').glob('[0-9]*/cmdline'):
        with contextlib.suppress(OSError):  # it has ended
            if str(path) in file.read_text():
                ids.append(file.parent.name)
    return ids
