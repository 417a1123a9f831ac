"""rosbag2 files in and out.

A bag here is one MCAP file. Messages are serialised by ROS itself; `rosbags` only reads and writes
the file, so no rosbag2 installation is needed.
"""

from __future__ import annotations

import errno
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
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import Frames
from siamffn_ros.messages.conversions import to_detection, to_stamp
from siamffn_ros.messages.images import to_image

IMAGE_TOPIC = '/image'
TRUTH_TOPIC = '/ground_truth'
START = 1_000_000_000  # nanoseconds: stamp of a bag's first frame; not 0, which means "no stamp"


class BagWriter:
    """An open bag; made by `create_bag`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._types = get_typestore(Stores.ROS2_KILTED)
        self._connections: dict[str, Connection] = {}

    def write(self, topic: str, message: Any, stamp: int) -> None:
        """Append a message; `stamp` is its record time in nanoseconds.

        Equal messages give equal bytes.
        """
        name = _type_name(type(message))
        if topic not in self._connections:
            _define(self._types, name)
            self._connections[topic] = self._writer.add_connection(
                topic, name, typestore=self._types
            )
        # ROS leaves what was in memory between fields that it aligns; rosbags leaves zeros.
        fields = self._types.deserialize_cdr(serialize_message(message), name)
        data = self._types.serialize_cdr(fields, name)
        self._writer.write(self._connections[topic], stamp, data)


@contextmanager
def create_bag(path: Path) -> Iterator[BagWriter]:
    """Write a new bag `path` (one .mcap file); it appears when it is complete.

    Raises `DataError` if the file exists, its name does not end in .mcap, or it cannot be written.
    """
    if path.suffix != '.mcap':
        raise ConfigError(f'{path} is not named like a bag: end the name in .mcap')
    if path.exists():
        raise DataError(f'{path} exists already: remove it or choose another name')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix='.bag-') as folder:
            # rosbags writes a folder STEM with STEM.mcap in it; that file alone is a whole bag
            bag = Path(folder) / path.stem
            with Writer(bag, version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP) as w:
                yield BagWriter(w)
            (bag / path.name).replace(path)
    except OSError as error:
        remedy = 'free some space' if error.errno == errno.ENOSPC else 'check the folder'
        raise DataError(f'cannot write {path} ({error.strerror or error}): {remedy}') from error


class BagReader:
    """An open bag; made by `open_bag`."""

    def __init__(self, path: Path, reader: Reader) -> None:
        self._path = path
        self._reader = reader
        self.count = reader.message_count
        self.topics = {c.topic: c.msgtype for c in reader.connections}
        self.counts: Counter[str] = Counter()
        for connection in reader.connections:
            self.counts[connection.topic] += connection.msgcount

    def choose_topic(self, types: Collection[str], topic: str | None, option: str) -> str:
        """Return `topic`, or where it is None the only topic of one of these types.

        Raises `DataError` unless there is just one; it names the topics and the option to give.
        """
        fitting = sorted(name for name, kind in self.topics.items() if kind in types)
        if topic in fitting:
            return topic
        if topic is None and len(fitting) == 1:
            return fitting[0]
        kinds = ' or '.join(types)
        if not fitting:
            others = ', '.join(sorted(self.topics)) or 'none'
            raise DataError(
                f'{self._path} has no topic of type {kinds} (its topics: {others}): '
                'give another bag'
            )
        found = 'several topics' if topic is None else f'no topic {topic}'
        raise ConfigError(
            f'{self._path} has {found} of type {kinds}: give {option} with one of '
            + ', '.join(fitting)
        )

    def read(self, topic: str) -> Iterator[tuple[int, Any]]:
        """Yield record time in nanoseconds and message of one topic, in order of time.

        Raises `DataError` for a damaged bag, and a type that is not installed or was another.
        """
        name = self.topics[topic]
        kind = message_class(name)
        for found, stamp, data in self.messages():
            if found == topic:
                try:
                    message = deserialize_message(data, kind)
                except Exception as error:  # of rclpy's own, which it does not export
                    raise DataError(
                        f'{self._path}: a message on {topic} is no {name} as it is installed here: '
                        'install the version that it was recorded with'
                    ) from error
                yield stamp, message

    def messages(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield topic, record time in nanoseconds and serialised message, in order of time."""
        try:
            for connection, stamp, data in self._reader.messages():
                yield connection.topic, stamp, data
        except Exception as error:  # rosbags raises many kinds for damaged files
            raise _damaged(self._path, error) from error


@contextmanager
def open_bag(path: Path) -> Iterator[BagReader]:
    """Open a bag: an .mcap or .db3 file, or a rosbag2 folder; raises `DataError`."""
    try:
        reader = Reader(path)
        reader.open()
    except FileNotFoundError:
        raise DataError(f'{path} does not exist: give an .mcap file or a rosbag2 folder') from None
    except Exception as error:
        raise _damaged(path, error) from error
    try:
        yield BagReader(path, reader)
    finally:
        reader.close()


def _damaged(path: Path, error: Exception) -> DataError:
    kind = '' if isinstance(error, ReaderError) else f'{type(error).__name__}: '
    return DataError(f'{path} is truncated or not a bag ({kind}{error}): record or create it again')


def message_class(name: str) -> Any:
    """Return the class of a type such as 'sensor_msgs/msg/Image'; raises `DependencyError`."""
    try:
        package, kind = name.split('/msg/')
        return getattr(import_module(f'{package}.msg'), kind)
    except (ImportError, AttributeError, ValueError):
        raise DependencyError(
            f'message type {name} is not installed: install and source its package'
        ) from None


def _type_name(kind: type) -> str:
    return f'{kind.__module__.split(".")[0]}/msg/{kind.__name__}'


def _define(types: Typestore, name: str) -> None:
    """Register the definitions of the type's package, from the installed .msg files."""
    if name in types.fielddefs:
        return
    package = name.split('/')[0]
    for file in sorted((_share(package) / 'msg').glob('*.msg')):
        kind = f'{package}/msg/{file.stem}'
        types.register(get_types_from_msg(file.read_text(), kind))


def _share(package: str) -> Path:
    try:
        return Path(get_package_share_directory(package))
    except (PackageNotFoundError, OSError):  # ROS from wheels: nothing sourced
        return Path(sys.prefix) / 'share' / package


def create_from(frames: Frames, output: Path) -> int:
    """Write images, and ground truth where there is any, to a bag; returns the number of images.

    Images go to /image as bgr8, stamped at the source's frame rate; ground truth goes to
    /ground_truth as detections with the same headers. Raises `DataError`, `ImageError`.
    """
    count = 0
    with create_bag(output) as bag:
        for image in tqdm(frames, total=frames.count, desc=output.name, unit='frame', disable=None):
            stamp = START + round(count * 1e9 / frames.fps)
            header = Header(stamp=to_stamp(stamp), frame_id='camera')
            bag.write(IMAGE_TOPIC, to_image(image, header), stamp)
            if frames.groundtruth is not None:
                bag.write(TRUTH_TOPIC, _truth(frames.groundtruth[count], header), stamp)
            count += 1
    return count


def _truth(box: Box | None, header: Header) -> Detection2DArray:
    detections = [] if box is None else [to_detection('1', box, 1.0, header)]
    return Detection2DArray(header=header, detections=detections)
