"""siamffn_ros/bags/io.py"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from click.testing import CliRunner
from rclpy.serialization import deserialize_message
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Ros2Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import Image
from siamffn.msg import TrackStatus
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from siamffn_model.cli.main import main as siamffn
from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import DataError, DependencyError
from siamffn_model.imaging.frames import Frame, Frames
from siamffn_ros.bags.io import (
    IMAGE_TOPIC,
    START,
    TRUTH_TOPIC,
    create_bag,
    create_from,
    message_class,
    open_bag,
)
from siamffn_ros.messages.conversions import to_box, to_nanoseconds, to_stamp
from siamffn_ros.messages.images import to_bgr, to_image


def messages(bag: Path, topic: str, kind: Any) -> dict[int, Any]:
    """Return the messages of a topic by record time."""
    with open_bag(bag) as reader:
        return {
            stamp: deserialize_message(data, kind)
            for name, stamp, data in reader.messages()
            if name == topic
        }


def test_images_and_truth_match_the_source(bag: Path, clip: Scene) -> None:
    assert bag.is_file(), 'one file, as `ros2 bag play x.mcap` takes it'
    images = messages(bag, IMAGE_TOPIC, Image)
    truth = messages(bag, TRUTH_TOPIC, Detection2DArray)
    assert list(images) == list(truth)
    stamps = [START + round(n * 1e9 / 30) for n in range(len(clip.images))]
    assert list(images) == stamps
    for stamp, image, box in zip(stamps, clip.images, clip.boxes):
        np.testing.assert_array_equal(to_bgr(images[stamp]), image)
        assert to_nanoseconds(images[stamp].header.stamp) == stamp
        assert images[stamp].header == truth[stamp].header
        (detection,) = truth[stamp].detections
        assert tuple(to_box(detection.bbox)) == pytest.approx(tuple(box), abs=1e-3)


def test_other_readers_find_the_types_in_the_file(bag: Path) -> None:
    """The definitions in the file are enough to read it, without ROS."""
    from rosbags.highlevel import AnyReader

    with AnyReader([bag]) as reader:
        connection = next(c for c in reader.connections if c.topic == TRUTH_TOPIC)
        _, _, data = next(reader.messages([connection]))
        message: Any = reader.deserialize(data, connection.msgtype)
    assert message.detections[0].bbox.size_x > 0 and message.detections[0].id == '1'


def test_custom_messages_round_trip(tmp_path: Path) -> None:
    status = TrackStatus(header=Header(stamp=to_stamp(9)), target_id='car', state=2, score=0.5)
    with create_bag(tmp_path / 'x.mcap') as bag:
        bag.write('/status', status, 77)
    assert messages(tmp_path / 'x.mcap', '/status', TrackStatus) == {77: status}
    assert [file.name for file in tmp_path.iterdir()] == ['x.mcap'], 'nothing temporary is left'


def test_definitions_have_the_hash_of_the_installed_types(bag: Path) -> None:
    """DDS participants compare this hash before they exchange messages."""
    from siamffn_ros.bags.io import _register_types

    types = get_typestore(Stores.ROS2_KILTED)
    for name in ('vision_msgs/msg/Detection2DArray', 'siamffn/msg/TrackStatus'):
        _register_types(types, name)
        assert types.hash_rihs01(name) == installed_hash(name)


def installed_hash(name: str) -> str:
    """Return the type hash that a publisher of this type announces."""
    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        node = rclpy.create_node('announcer', context=context)
        node.create_publisher(message_class(name), 'announced', 1)
        (info,) = node.get_publishers_info_by_topic('/announced')
        node.destroy_node()
    finally:
        rclpy.shutdown(context=context)
    return f'RIHS01_{bytes(info.topic_type_hash.value).hex()}'


@pytest.mark.parametrize(
    ('source', 'output', 'error'),
    [
        ('sequence', 'x.bag', 'end the name in .mcap'),
        ('sequence', 'there.mcap', 'already exists'),
        ('empty', 'x.mcap', 'no images'),
        ('absent', 'x.mcap', 'no such file'),
        ('corrupt', 'x.mcap', 'corrupt/0000.png'),
    ],
)
def test_create_reports_what_is_wrong(
    tmp_path: Path, sequence: Path, source: str, output: str, error: str
) -> None:
    (tmp_path / 'there.mcap').write_text('precious')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'corrupt').mkdir()
    good = (sequence / 'img' / '0000.png').read_bytes()
    (tmp_path / 'corrupt' / '0000.png').write_bytes(good[:200])
    (tmp_path / 'corrupt' / '0001.png').write_bytes(good)
    path = sequence if source == 'sequence' else tmp_path / source
    before = sorted(tmp_path.rglob('*'))
    result = CliRunner().invoke(siamffn, ['bag', 'create', str(path), '-o', str(tmp_path / output)])
    assert result.exit_code == 2 and error in result.output
    assert sorted(tmp_path.rglob('*')) == before
    assert (tmp_path / 'there.mcap').read_text() == 'precious'


def test_damaged_images_are_left_out_with_a_warning(tmp_path: Path, sequence: Path) -> None:
    good = (sequence / 'img' / '0000.png').read_bytes()
    for number in range(3):
        data = good[:200] if number == 1 else good
        (tmp_path / f'{number}.png').write_bytes(data)
    output = tmp_path / 'x.mcap'
    result = CliRunner().invoke(siamffn, ['bag', 'create', str(tmp_path), '-o', str(output)])
    assert result.exit_code == 0
    assert '2 images on /image' in result.stdout
    assert 'warning: 2 of 3 frames, 1 unreadable; the first: ' in result.stderr
    assert list(messages(output, IMAGE_TOPIC, Image)) == [START, START + 66_666_667]


@pytest.fixture
def small_files() -> Iterator[None]:
    """Limit files to 2 MB, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_is_reported(tmp_path: Path, clip: Scene, small_files: None) -> None:
    with (
        pytest.raises(DataError, match=r'cannot write .*x\.mcap'),
        create_bag(tmp_path / 'x.mcap') as bag,
    ):
        for number, image in enumerate(clip.images):
            bag.write('/image', to_image(image, Header()), number)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('case', 'message'),
    [
        ('cut', r'killed .* `mcap recover \S+x.mcap -o recovered.mcap`'),
        ('ros1', r'of ROS 1; convert it with `rosbags-convert --src \S+x.bag --dst x`'),
        ('no metadata', r'has no metadata.yaml: create it with `ros2 bag reindex \S+x`, or give'),
        ('absent', r'does not exist'),
    ],
)
def test_the_tool_that_repairs_a_bag_is_named(
    tmp_path: Path, bag: Path, case: str, message: str
) -> None:
    path = tmp_path / {'cut': 'x.mcap', 'ros1': 'x.bag'}.get(case, 'x')
    if case == 'cut':
        path.write_bytes(bag.read_bytes()[:-1000])
    elif case == 'ros1':
        with Ros1Writer(path) as writer:
            types = get_typestore(Stores.ROS1_NOETIC)
            writer.add_connection('/topic', 'std_msgs/msg/String', typestore=types)
    elif case == 'no metadata':
        with Ros2Writer(path, version=9, storage_plugin=StoragePlugin.SQLITE3):
            pass
        (path / 'metadata.yaml').unlink()
    with pytest.raises(DataError, match=message), open_bag(path):
        pass
    if case == 'no metadata':
        with open_bag(path / 'x.db3') as reader:
            assert reader.count == 0


def test_stamps_are_those_of_the_video(tmp_path: Path, clip: Scene) -> None:
    """A video with a variable frame rate and a damaged frame."""
    times = [0.0, 0.04, 0.045, 0.16, 0.2, 0.45]
    frames = FakeFrames(clip, times)
    assert create_from(frames, tmp_path / 'x.mcap') == 5
    images = messages(tmp_path / 'x.mcap', IMAGE_TOPIC, Image)
    assert list(images) == [START + round(time * 1e9) for time in times if time != 0.16]
    truth = messages(tmp_path / 'x.mcap', TRUTH_TOPIC, Detection2DArray)
    found = [to_box(array.detections[0].bbox).x for array in truth.values()]
    assert found == pytest.approx([clip.boxes[n].x for n in (0, 1, 2, 4, 5)], abs=1e-3)


class FakeFrames(Frames):
    """Images of a clip at given times; the one at 0.16 s is unreadable."""

    fps, size = 25.0, (320, 240)

    def __init__(self, clip: Scene, times: list[float]) -> None:
        self.path, self.expected, self.unreadable = Path('clip'), len(times), []
        self.clip, self.times, self.groundtruth = clip, times, list(clip.boxes)

    def read(self) -> Iterator[Frame]:
        """Yield all but the unreadable one."""
        for number, time in enumerate(self.times):
            if time == 0.16:
                self.unreadable.append('clip: a frame is damaged')
            else:
                yield Frame(number, time, self.clip.images[number])


@pytest.mark.parametrize('name', ['nowhere_msgs/msg/Thing', 'std_msgs/msg/Thing', 'nonsense'])
def test_unknown_types_are_refused(name: str) -> None:
    with pytest.raises(DependencyError, match=f'{name} is not installed'):
        message_class(name)
