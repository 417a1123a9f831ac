"""Tests of siamffn_model/live/targets.py."""

from __future__ import annotations

import numpy as np
import pytest

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import BoxError, ImageError, SiamFFNError
from siamffn_model.imaging.geometry import Box
from siamffn_model.live.frame_buffer import Frame, FrameBuffer
from siamffn_model.live.targets import Target, Targets
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.tracking import State, TrackerSettings

PERIOD = 100_000_000  # nanoseconds between two frames


def frame(stamp: int, image: np.ndarray | None = None, size: int = 1) -> Frame:
    image = np.zeros((8, 8, 3), np.uint8) if image is None else image
    return Frame(stamp, lambda: image, size, header=f'header {stamp}')


class Camera:
    """A frame buffer that receives the frames of a clip, and its targets.

    Attributes:
        n_shown: number of frames that have arrived.
        newest: the last of them.
    """

    def __init__(self, model: Runtime, clip: Scene) -> None:
        self.buffer = FrameBuffer(5, 100)
        self.targets = Targets(model, self.buffer)
        self.clip = clip
        self.n_shown = 0

    def show(self, count: int = 1) -> Frame:
        """Add frames to the buffer without tracking; return the last."""
        for _ in range(count):
            self.n_shown += 1
            image = self.clip.images[self.n_shown - 1]
            self.newest = frame(self.n_shown * PERIOD, image, image.nbytes)
            self.buffer.add(self.newest)
        return self.newest

    def update(self, frame: Frame) -> list[Target]:
        """Track in a frame; return the targets that were searched in this frame."""
        self.targets.update(frame)
        return [target for target in self.targets.all if target.frame_number == frame.number]

    def track(self, count: int) -> list[Box]:
        """Add frames and track in each; return the boxes of the only target."""
        boxes = []
        for _ in range(count):
            (target,) = self.update(self.show())
            boxes.append(target.track.box)
        return boxes

    def init(self, box: Box, stamp: int = 0, target_id: str = '') -> str:
        """Initialise a target and let it catch up; return its id."""
        name = self.targets.init(box, stamp, target_id).id
        while self.targets.catch_up():
            pass
        return name


@pytest.fixture
def camera(model: Runtime, clip: Scene) -> Camera:
    return Camera(model, clip)


def test_without_targets_nothing_is_tracked(camera: Camera) -> None:
    assert camera.update(camera.show()) == []
    with pytest.raises(SiamFFNError, match='no image has arrived'):
        Targets(None, FrameBuffer(1, 1)).init(Box(1, 1, 5, 5))


def test_a_late_target_follows_the_same_path(camera: Camera, model: Runtime, clip: Scene) -> None:
    camera.show()
    camera.init(clip.boxes[0], PERIOD)
    in_time = camera.track(9)

    late = Camera(model, clip)
    newest = late.show(8)
    late.init(clip.boxes[0], PERIOD)
    (target,) = late.update(newest)
    assert target.track.box == in_time[6], 'caught up through the later frames'
    assert (target.processed, target.dropped) == (8, 0)
    assert late.track(2) == in_time[7:]


def test_a_late_target_does_not_delay_others(camera: Camera, clip: Scene) -> None:
    camera.show()
    camera.init(clip.boxes[0], 0, 'live')
    camera.track(6)
    assert camera.targets.init(clip.boxes[0], PERIOD, 'late').frames_behind == 6
    for number in (3, 5, 7):  # the late target catches up by two frames per new frame
        (live,) = camera.update(camera.show())
        assert (live.id, live.dropped) == ('live', 0)
        for _ in range(2):
            assert camera.targets.catch_up()
        assert camera.targets.all[1].frame_number == number
    while camera.targets.catch_up():
        pass
    live, late = camera.update(camera.show())
    assert (late.processed, late.dropped, late.header) == (11, 0, camera.newest.header)
    assert late.track == live.track


def test_undecodable_frames_are_skipped_while_catching_up(camera: Camera, clip: Scene) -> None:
    def decode() -> np.ndarray:
        raise ImageError('bad')

    camera.show(2)
    camera.buffer.add(Frame(2 * PERIOD + 1, decode, 1))
    camera.show(2)
    camera.init(clip.boxes[0], PERIOD)
    (target,) = camera.targets.all
    assert (target.frame_number, target.processed, target.dropped) == (5, 4, 1)


def test_targets_on_one_object_are_uncertain(camera: Camera, clip: Scene) -> None:
    camera.show()
    camera.targets.init(clip.boxes[0], 0, 'one')
    (one,) = camera.update(camera.show())
    assert one.track.state == State.TRACKING
    camera.targets.init(one.track.box, 0, 'same')
    assert {status.track.state for status in camera.update(camera.show())} == {State.UNCERTAIN}
    camera.targets.stop('same')
    (one,) = camera.update(camera.show())
    assert one.track.state == State.TRACKING


def test_catching_up_ends_when_the_buffer_is_cleared(camera: Camera, clip: Scene) -> None:
    camera.show(5)
    camera.targets.init(clip.boxes[0], PERIOD)
    camera.buffer.clear()
    assert not camera.targets.catch_up()
    (target,) = camera.update(camera.show())
    assert (target.processed, target.dropped) == (2, 4)


def test_targets_do_not_influence_each_other(model: Runtime, clip: Scene) -> None:
    boxes = [Box(10 * n, 5 * n, 30 + n, 20 + 2 * n) for n in (1, 3, 5)]
    together = Camera(model, clip)
    together.show()
    for box in boxes:
        together.init(box)
    tracks_by_frame = [
        [target.track for target in together.update(together.show())] for _ in range(4)
    ]
    for number, box in enumerate(boxes):
        alone = Camera(model, clip)
        alone.show()
        alone.init(box)
        for tracks in tracks_by_frame:
            (target,) = alone.update(alone.show())
            assert target.track.box == pytest.approx(tracks[number].box, abs=1e-2)
            assert target.track.score == pytest.approx(tracks[number].score, abs=1e-4)


def test_colours_are_stable_and_distinct(camera: Camera, clip: Scene) -> None:
    camera.show()
    for name in 'abc':
        camera.init(clip.boxes[0], 0, name)
    assert [target.colour_index for target in camera.targets.all] == [0, 1, 2]
    camera.targets.stop('b')
    camera.init(clip.boxes[0], 0, 'a')
    camera.init(clip.boxes[0], 0, 'd')
    assert [(t.id, t.colour_index) for t in camera.targets.all] == [('a', 0), ('c', 2), ('d', 1)]


def test_too_many_targets_and_too_long_ids_are_refused(model: Runtime, clip: Scene) -> None:
    buffer = FrameBuffer(5, 100)
    targets = Targets(model, buffer, max_targets=2)
    buffer.add(frame(1, clip.images[0]))
    for name in 'ab':
        targets.init(clip.boxes[0], 0, name)
    with pytest.raises(SiamFFNError, match=r'2 targets.*max_targets'):
        targets.init(clip.boxes[0])
    assert targets.init(clip.boxes[1], 0, 'a').id == 'a', 'an existing target is initialised again'
    with pytest.raises(SiamFFNError, match='65 characters'):
        targets.init(clip.boxes[0], 0, 'x' * 65)
    with pytest.raises(SiamFFNError, match=r"'car\\x1b\[2J' has control characters"):
        targets.init(clip.boxes[0], 0, 'car\x1b[2J')


def test_stopping_a_target_keeps_the_others(camera: Camera, clip: Scene) -> None:
    camera.show()
    for name in 'ab':
        camera.init(clip.boxes[0], 0, name)
    camera.targets.stop('a')
    assert [target.id for target in camera.targets.all] == ['b']
    with pytest.raises(SiamFFNError, match="no target 'a': there are b"):
        camera.targets.stop('a')


def test_settings_change_while_tracking(camera: Camera, clip: Scene) -> None:
    camera.show()
    camera.init(clip.boxes[0])
    camera.targets.set(
        TrackerSettings(uncertain_threshold=1.0, lost_threshold=1.0, reacquire_threshold=1.0)
    )
    (target,) = camera.update(camera.show())
    assert target.track.state == State.LOST


def test_catching_up_ends_if_the_camera_is_faster(camera: Camera, clip: Scene) -> None:
    """Two frames arrive during each update."""
    camera.show(3)

    def arriving(stamp: int, image: np.ndarray) -> Frame:
        def decode() -> np.ndarray:
            if camera.n_shown < 40:
                camera.show()
                camera.buffer.add(arriving(camera.newest.stamp + 1, image))
            return image

        return Frame(stamp, decode, 1)

    camera.buffer.add(arriving(3 * PERIOD + 1, clip.images[3]))
    camera.init(clip.boxes[0], PERIOD)
    assert camera.n_shown < 10, 'catching up must end, since it never reaches the newest frame'


def test_skipped_frames_are_counted_as_dropped(camera: Camera, clip: Scene) -> None:
    camera.show()
    camera.init(clip.boxes[0])
    camera.show(3)
    (target,) = camera.update(camera.show())
    assert (target.processed, target.dropped) == (2, 3)
    assert 0 < target.last_ms <= target.max_ms
    assert target.status().mean_ms == target.last_ms


def test_ids_are_given_or_generated_and_keep_their_order(camera: Camera, clip: Scene) -> None:
    camera.show()
    ids = [camera.init(clip.boxes[0], 0, name) for name in ('', 'car', '', '3')]
    assert ids == ['1', 'car', '2', '3']
    updated = camera.update(camera.show())
    assert [target.id for target in updated] == ids
    assert len(camera.targets) == 4
    assert camera.targets.clear() == 4
    assert camera.update(camera.show()) == []


def test_an_existing_id_is_initialised_again(camera: Camera, clip: Scene) -> None:
    camera.show()
    camera.init(clip.boxes[0], 0, 'car')
    camera.track(3)
    other = Box(5, 5, 40, 40)
    camera.init(other, 0, 'car')
    (target,) = camera.update(camera.newest)
    assert target.track == (other, 1.0, State.TRACKING)
    assert target.processed == 1


@pytest.mark.parametrize('box', [Box(500, 500, 10, 10), Box(5, 5, 0, 10), Box(5, 5, np.nan, 1)])
def test_an_invalid_box_keeps_the_existing_target(camera: Camera, clip: Scene, box: Box) -> None:
    camera.show()
    camera.init(clip.boxes[0], 0, 'car')
    camera.track(2)
    with pytest.raises(BoxError):
        camera.init(box, 0, 'car')
    (target,) = camera.update(camera.show())
    assert (target.id, target.processed) == ('car', 4)


def test_an_undecodable_image_raises_and_tracking_continues(camera: Camera, clip: Scene) -> None:
    camera.show()
    camera.init(clip.boxes[0])

    def decode() -> np.ndarray:
        raise ImageError('bad')

    bad = Frame(camera.newest.stamp + 1, decode, 1)
    camera.buffer.add(bad)
    with pytest.raises(ImageError, match='bad'):
        camera.update(bad)
    (target,) = camera.update(camera.show())
    assert (target.processed, target.dropped) == (2, 1)
