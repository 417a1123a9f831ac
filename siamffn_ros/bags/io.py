"""Read and write rosbag2 files.

A bag that is written is one MCAP file. ROS serialises the messages; `rosbags` only reads and writes
the files, so rosbag2 need not be installed.
"""

from __future__ import annotations

import errno
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, ReaderError, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore
from std_msgs.msg import Header
from tqdm import tqdm
from vision_msgs.msg import Detection2DArray

from siamffn_model.errors import ConfigError, DataError, DependencyError
from siamffn_model.imaging.frames import Frames
from siamffn_model.imaging.geometry import Box
from siamffn_ros.messages.conversions import to_detection, to_stamp
from siamffn_ros.messages.images import to_image

IMAGE_TOPIC = '/image'
TRUTH_TOPIC = '/ground_truth'
MCAP_START = b'\x89MCAP0\r\n'
ROS1_START = b'#ROSBAG '
FIELD_TYPE = re.compile(r'^(\w+)/(?:msg/)?(\w+)', re.M)  # of another package, in a .msg file
START = 1_000_000_000  # stamp of a bag's first image in nanoseconds; 0 would mean "no stamp"


class BagWriter:
    """A bag that is being written; created by `create_bag`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._types = get_typestore(Stores.ROS2_KILTED)
        self._connections: dict[str, Connection] = {}

    def write(self, topic: str, message: Any, stamp: int) -> None:
        """Append a message; `stamp` is its record time in nanoseconds.

        Equal messages are written as equal bytes.
        """
        type_name = _type_name(type(message))
        if topic not in self._connections:
            _register_types(self._types, type_name)
            self._connections[topic] = self._writer.add_connection(
                topic, type_name, typestore=self._types
            )
        # ROS leaves the alignment bytes between fields uninitialised; rosbags sets them to zero.
        fields = self._types.deserialize_cdr(serialize_message(message), type_name)
        data = self._types.serialize_cdr(fields, type_name)
        self._writer.write(self._connections[topic], stamp, data)


@contextmanager
def create_bag(path: Path) -> Iterator[BagWriter]:
    """Create a bag (one .mcap file), which appears at `path` when the `with` block ends normally.

    Raises `ConfigError` if the name does not end in .mcap, and `DataError` if the file exists or
    cannot be written.
    """
    if path.suffix != '.mcap':
        raise ConfigError(f'{path} does not have the name of a bag: end the name in .mcap')
    if path.exists():
        raise DataError(f'{path} already exists: remove it or choose another name')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix='.bag-') as folder:
            # rosbags writes a folder STEM that contains STEM.mcap, which alone is a complete bag
            bag = Path(folder) / path.stem
            with Writer(bag, version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP) as w:
                yield BagWriter(w)
            (bag / path.name).replace(path)
    except OSError as error:
        remedy = 'free some space' if error.errno == errno.ENOSPC else 'check the folder'
        raise DataError(f'cannot write {path} ({error.strerror or error}): {remedy}') from error


class BagReader:
    """A bag that is being read; created by `open_bag`.

    Attributes:
        count: number of messages.
        topics: type of each topic, such as 'sensor_msgs/msg/Image'.
        counts: number of messages of each topic.
    """

    def __init__(self, path: Path, reader: Reader) -> None:
        self._path = path
        self._reader = reader
        self.count = reader.message_count
        self.topics = {c.topic: c.msgtype for c in reader.connections}
        self.counts: Counter[str] = Counter()
        for connection in reader.connections:
            self.counts[connection.topic] += connection.msgcount

    def choose_topic(self, types: Collection[str], topic: str | None, option: str) -> str:
        """Return `topic` if it has one of these types; if it is None, the only such topic.

        Raises `DataError` if the bag has no topic of these types, and `ConfigError` with the
        topics and the option that selects one if `topic` is not among them or has to be given.
        """
        matching = sorted(name for name, kind in self.topics.items() if kind in types)
        if topic in matching:
            return topic
        if topic is None and len(matching) == 1:
            return matching[0]
        type_names = ' or '.join(types)
        if not matching:
            others = ', '.join(sorted(self.topics)) or 'none'
            raise DataError(
                f'{self._path} has no topic of type {type_names} (its topics: {others}): '
                'give another bag'
            )
        problem = 'several topics' if topic is None else f'no topic {topic}'
        raise ConfigError(
            f'{self._path} has {problem} of type {type_names}: give {option} with one of '
            + ', '.join(matching)
        )

    def read(self, topic: str) -> Iterator[tuple[int, Any]]:
        """Yield (record time in nanoseconds, message) of one topic, in order of record time.

        Raises `DependencyError` if the message type is not installed, and `DataError` for a damaged
        bag or messages that were recorded with another version of the type.
        """
        type_name = self.topics[topic]
        type_class = message_class(type_name)
        for name, stamp, data in self.messages():
            if name == topic:
                try:
                    message = deserialize_message(data, type_class)
                except Exception as error:  # rclpy does not export the class of this error
                    raise DataError(
                        f'{self._path}: a message on {topic} does not match the installed version '
                        f'of {type_name}: install the version that it was recorded with'
                    ) from error
                yield stamp, message

    def messages(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield (topic, record time in nanoseconds, serialised message), in order of record time.

        Raises `DataError` for a damaged bag.
        """
        try:
            for connection, stamp, data in self._reader.messages():
                yield connection.topic, stamp, data
        except Exception as error:  # rosbags raises many types of errors for damaged files
            raise _damaged_bag(self._path, error) from error


@contextmanager
def open_bag(path: Path) -> Iterator[BagReader]:
    """Open a bag: an .mcap or .db3 file, or a rosbag2 folder.

    Raises `DataError` if it is missing or damaged, with the tool that repairs or converts it.
    """
    if not path.exists():
        raise DataError(f'{path} does not exist: give an .mcap file or a rosbag2 folder')
    if path.is_dir() and not (path / 'metadata.yaml').exists():
        raise DataError(
            f'{path} has no metadata.yaml: create it with `ros2 bag reindex {path}`, '
            'or give the .mcap or .db3 file in it'
        )
    try:
        reader = Reader(path)
        reader.open()
    except Exception as error:
        raise _damaged_bag(path, error) from error
    try:
        yield BagReader(path, reader)
    finally:
        reader.close()


def _damaged_bag(path: Path, error: Exception) -> DataError:
    prefix = '' if isinstance(error, ReaderError) else f'{type(error).__name__}: '
    return DataError(f'{path} is truncated or not a bag ({prefix}{error}): {_remedy(path)}')


def _remedy(path: Path) -> str:
    """Return how a bag that cannot be read can be repaired or converted."""
    start = b''
    if path.is_file():
        with path.open('rb') as file:
            start = file.read(len(MCAP_START))
    if start == ROS1_START:
        return f'it is of ROS 1; convert it with `rosbags-convert --src {path} --dst {path.stem}`'
    if start == MCAP_START:
        return (
            'a recorder that was killed leaves such a file; recover its messages with '
            f'`mcap recover {path} -o recovered.mcap`'
        )
    return 'record or create it again'


def message_class(name: str) -> Any:
    """Return the class of a message type such as 'sensor_msgs/msg/Image'.

    Raises `DependencyError` if it is not installed.
    """
    try:
        package, kind = name.split('/msg/')
        return getattr(import_module(f'{package}.msg'), kind)
    except (ImportError, AttributeError, ValueError):
        raise DependencyError(
            f'message type {name} is not installed: install and source its package'
        ) from None


def _type_name(kind: type) -> str:
    return f'{kind.__module__.split(".")[0]}/msg/{kind.__name__}'


def _register_types(types: Typestore, name: str) -> None:
    """Register all types of the package of type `name`, from its installed .msg files.

    The types of other packages that they contain are registered before.
    """
    if name in types.fielddefs:
        return
    package = name.split('/')[0]
    for file in sorted((_share_folder(package) / 'msg').glob('*.msg')):
        text = file.read_text()
        for other, kind in FIELD_TYPE.findall(text):
            if other != package:
                _register_types(types, f'{other}/msg/{kind}')
        types.register(get_types_from_msg(text, f'{package}/msg/{file.stem}'))


def _share_folder(package: str) -> Path:
    try:
        return Path(get_package_share_directory(package))
    except (PackageNotFoundError, OSError):  # ROS from wheels: no set-up file is sourced
        return Path(sys.prefix) / 'share' / package


def create_from(frames: Frames, output: Path) -> int:
    """Write images and their ground truth, if any, to a bag; return the number of images.

    Images are on /image as bgr8, with the time stamps of the video, or at 30 per second; ground
    truth is on /ground_truth as Detection2DArray with the same headers. Images that cannot be read
    are left out (see `Frames.damage`).

    Raises `ImageError` for an image of another size, and the errors of `create_bag`.
    """
    count = 0
    with create_bag(output) as bag:
        total, name = frames.expected, output.name
        images = tqdm(frames.read(), total=total, desc=name, unit='frame', disable=None)
        for number, time, image in images:
            stamp = image_stamp(time)
            header = Header(stamp=to_stamp(stamp), frame_id='camera')
            bag.write(IMAGE_TOPIC, to_image(image, header), stamp)
            if frames.groundtruth is not None:
                bag.write(TRUTH_TOPIC, _truth_message(frames.groundtruth[number], header), stamp)
            count += 1
    return count


def image_stamp(time: float) -> int:
    """Return the stamp in nanoseconds, in a bag, of the image at `time` seconds of its source."""
    return START + round(time * 1e9)


def _truth_message(box: Box | None, header: Header) -> Detection2DArray:
    detections = [] if box is None else [to_detection('1', box, 1.0, header)]
    return Detection2DArray(header=header, detections=detections)
