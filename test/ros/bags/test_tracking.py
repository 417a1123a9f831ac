"""siamffn_ros/bags/tracking.py and `siamffn bag track`"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image
from siamffn.msg import TrackStatus
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from siamffn_model.cli.main import main as siamffn
from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.errors import BoxError, ConfigError, DataError
from siamffn_model.evaluation.metrics import score
from siamffn_model.imaging.geometry import Box
from siamffn_model.live.targets import Target
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.tracking import State, Track, Tracker
from siamffn_ros.bags.evaluation import evaluate
from siamffn_ros.bags.io import IMAGE_TOPIC, START, TRUTH_TOPIC, create_bag, open_bag
from siamffn_ros.bags.tracking import DETECTIONS_TOPIC, STATUS_TOPIC, TrackingSummary, track_bag
from siamffn_ros.messages.conversions import to_box, to_detection, to_stamp
from siamffn_ros.messages.images import to_image
from siamffn_ros.node.publishers import status_message

STEP = 40_000_000  # nanoseconds from image to image
DELAY = 7_000_000  # nanoseconds from stamp to record time
FEW = 6  # images of a short bag


def header(number: int) -> Header:
    return Header(stamp=to_stamp(START + number * STEP), frame_id='eye')


def write_images(path: Path, messages: Iterable[Any], topic: str = '/camera') -> Path:
    """Write messages with a header of `header(number)`, recorded a little later."""
    with create_bag(path) as bag:
        for number, message in enumerate(messages):
            bag.write(topic, message, START + number * STEP + DELAY)
    return path


def images_of(scene: Scene) -> list[Image]:
    return [to_image(image, header(n)) for n, image in enumerate(scene.images[:FEW])]


def follow(model: Runtime, images: Iterable[np.ndarray], box: Box) -> list[Track]:
    """Return the tracks of the tracker itself on these images."""
    first, *others = images
    tracker = Tracker(model)
    tracker.init(first, box)
    return [Track(box, 1.0, State.TRACKING), *map(tracker.update, others)]


def read(path: Path) -> tuple[dict[int, Detection2DArray], dict[int, TrackStatus]]:
    """Return detections and status by record time."""
    messages: dict[str, dict[int, Any]] = {DETECTIONS_TOPIC: {}, STATUS_TOPIC: {}}
    kinds = {DETECTIONS_TOPIC: Detection2DArray, STATUS_TOPIC: TrackStatus}
    with open_bag(path) as bag:
        assert set(bag.topics) == set(messages)
        for topic, stamp, data in bag.messages():
            messages[topic][stamp] = deserialize_message(data, kinds[topic])
    return messages[DETECTIONS_TOPIC], messages[STATUS_TOPIC]


def test_output_is_that_of_the_tracker(tmp_path: Path, model: Runtime, clip: Scene) -> None:
    """Box, score and state of every image, in the messages of the node."""
    source = write_images(tmp_path / 'in.mcap', images_of(clip))
    result = track_bag(model, source, tmp_path / 'out.mcap', clip.boxes[0])
    detections, statuses = read(tmp_path / 'out.mcap')
    assert list(detections) == list(statuses)
    assert list(detections) == [START + number * STEP + DELAY for number in range(FEW)]
    expected = follow(model, clip.images[:FEW], clip.boxes[0])
    assert result == TrackingSummary(FEW, lost=0, bad=0, first_bad='')
    for number, (track, array, status) in enumerate(
        zip(expected, detections.values(), statuses.values(), strict=True)
    ):
        head = header(number)
        detection = to_detection('1', track.box, track.score, head)
        assert array == Detection2DArray(header=head, detections=[detection])
        target = Target('1', Tracker(model), number, track, head, processed=number + 1)
        assert status == status_message(target.status())


def test_lost_target_has_no_detection(tmp_path: Path, model: Runtime, clip: Scene) -> None:
    """The target is lost in grey images, and detected again afterwards."""
    images = [*clip.images[:2], *[np.full_like(clip.images[0], 90)] * 3, clip.images[2]]
    messages = [to_image(image, header(n)) for n, image in enumerate(images)]
    source = write_images(tmp_path / 'in.mcap', messages)
    result = track_bag(model, source, tmp_path / 'out.mcap', clip.boxes[0])
    expected = [track.state for track in follow(model, images, clip.boxes[0])]
    detections, statuses = read(tmp_path / 'out.mcap')
    assert [State(status.state) for status in statuses.values()] == expected
    lost = [state == State.LOST for state in expected]
    assert [not array.detections for array in detections.values()] == lost
    assert lost == [False, False, True, True, True, False] and result.lost == 3


def test_tracking_twice_gives_the_same_bytes(tmp_path: Path, model: Runtime, clip: Scene) -> None:
    """The messages have no processing times and no uninitialised alignment bytes."""
    source = write_images(tmp_path / 'in.mcap', images_of(clip))
    outputs = []
    for name in ('a.mcap', 'b.mcap'):
        track_bag(model, source, tmp_path / name, clip.boxes[0])
        with open_bag(tmp_path / name) as reader:
            outputs.append(list(reader.messages()))
    assert outputs[0] == outputs[1] and len(outputs[0]) == 2 * FEW


def test_starts_from_ground_truth(tmp_path: Path, model: Runtime, bag: Path, clip: Scene) -> None:
    """The output is evaluated against the input bag."""
    assert track_bag(model, bag, tmp_path / 'out.mcap').images == 30
    with open_bag(bag) as reader:
        truth = [to_box(array.detections[0].bbox) for _, array in reader.read(TRUTH_TOPIC)]
    boxes = [track.box for track in follow(model, clip.images, truth[0])]
    result = evaluate(tmp_path / 'out.mcap', bag)
    expected = score(truth, boxes)
    assert (result.success, result.precision, result.norm_precision) == pytest.approx(expected)
    assert result.success > 0.6
    assert (result.frames, result.missing, result.lost, result.before) == (30, 0, 0, 0)
    assert result.latency == (0, 0, 0), 'recorded at the time of its image'


@pytest.mark.parametrize('case', ['none', 'other stamp', 'empty', 'two', 'other type'])
def test_box_that_must_be_given(tmp_path: Path, model: Runtime, clip: Scene, case: str) -> None:
    boxes = {'empty': [], 'two': clip.boxes[:2]}.get(case, clip.boxes[:1])
    head = header(1 if case == 'other stamp' else 0)
    detections = [to_detection(str(n), box, 1.0, head) for n, box in enumerate(boxes)]
    truth: Any = Detection2DArray(header=head, detections=detections)
    with create_bag(tmp_path / 'in.mcap') as bag:
        bag.write(IMAGE_TOPIC, to_image(clip.images[0], header(0)), START)
        if case != 'none':
            bag.write(TRUTH_TOPIC, head if case == 'other type' else truth, START)
    error = r'in.mcap: /ground_truth has not exactly one box .*stamp 1.000 s.*: give .* --init'
    with pytest.raises(DataError, match=error):
        track_bag(model, tmp_path / 'in.mcap', tmp_path / 'out.mcap')
    assert [file.name for file in tmp_path.iterdir()] == ['in.mcap']


def test_bad_images_are_skipped(tmp_path: Path, model: Runtime, clip: Scene) -> None:
    """The first image too: the box is then that of the first good one."""
    messages = images_of(clip)
    messages[0].encoding = 'nonsense'
    messages[3].data = messages[3].data[:-1]
    source = write_images(tmp_path / 'in.mcap', messages)
    result = track_bag(model, source, tmp_path / 'out.mcap', clip.boxes[1])
    assert (result.images, result.lost, result.bad) == (FEW - 2, 0, 2)
    assert result.first_bad.startswith("image 1 on /camera: image encoding 'nonsense' is not")
    detections, statuses = read(tmp_path / 'out.mcap')
    good = [1, 2, 4, 5]
    assert [array.header for array in detections.values()] == [header(n) for n in good]
    assert [status.frames_processed for status in statuses.values()] == [1, 2, 3, 4]
    expected = follow(model, [clip.images[n] for n in good], clip.boxes[1])
    for array, track in zip(detections.values(), expected, strict=True):
        assert to_box(array.detections[0].bbox) == pytest.approx(track.box)


def test_bag_without_a_good_image_is_refused(tmp_path: Path, model: Runtime, clip: Scene) -> None:
    messages = images_of(clip)
    for message in messages:
        message.step = 7
    source = write_images(tmp_path / 'in.mcap', messages)
    with pytest.raises(DataError, match=r'in.mcap: no image on /camera can be used; image 1 .* 7'):
        track_bag(model, source, tmp_path / 'out.mcap', clip.boxes[0])
    assert [file.name for file in tmp_path.iterdir()] == ['in.mcap']


def test_compressed_images(tmp_path: Path, model: Runtime, clip: Scene) -> None:
    """PNG loses nothing; one image is damaged, one is empty."""
    messages = []
    for number, image in enumerate(clip.images[:FEW]):
        data = cv2.imencode('.png', image)[1].tobytes()
        data = {2: data[:50], 3: b''}.get(number, data)
        messages.append(CompressedImage(header=header(number), format='bgr8; png', data=data))
    source = write_images(tmp_path / 'in.mcap', messages)
    result = track_bag(model, source, tmp_path / 'out.mcap', clip.boxes[0])
    assert (result.images, result.bad) == (4, 2)
    assert "image 3 on /camera: 50 bytes of format 'bgr8; png'" in result.first_bad
    expected = follow(model, [clip.images[n] for n in (0, 1, 4, 5)], clip.boxes[0])
    detections, _ = read(tmp_path / 'out.mcap')
    for array, track in zip(detections.values(), expected, strict=True):
        assert to_box(array.detections[0].bbox) == pytest.approx(track.box)


def test_box_outside_is_refused(tmp_path: Path, model: Runtime, bag: Path) -> None:
    with pytest.raises(BoxError, match='lies outside the 320x240 image'):
        track_bag(model, bag, tmp_path / 'out.mcap', Box(400, 10, 20, 20))
    assert list(tmp_path.iterdir()) == []


def test_topic_is_chosen(tmp_path: Path, model: Runtime, clip: Scene) -> None:
    with create_bag(tmp_path / 'in.mcap') as bag:
        for topic, scene in (('/left', clip), ('/right', render_scene(1, size=(100, 80)))):
            bag.write(topic, to_image(scene.images[0], header(0)), START)
    box = Box(80, 60, 10, 10)
    for topic, error in ((None, 'several topics'), ('/up', 'no topic /up')):
        with pytest.raises(
            ConfigError, match=rf'{error} .* give --topic with one of /left, /right$'
        ):
            track_bag(model, tmp_path / 'in.mcap', tmp_path / 'out.mcap', box, topic)
    result = track_bag(model, tmp_path / 'in.mcap', tmp_path / 'out.mcap', box, '/right')
    assert result.images == 1


def test_truncated_bag_is_refused(tmp_path: Path, model: Runtime, bag: Path) -> None:
    content = bag.read_bytes()
    (tmp_path / 'in.mcap').write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r'in.mcap is truncated or not a bag'):
        track_bag(model, tmp_path / 'in.mcap', tmp_path / 'out.mcap', Box(1, 2, 30, 40))
    assert [file.name for file in tmp_path.iterdir()] == ['in.mcap']


def test_bag_is_not_overwritten(tmp_path: Path, model: Runtime, bag: Path) -> None:
    """Not even by itself."""
    before = bag.read_bytes()
    with pytest.raises(DataError, match='already exists'):
        track_bag(model, bag, bag)
    assert bag.read_bytes() == before


# --- the command


def test_track_then_evaluate(tmp_path: Path, weights: Path, clip: Scene) -> None:
    """Both commands, one after the other; one image is bad."""
    messages = images_of(clip)
    messages[2].encoding = 'nonsense'
    with create_bag(tmp_path / 'in.mcap') as bag:
        for number, (message, box) in enumerate(zip(messages, clip.boxes)):
            head, stamp = message.header, START + number * STEP
            bag.write(IMAGE_TOPIC, message, stamp)
            truth = Detection2DArray(header=head, detections=[to_detection('1', box, 1.0, head)])
            bag.write(TRUTH_TOPIC, truth, stamp)
    source, output = str(tmp_path / 'in.mcap'), str(tmp_path / 'out.mcap')
    x, y, w, h = clip.boxes[0]
    options = ['--init', f'{x},{y},{w},{h}', '--weights', str(weights), '--device', 'cpu']
    result = CliRunner().invoke(siamffn, ['bag', 'track', source, *options, '-o', output])
    assert result.exit_code == 0, result.output
    assert f'{output}: 5 images, target lost in 0' in result.output
    assert f"1 skipped, the first: image 3 on {IMAGE_TOPIC}: image encoding 'no" in result.output
    scores = str(tmp_path / 'scores.json')
    words = ['bag', 'evaluate', output, '--truth', source, '--json', scores]
    result = CliRunner().invoke(siamffn, words)
    assert result.exit_code == 0, result.output
    summary = json.loads(Path(scores).read_text())
    assert (summary['frames'], summary['missing'], summary['lost']) == (6, 1, 0)
    assert summary['precision'] == pytest.approx(5 / 6, abs=1e-4)


@pytest.mark.parametrize(
    ('options', 'error'),
    [
        (['--init', '1,2,3'], "'1,2,3' is not a box"),
        (['--model', 'nonsense'], 'nonsense'),
    ],
)
def test_wrong_options_are_refused(
    tmp_path: Path, bag: Path, options: list[str], error: str
) -> None:
    words = ['bag', 'track', str(bag), '-o', str(tmp_path / 'out.mcap'), *options]
    result = CliRunner().invoke(siamffn, words)
    assert result.exit_code == 2 and error in result.output
    assert list(tmp_path.iterdir()) == []
