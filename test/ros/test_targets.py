"""siamffn_ros/targets.py: no graph needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import BoxError, ImageError, SiamFFNError
from siamffn_model.geometry import Box
from siamffn_model.networks.zoo import create_model
from siamffn_model.tracking import State
from siamffn_ros.targets import Frame, FrameRing, Targets

PERIOD = 100_000_000  # nanoseconds between two frames


def frame(stamp: int, image: np.ndarray | None = None, size: int = 1) -> Frame:
    image = np.zeros((8, 8, 3), np.uint8) if image is None else image
    return Frame(stamp, lambda: image, size, header=f'header {stamp}')


def stamps(ring: FrameRing, number: int = 0) -> list[int]:
    return [kept.stamp for kept in ring.since(number)]


def test_frame_is_decoded_once_and_when_asked_for() -> None:
    calls: list[int] = []

    def decode() -> np.ndarray:
        calls.append(1)
        return np.ones((2, 2, 3), np.uint8)

    one = Frame(1, decode, 12, 'header')
    assert not calls
    assert one.image is one.image and one.header == 'header'
    assert calls == [1]


def test_ring_numbers_in_order_of_arrival() -> None:
    ring = FrameRing(10, 1)
    for stamp in (5, 6, 6, 9):
        ring.add(frame(stamp))
    assert [kept.number for kept in ring.since(0)] == [1, 2, 3, 4]
    assert stamps(ring, 2) == [6, 9]
    assert stamps(ring, 4) == []


def test_ring_forgets_by_time_and_by_memory() -> None:
    ring = FrameRing(seconds=1, megabytes=1)
    for n in range(30):
        ring.add(frame(n * PERIOD))
    assert stamps(ring) == [n * PERIOD for n in range(19, 30)]
    ring.add(frame(30 * PERIOD, size=900_000))
    ring.add(frame(31 * PERIOD, size=200_000))
    assert stamps(ring) == [31 * PERIOD]
    ring.add(frame(32 * PERIOD, size=5_000_000))
    assert stamps(ring) == [32 * PERIOD], 'the newest is kept, however large'


def test_ring_starts_afresh_when_stamps_jump_back() -> None:
    ring = FrameRing(10, 1)
    for stamp in (100, 200, 50, 60):
        ring.add(frame(stamp))
    assert stamps(ring) == [50, 60]


def test_ring_finds_a_stamp_and_the_latest() -> None:
    ring = FrameRing(10, 1)
    for stamp in (100, 200, 300):
        ring.add(frame(stamp))
    assert ring.find(200).stamp == 200
    assert ring.find(0).stamp == 300


@pytest.mark.parametrize(
    ('kept', 'stamp', 'told'),
    [
        ([], 0, 'no image has arrived'),
        ([], 5, 'no image has arrived'),
        ([2 * 10**9, 3 * 10**9], 10**9, r'1\.000 is too old.*2\.000 to 3\.000.*buffer_seconds'),
        ([2 * 10**9, 3 * 10**9], 10**10, r'no frame has the stamp 10\.000.*2\.000 to 3\.000'),
        ([2 * 10**9, 3 * 10**9], 2 * 10**9 + 5, 'no frame has the stamp'),
    ],
)
def test_ring_refuses_clearly(kept: list[int], stamp: int, told: str) -> None:
    ring = FrameRing(10, 1)
    for each in kept:
        ring.add(frame(each))
    with pytest.raises(SiamFFNError, match=told):
        ring.find(stamp)


@pytest.fixture(scope='module')
def model() -> Any:
    """Random weights do: what is tested here does not depend on where a box goes."""
    torch.manual_seed(0)
    return create_model('siamffn_lite0').eval()


class Camera:
    """A ring and its targets, fed from the clip."""

    def __init__(self, model: Any, clip: Scene) -> None:
        self.ring = FrameRing(5, 100)
        self.targets = Targets(model, self.ring)
        self.clip = clip
        self.shown = 0

    def show(self, count: int = 1) -> Frame:
        """Let frames arrive, without tracking."""
        for _ in range(count):
            self.shown += 1
            image = self.clip.images[self.shown - 1]
            self.newest = frame(self.shown * PERIOD, image, image.nbytes)
            self.ring.add(self.newest)
        return self.newest

    def follow(self, count: int) -> list[Box]:
        """Track frame by frame; returns the boxes of the only target."""
        boxes = []
        for _ in range(count):
            (target,) = self.targets.update(self.show())
            boxes.append(target.track.box)
        return boxes


@pytest.fixture
def camera(model: Any, clip: Scene) -> Camera:
    return Camera(model, clip)


def test_no_target_gives_nothing(camera: Camera) -> None:
    assert camera.targets.update(camera.show()) == []
    with pytest.raises(SiamFFNError, match='no image has arrived'):
        Targets(None, FrameRing(1, 1)).init(Box(1, 1, 5, 5))


def test_late_box_follows_the_same_path(camera: Camera, model: Any, clip: Scene) -> None:
    camera.show()
    camera.targets.init(clip.boxes[0], PERIOD)
    in_time = camera.follow(9)

    late = Camera(model, clip)
    newest = late.show(8)
    late.targets.init(clip.boxes[0], PERIOD)
    (target,) = late.targets.update(newest)
    assert target.track.box == in_time[6], 'caught up through the frames that came since'
    assert (target.processed, target.dropped) == (8, 0)
    assert late.follow(2) == in_time[7:]


def test_catching_up_ends_when_the_camera_is_faster(camera: Camera, clip: Scene) -> None:
    """Each update is slower than the camera: two frames arrive in its time."""
    camera.show(3)

    def arriving(stamp: int, image: np.ndarray) -> Frame:
        def decode() -> np.ndarray:
            if camera.shown < 40:
                camera.show()
                camera.ring.add(arriving(camera.newest.stamp + 1, image))
            return image

        return Frame(stamp, decode, 1)

    camera.ring.add(arriving(3 * PERIOD + 1, clip.images[3]))
    camera.targets.init(clip.boxes[0], PERIOD)
    assert camera.shown < 10, 'gave up catching up instead of chasing the camera'


def test_frames_between_are_dropped_and_counted(camera: Camera, clip: Scene) -> None:
    camera.show()
    camera.targets.init(clip.boxes[0])
    camera.show(3)
    (target,) = camera.targets.update(camera.show())
    assert (target.processed, target.dropped) == (2, 3)
    assert 0 < target.last_ms <= target.max_ms and target.mean_ms == target.last_ms


def test_ids_are_assigned_or_taken_and_keep_their_order(camera: Camera, clip: Scene) -> None:
    camera.show()
    given = [camera.targets.init(clip.boxes[0], 0, name) for name in ('', 'car', '', '3')]
    assert given == ['1', 'car', '2', '3']
    seen = camera.targets.update(camera.show())
    assert [target.id for target in seen] == given
    assert len(camera.targets) == 4
    assert camera.targets.stop() == 4
    assert camera.targets.update(camera.show()) == []


def test_same_id_is_initialised_anew(camera: Camera, clip: Scene) -> None:
    camera.show()
    camera.targets.init(clip.boxes[0], 0, 'car')
    camera.follow(3)
    other = Box(5, 5, 40, 40)
    camera.targets.init(other, 0, 'car')
    (target,) = camera.targets.update(camera.newest)
    assert target.track == (other, 1.0, State.TRACKING)
    assert target.processed == 1


@pytest.mark.parametrize('box', [Box(500, 500, 10, 10), Box(5, 5, 0, 10), Box(5, 5, np.nan, 1)])
def test_bad_box_leaves_the_target_as_it_was(camera: Camera, clip: Scene, box: Box) -> None:
    camera.show()
    camera.targets.init(clip.boxes[0], 0, 'car')
    camera.follow(2)
    with pytest.raises(BoxError):
        camera.targets.init(box, 0, 'car')
    (target,) = camera.targets.update(camera.show())
    assert (target.id, target.processed) == ('car', 4)


def test_undecodable_image_raises_and_tracking_goes_on(camera: Camera, clip: Scene) -> None:
    camera.show()
    camera.targets.init(clip.boxes[0])

    def decode() -> np.ndarray:
        raise ImageError('bad')

    bad = Frame(camera.newest.stamp + 1, decode, 1)
    camera.ring.add(bad)
    with pytest.raises(ImageError, match='bad'):
        camera.targets.update(bad)
    (target,) = camera.targets.update(camera.show())
    assert (target.processed, target.dropped) == (2, 1)
