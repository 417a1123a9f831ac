"""siamffn_ros/console/recording.py; with a tracker see test_backend.py"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from siamffn_model.errors import DataError
from siamffn_ros.bags.io import open_bag
from siamffn_ros.console import recording
from siamffn_ros.console.recording import Recording, new_path
from siamffn_ros.messages.conversions import to_stamp
from siamffn_ros.messages.images import to_image

PIXELS = np.zeros((4, 6, 3), np.uint8)


def counts(path: Path) -> dict[str, int]:
    with open_bag(path) as bag:
        return dict(bag.counts)


def test_the_bag_appears_when_it_is_complete(tmp_path: Path) -> None:
    events: list[str] = []
    record = Recording(tmp_path / 'new' / 'x.mcap', False, events.append)
    path = record.started.result(10)
    for stamp in range(100):
        record.write('/detections', Detection2DArray(header=Header(stamp=to_stamp(stamp))))
        record.write('/image', to_image(PIXELS, Header()))
    assert not path.exists()
    assert record.stop().result(10) == path
    assert counts(path) == {'/detections': 100}
    assert [file.name for file in path.parent.iterdir()] == ['x.mcap'] and events == []


def test_images_are_left_out_while_the_disk_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, 'MAX_WAITING_IMAGES', 0)
    events: list[str] = []
    record = Recording(tmp_path / 'x.mcap', True, events.append)
    record.write('/image', to_image(PIXELS, Header()))
    record.write('/detections', Detection2DArray())
    assert counts(record.stop().result(10)) == {'/detections': 1}
    (event,) = events
    assert event.startswith('x.mcap lacks 1 images')


def test_images_of_the_first_type_only(tmp_path: Path) -> None:
    events: list[str] = []
    record = Recording(tmp_path / 'x.mcap', True, events.append)
    record.write('/image', to_image(PIXELS, Header()))
    record.write('/image', CompressedImage())
    record.write('/image', to_image(PIXELS, Header()))
    assert counts(record.stop().result(10)) == {'/image': 2}
    assert len(events) == 1


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    record = Recording(tmp_path / 'file' / 'x.mcap', False, pytest.fail)
    for future in (record.started, record.finished):
        with pytest.raises(DataError, match=r'cannot write .*: check the folder'):
            future.result(10)


def test_a_failure_is_reported_at_once_and_leaves_no_file(tmp_path: Path) -> None:
    events: list[str] = []
    record = Recording(tmp_path / 'x.mcap', False, events.append)
    record.started.result(10)
    record.write('/detections', object())
    with pytest.raises(DataError, match=r'x\.mcap cannot be written'):
        record.finished.result(10)
    (event,) = events
    assert event.startswith('the recording has failed')
    record.write('/detections', Detection2DArray())
    record.join()
    assert list(tmp_path.iterdir()) == []


def test_the_path_has_the_name_of_the_tracker_and_is_new(tmp_path: Path) -> None:
    path = new_path(tmp_path, '/front/tracker')
    assert path.match('front_tracker-*.mcap') and path.parent == tmp_path
    path.touch()
    assert new_path(tmp_path, '/front/tracker') != path
