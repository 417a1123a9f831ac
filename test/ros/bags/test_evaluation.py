"""siamffn_ros/bags/evaluation.py and `siamffn bag evaluate`"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from siamffn_model.cli.main import main as siamffn
from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import ConfigError, DataError
from siamffn_model.evaluation.metrics import score
from siamffn_model.imaging.geometry import Box
from siamffn_ros.bags.evaluation import ARRAY, Evaluation, evaluate
from siamffn_ros.bags.io import START, TRUTH_TOPIC, _register_types, create_bag, create_from
from siamffn_ros.latency import Latency
from siamffn_ros.messages.conversions import to_detection, to_stamp

STEP = 40_000_000  # nanoseconds from frame to frame
NOW = 1_700_000_000_000_000_000
MS = 1_000_000
BOX, ASIDE, FAR = Box(10, 10, 20, 20), Box(10, 15, 20, 20), Box(200, 10, 20, 20)
RESULTS = '/tracker/detections'
Targets = Mapping[str, Box]


def array(number: int, targets: Targets) -> Detection2DArray:
    header = Header(stamp=to_stamp(NOW + number * STEP), frame_id='eye')
    detections = [to_detection(name, box, 0.9, header) for name, box in targets.items()]
    return Detection2DArray(header=header, detections=detections)


def write(
    path: Path, topic: str, frames: Mapping[int, Targets], delays: Iterable[float] = ()
) -> Path:
    """Write a bag of arrays by frame number; `delays` are from stamp to record time, in ms."""
    delays = list(delays) or [0.0] * len(frames)
    with create_bag(path) as bag:
        for (number, targets), delay in zip(frames.items(), delays, strict=True):
            recorded = NOW + number * STEP + round(delay * MS)
            bag.write(topic, array(number, targets), recorded)
    return path


def compare(
    folder: Path, truth: Mapping[int, Targets], results: Mapping[int, Targets], **options: str
) -> Evaluation:
    reference = write(folder / 'truth.mcap', TRUTH_TOPIC, truth)
    return evaluate(write(folder / 'results.mcap', RESULTS, results), reference, **options)


def one(*boxes: Box | None, first: int = 0) -> dict[int, Targets]:
    """Frames of a target '1'."""
    return {n: {} if box is None else {'1': box} for n, box in enumerate(boxes, first)}


# --- scores


def test_perfect_detections(tmp_path: Path, bag: Path, clip: Scene) -> None:
    """The truth in a bag of `siamffn bag create`, with images and stamps from 1 s on."""
    header = [Header(stamp=to_stamp(START + round(n * 1e9 / 30))) for n in range(len(clip.boxes))]
    with create_bag(tmp_path / 'results.mcap') as results:
        for number, (head, box) in enumerate(zip(header, clip.boxes, strict=True)):
            detections = [to_detection('car', box, 1.0, head)]
            message = Detection2DArray(header=head, detections=detections)
            results.write(RESULTS, message, NOW + number)
    result = evaluate(tmp_path / 'results.mcap', bag)
    assert result.success == pytest.approx(20 / 21), 'no overlap is above 1'
    assert result == Evaluation(result.success, 1, 1, 30, 0, 0, 0, None)


def test_agrees_with_the_benchmarks(tmp_path: Path, clip: Scene) -> None:
    """The scores of random boxes are those of `score`; the first box is the initial one."""
    rng = np.random.default_rng(0)
    boxes = [Box(*box) for box in np.array(clip.boxes) + rng.normal(0, 6, (30, 4))]
    boxes[0] = clip.boxes[0]
    result = compare(tmp_path, one(*clip.boxes), one(*boxes))
    assert (result.success, result.precision, result.norm_precision) == pytest.approx(
        score(clip.boxes, boxes)
    )
    assert 0.3 < result.success < 0.9 and result.frames == 30


def test_frames_without_message_or_detection_fail(tmp_path: Path) -> None:
    """Overlaps 1, 0.6, 0, 0, 0.6: three are above 12 thresholds, one is above 8 more, of five.

    By the benchmarks' own rule `score` would have repeated the box before.
    """
    results = {0: {'1': BOX}, 1: {'1': ASIDE}, 2: {}, 4: {'1': ASIDE}}
    result = compare(tmp_path, one(*[BOX] * 5), results)
    assert result.success == pytest.approx((12 * 3 + 8 * 1) / 21 / 5)
    assert (result.precision, result.norm_precision) == (0.6, 0.2), '5 of 20 pixels are 0.25'
    assert (result.frames, result.missing, result.lost, result.before) == (5, 1, 1, 0)


def test_recording_that_ends_early_fails_to_the_end(tmp_path: Path) -> None:
    result = compare(tmp_path, one(*[BOX] * 10), one(*[BOX] * 5))
    assert result.success == pytest.approx(20 / 21 / 2)
    assert (result.precision, result.missing, result.lost) == (0.5, 5, 0)


def test_absent_target_counts_as_in_the_benchmarks(tmp_path: Path) -> None:
    """A failure in success, a hit in precision, whether or not the tracker knew.

    The last box, at the image's edge, is there: overlap 1/3, half its width aside.
    """
    truth = one(BOX, None, None, BOX, Box(0, 10, 20, 20))
    result = compare(tmp_path, truth, one(BOX, None, BOX, BOX, BOX))
    assert result.success == pytest.approx((20 * 2 + 7) / 21 / 5)
    assert (result.precision, result.norm_precision) == (1, 0.8)
    assert (result.frames, result.missing, result.lost) == (5, 0, 1)


def test_starts_with_the_first_detection(tmp_path: Path) -> None:
    """Frames 0 to 2 are before the tracker is initialised, so they are ignored."""
    results = {1: {}, 2: {}, **one(BOX, BOX, first=3)}
    result = compare(tmp_path, one(*[BOX] * 5), results)
    assert (result.success, result.precision) == (pytest.approx(20 / 21), 1)
    assert (result.frames, result.missing, result.lost, result.before) == (2, 0, 0, 3)


def test_starts_when_the_target_is_there(tmp_path: Path) -> None:
    """The detections begin earlier than the truth, and where they begin there is no truth."""
    result = compare(tmp_path, one(None, None, BOX, BOX, first=3), one(*[BOX] * 7))
    assert (result.frames, result.before, result.missing) == (2, 2, 0)
    assert result.success == pytest.approx(20 / 21)


def test_first_frames_detection_may_be_missing(tmp_path: Path) -> None:
    """The tracker had its target before: a frame of which nothing came is a failure."""
    truth = one(BOX, BOX, BOX, first=2)
    result = compare(tmp_path, truth, {1: {'1': BOX}, 4: {'1': BOX}})
    assert (result.frames, result.missing, result.precision) == (3, 2, pytest.approx(1 / 3))


def test_order_of_recording_does_not_matter(tmp_path: Path) -> None:
    """Messages may be recorded in another order than their stamps'."""
    frames = one(BOX, ASIDE, FAR)
    shuffled = write(tmp_path / 'x.mcap', RESULTS, frames, [200, 100, 0])
    reference = write(tmp_path / 'truth.mcap', TRUTH_TOPIC, one(BOX, BOX, FAR))
    result = evaluate(shuffled, reference)
    assert result.success == pytest.approx((12 * 3 + 8 * 2) / 21 / 3)
    assert result.latency == (100, 190, 200)


# --- messages and targets


def test_single_detections(tmp_path: Path) -> None:
    """Detection2D of several targets; without message where a target is lost."""
    with create_bag(tmp_path / 'results.mcap') as bag:
        for number, targets in enumerate([{'a': FAR, 'b': BOX}, {'a': FAR}, {'b': ASIDE}]):
            for detection in array(number, targets).detections:
                bag.write('/detection', detection, NOW + number * STEP)
    reference = write(tmp_path / 'truth.mcap', TRUTH_TOPIC, one(BOX, BOX, BOX, BOX))
    result = evaluate(tmp_path / 'results.mcap', reference, target='b')
    assert (result.precision, result.frames) == (0.5, 4)
    assert (result.missing, result.lost) == (1, 1), 'a message of another target is one without b'


def test_class_replaces_a_missing_id(tmp_path: Path) -> None:
    """Only where there is no id."""
    message = array(0, {'': BOX, 'x': FAR})
    for detection in message.detections:
        detection.results[0].hypothesis.class_id = 'car'
    with create_bag(tmp_path / 'results.mcap') as bag:
        bag.write(RESULTS, message, NOW)
    reference = write(tmp_path / 'truth.mcap', TRUTH_TOPIC, one(BOX))
    assert evaluate(tmp_path / 'results.mcap', reference, target='car').precision == 1
    assert evaluate(tmp_path / 'results.mcap', reference, target='x').precision == 0


def test_target_is_chosen_in_both(tmp_path: Path) -> None:
    truth = {0: {'a': BOX, 'b': FAR}, 1: {'b': FAR}}
    results = {0: {'b': FAR, 'c': BOX}, 1: {'b': FAR, 'c': BOX}}
    assert compare(tmp_path, truth, results, target='b').precision == 1


@pytest.mark.parametrize(
    ('truth', 'results', 'options', 'kind', 'message'),
    [
        (
            '1',
            'ab',
            {},
            ConfigError,
            r"results.mcap: several targets on .*detections: give --target .* 'a', 'b'$",
        ),
        ('1', 'ab', {'target': 'c'}, ConfigError, r"results.mcap: no target 'c' on .* 'a', 'b'$"),
        ('ab', '1', {}, ConfigError, r"truth.mcap: no target '1' on /ground_truth: .* 'a', 'b'$"),
        (
            '1',
            '',
            {},
            DataError,
            r'results.mcap: no detection on /tracker/detections: was a target given to',
        ),
        ('', '1', {}, DataError, r'truth.mcap: no detection on /ground_truth'),
    ],
)
def test_target_that_must_be_named(
    tmp_path: Path,
    truth: str,
    results: str,
    options: dict[str, str],
    kind: type[Exception],
    message: str,
) -> None:
    reference, seen = ({0: dict.fromkeys(names, BOX)} for names in (truth, results))
    with pytest.raises(kind, match=message):
        compare(tmp_path, reference, seen, **options)


def test_two_boxes_of_a_target_are_refused(tmp_path: Path) -> None:
    """As of a bag that was played twice."""
    truth = write(tmp_path / 'truth.mcap', TRUTH_TOPIC, one(BOX, BOX))
    with create_bag(tmp_path / 'results.mcap') as bag:
        for number in (0, 1, 0, 1):
            bag.write(RESULTS, array(number, {'1': BOX}), NOW)
    with pytest.raises(DataError, match=r"results.mcap: two boxes of '1' .* 1700000000.000 s"):
        evaluate(tmp_path / 'results.mcap', truth)


def test_rotated_box_is_refused(tmp_path: Path) -> None:
    message = array(1, {'1': BOX})
    message.detections[0].bbox.center.theta = 0.5
    with create_bag(tmp_path / 'results.mcap') as bag:
        bag.write(RESULTS, message, NOW)
    truth = write(tmp_path / 'truth.mcap', TRUTH_TOPIC, one(BOX, BOX))
    with pytest.raises(
        DataError, match=r'results.mcap: .* 1700000000.040 s: box is rotated by 0.5'
    ):
        evaluate(tmp_path / 'results.mcap', truth)


# --- stamps


def test_bags_without_common_stamps_are_refused(tmp_path: Path) -> None:
    message = (
        r'results.mcap \(from 1700000000.000 s\) and .*truth.mcap \(from 1700000004.000 s\) have no'
    )
    with pytest.raises(DataError, match=message):
        compare(tmp_path, one(BOX, BOX, first=100), one(BOX, BOX))


def test_truth_that_ends_before_the_detections_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'truth.mcap: no ground truth after the first detection'):
        compare(tmp_path, one(BOX, BOX), one(None, None, BOX))


def test_latency(tmp_path: Path) -> None:
    """Of the messages from the first detection on: 1 to 101 ms."""
    boxes = [None, None, *[BOX] * 101]
    delays = [900, 900, *range(1, 102)]
    results = write(tmp_path / 'results.mcap', RESULTS, one(*boxes), delays)
    truth = write(tmp_path / 'truth.mcap', TRUTH_TOPIC, one(*[BOX] * 103))
    result = evaluate(results, truth)
    assert result.latency == Latency(median=51, p95=96, max=101)
    assert 'median 51.0 ms, p95 96.0 ms, max 101.0 ms' in result.table()


@pytest.mark.parametrize('delay', [-1, 3_600_001])
def test_no_latency_of_another_clock(tmp_path: Path, delay: int) -> None:
    results = write(tmp_path / 'results.mcap', RESULTS, one(BOX, BOX, BOX), [5, delay, 5])
    result = evaluate(results, write(tmp_path / 'truth.mcap', TRUTH_TOPIC, one(*[BOX] * 3)))
    assert result.latency is None and result.success == pytest.approx(20 / 21)
    assert 'unknown: stamps and record times are from different clocks' in result.table()


# --- topics


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """A bag with images' place-holder, truth, and detections of two trackers."""
    with create_bag(tmp_path / 'both.mcap') as bag:
        bag.write('/other', Header(), NOW)
        for number in range(2):
            for topic, box in ((TRUTH_TOPIC, BOX), ('/good', BOX), ('/bad', FAR)):
                bag.write(topic, array(number, {'1': box}), NOW + number * STEP)
    return tmp_path / 'both.mcap'


def test_topics_are_chosen_in_one_bag(both: Path) -> None:
    precision = {
        topic: evaluate(both, both, topic, TRUTH_TOPIC).precision for topic in ('/good', '/bad')
    }
    assert precision == {'/good': 1, '/bad': 0}


@pytest.mark.parametrize(
    ('topics', 'message'),
    [
        ((None, None), r'several topics of .*: give --topic with one of /bad, /good, /ground_t'),
        (('/good', None), r'several topics of .*: give --truth-topic with one of /bad, /good, /g'),
        (('/other', None), r'both.mcap has no topic /other of type vision_msgs.*give --topic'),
        (('/good', '/bed'), r'both.mcap has no topic /bed of type .*: give --truth-topic'),
        (('/good', '/good'), r'/good would be compared with itself'),
    ],
)
def test_topic_that_must_be_named(
    both: Path, topics: tuple[str | None, str | None], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate(both, both, *topics)


def test_only_topic_is_not_compared_with_itself(tmp_path: Path) -> None:
    truth = write(tmp_path / 'truth.mcap', TRUTH_TOPIC, one(BOX))
    with pytest.raises(ConfigError, match='would be compared with itself: give the topic'):
        evaluate(truth, truth)


def test_bag_without_detections_is_refused(tmp_path: Path, sequence: Path) -> None:
    from siamffn_model.imaging.sources import open_frames

    create_from(open_frames(sequence / 'img'), tmp_path / 'images.mcap')
    truth = write(tmp_path / 'truth.mcap', TRUTH_TOPIC, one(BOX))
    message = r'images.mcap has no topic of type .*Detection2DArray or .* \(its topics: /image\)'
    with pytest.raises(DataError, match=message):
        evaluate(tmp_path / 'images.mcap', truth)


def test_messages_of_another_version_are_refused(tmp_path: Path) -> None:
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    types, path = get_typestore(Stores.ROS2_KILTED), tmp_path / 'old'
    _register_types(types, ARRAY)
    with Writer(path, version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(RESULTS, ARRAY, typestore=types)
        writer.write(connection, NOW, bytes([0, 1, 0, 0, 9]))
    truth = write(tmp_path / 'truth.mcap', TRUTH_TOPIC, one(BOX))
    with pytest.raises(
        DataError, match=f'old: a message on {RESULTS} does not match the installed .* of {ARRAY}'
    ):
        evaluate(path, truth)


# --- the command


def test_command(tmp_path: Path) -> None:
    results = write(tmp_path / 'results.mcap', RESULTS, one(BOX, None, ASIDE, first=1), [3, 4, 5])
    truth = write(tmp_path / 'truth.mcap', TRUTH_TOPIC, one(*[BOX] * 5))
    words = [str(results), '--truth', str(truth), '--json', str(tmp_path / 'new/scores.json')]
    result = CliRunner().invoke(siamffn, ['bag', 'evaluate', *words])
    assert result.exit_code == 0, result.output
    scores = [line.split()[-1] for line in result.output.splitlines()[:3]]
    assert scores == ['0.381', '0.500', '0.250']
    assert '4 (1 more before the first detection are ignored)' in result.output
    assert json.loads((tmp_path / 'new/scores.json').read_text()) == {
        'success': 0.381,
        'precision': 0.5,
        'norm_precision': 0.25,
        'frames': 4,
        'missing': 1,
        'lost': 1,
        'before': 1,
        'latency_ms': {'median': 4.0, 'p95': 4.9, 'max': 5.0},
    }


def test_truncated_bag_is_refused(tmp_path: Path) -> None:
    """And no JSON is left of it."""
    frames = one(*[BOX] * 50)
    results = write(tmp_path / 'results.mcap', RESULTS, frames)
    truth = write(tmp_path / 'truth.mcap', TRUTH_TOPIC, frames)
    truth.write_bytes(truth.read_bytes()[: truth.stat().st_size // 2])
    words = [str(results), '--truth', str(truth), '--json', str(tmp_path / 'scores.json')]
    result = CliRunner().invoke(siamffn, ['bag', 'evaluate', *words])
    assert result.exit_code == 2 and 'truth.mcap is truncated or not a bag' in result.output
    assert not (tmp_path / 'scores.json').exists()
