"""OpenCV's trackers as `TrackerProtocol`."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.errors import (
    BoxError,
    ConfigError,
    DependencyError,
    ImageError,
    NotReadyError,
    WeightsError,
)
from siamffn_model.imaging.geometry import Box, iou
from siamffn_model.tracking import State
from siamffn_model.tracking.opencv import NANO_FILES, OpenCVTracker, parse_tracker

pytestmark = pytest.mark.slow

needs_contrib = pytest.mark.skipif(
    not hasattr(cv2, 'TrackerCSRT_create'),
    reason='opencv-contrib-python-headless is not installed',
)
NAMES = [
    pytest.param('csrt', marks=needs_contrib),
    pytest.param('kcf', marks=needs_contrib),
    'mil',
]


@pytest.fixture(scope='module')
def short_scene() -> Scene:
    return render_scene(30)


def track_boxes(tracker: OpenCVTracker, scene: Scene) -> list[Box]:
    tracker.init(scene.images[0], scene.boxes[0])
    return [tracker.update(image).box for image in scene.images[1:]]


@pytest.mark.parametrize('name', NAMES)
def test_a_rendered_scene_is_tracked(short_scene: Scene, name: str) -> None:
    truth = short_scene.boxes[1:]
    still = iou(short_scene.boxes[0], truth).mean()
    followed = iou(track_boxes(OpenCVTracker(name), short_scene), truth).mean()
    assert still < 0.2
    assert followed > 0.6


@needs_contrib
@pytest.mark.parametrize('name', ['csrt', 'kcf'])
def test_init_again_resets_the_tracker(short_scene: Scene, name: str) -> None:
    tracker = OpenCVTracker(name)
    once = track_boxes(tracker, short_scene)
    tracker.init(short_scene.images[9], Box(5, 5, 40, 40))
    assert track_boxes(tracker, short_scene) == once


@pytest.mark.parametrize('name', NAMES)
def test_tracked_targets_have_score_one(short_scene: Scene, name: str) -> None:
    tracker = OpenCVTracker(name)
    tracker.init(short_scene.images[0], short_scene.boxes[0])
    track = tracker.update(short_scene.images[1])
    assert track.score == 1
    assert track.state is State.TRACKING


@needs_contrib
def test_a_lost_target_keeps_its_last_box_without_score(short_scene: Scene) -> None:
    """CSRT reports a loss on a black image; the others never do."""
    tracker = OpenCVTracker('csrt')
    tracker.init(short_scene.images[0], short_scene.boxes[0])
    last = tracker.update(short_scene.images[1])
    lost = tracker.update(np.zeros_like(short_scene.images[0]))
    assert (lost.score, lost.state) == (0, State.LOST)
    assert lost.box == last.box


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize(
    'box', [Box(-20, -20, 45.5, 45.5), Box(290.4, 210.6, 60, 60), Box(-5, 100, 30, 30)]
)
def test_the_visible_part_of_a_box_is_tracked(short_scene: Scene, name: str, box: Box) -> None:
    tracker = OpenCVTracker(name)
    tracker.init(short_scene.images[0], box)
    for image in short_scene.images[:4]:
        assert tracker.update(image).box.clip(320, 240).area > 0


@pytest.mark.parametrize('box', [Box(100.4, 60.4, 2, 2), Box(317.9, 237.9, 2, 2)])
def test_small_boxes_do_not_hang(short_scene: Scene, box: Box) -> None:
    """In a box of few pixels, MIL would sample features in an endless loop."""
    tracker = OpenCVTracker('mil')
    tracker.init(short_scene.images[0], box)
    tracker.update(short_scene.images[1])


@needs_contrib
@pytest.mark.parametrize(
    ('box', 'reason'),
    [
        (Box(500, 500, 10, 10), 'lies outside'),
        (Box(10, 10, float('nan'), 10), 'not finite'),
        (Box(10, 10, 0, 10), 'no area'),
        (
            Box(100, 60, 300, 2),
            r'\(100.0, 60.0, 300.0, 2.0\) .* csrt cannot be initialised with it',
        ),
    ],
)
def test_bad_boxes_are_reported_and_keep_the_target(
    short_scene: Scene, box: Box, reason: str
) -> None:
    tracker, untouched = OpenCVTracker('csrt'), OpenCVTracker('csrt')
    tracker.init(short_scene.images[0], short_scene.boxes[0])
    untouched.init(short_scene.images[0], short_scene.boxes[0])
    with pytest.raises(BoxError, match=reason):
        tracker.init(short_scene.images[0], box)
    assert tracker.update(short_scene.images[1]) == untouched.update(short_scene.images[1])


def test_mil_reports_a_box_of_the_complete_image(short_scene: Scene) -> None:
    with pytest.raises(BoxError, match=r'mil cannot be initialised with it .*Samples'):
        OpenCVTracker('mil').init(short_scene.images[0], Box(0, 0, 320, 240))


def test_bad_images_are_reported(short_scene: Scene) -> None:
    tracker = OpenCVTracker('mil')
    with pytest.raises(NotReadyError, match='before init'):
        tracker.update(short_scene.images[0])
    with pytest.raises(ImageError, match='float64'):
        tracker.init(short_scene.images[0].astype(float), short_scene.boxes[0])
    tracker.init(short_scene.images[0], short_scene.boxes[0])
    with pytest.raises(ImageError, match='320x200, the first one was 320x240'):
        tracker.update(short_scene.images[1][:200].copy())


# --- names


@pytest.mark.parametrize('name', NAMES)
def test_trackers_are_found_by_name(name: str) -> None:
    assert parse_tracker(f'opencv:{name}').name == name


@pytest.mark.parametrize('text', ['opencv:tld', 'csrt', 'opencv:', 'opencv:mil=models'])
def test_unknown_names_list_the_known_ones(text: str) -> None:
    with pytest.raises(ConfigError, match=f"'{text}' .* opencv:csrt, .*opencv:nano=DIR"):
        parse_tracker(text)


def test_the_class_refuses_unknown_names() -> None:
    with pytest.raises(ConfigError, match="csrt, kcf, mil, nano, not 'tld'"):
        OpenCVTracker('tld')


@pytest.mark.parametrize('name', ['csrt', 'kcf'])
def test_a_build_without_the_tracker_is_reported(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(cv2, f'Tracker{name.upper()}_create', raising=False)
    with pytest.raises(DependencyError, match=rf'{name} is not .*opencv-contrib-python-headless=='):
        OpenCVTracker(name)


# --- NanoTrack, with small models in place of the published ones, written as ONNX by hand


def field(number: int, value: int | str | bytes) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def node(kind: str, inputs: list[str], output: str, **attributes: list[int]) -> bytes:
    names = b''.join(field(1, name) for name in inputs) + field(2, output) + field(4, kind)
    for name, values in attributes.items():
        ints = b''.join(field(8, value) for value in values)
        names += field(5, field(1, name) + ints + field(20, 7))
    return field(1, names)


def weights(name: str, values: np.ndarray) -> bytes:
    shape = b''.join(field(1, length) for length in values.shape)
    data = values.astype('<f4').tobytes()
    return field(5, shape + field(2, 1) + field(8, name) + field(9, data))


def port(number: int, name: str, *shape: int) -> bytes:
    dims = b''.join(field(1, field(1, length)) for length in shape)
    return field(number, field(1, name) + field(2, field(1, field(1, 1) + field(2, dims))))


def write_onnx(path: Path, *parts: bytes) -> None:
    graph = b''.join(parts) + field(2, 'graph')
    path.write_bytes(field(1, 7) + field(7, graph) + field(8, field(2, 11)))


def write_nano(folder: Path, logit: float, distance: float) -> None:
    """Write models with the same score everywhere and the edges at `distance` from each point."""
    write_onnx(
        folder / NANO_FILES[0],
        node('Conv', ['input', 'w'], 'output', strides=[16, 16], pads=[1, 1, 1, 1]),
        weights('w', np.full((4, 3, 16, 16), 1e-4)),
        port(11, 'input', 1, 3, 255, 255),
        port(12, 'output', 1, 4, 16, 16),
    )
    write_onnx(
        folder / NANO_FILES[1],
        node('GlobalAveragePool', ['input1'], 'template'),
        node('Mul', ['input2', 'template'], 'response'),
        node('Conv', ['response', 'cls_w', 'cls_b'], 'output1'),
        node('Conv', ['response', 'reg_w', 'reg_b'], 'output2'),
        weights('cls_w', np.zeros((2, 4, 1, 1))),
        weights('cls_b', np.array([0, logit])),
        weights('reg_w', np.zeros((4, 4, 1, 1))),
        weights('reg_b', np.full(4, distance)),
        port(11, 'input1', 1, 4, 8, 8),
        port(11, 'input2', 1, 4, 16, 16),
        port(12, 'output1', 1, 2, 16, 16),
        port(12, 'output2', 1, 4, 16, 16),
    )


def test_nano_runs_its_two_networks(tmp_path: Path, short_scene: Scene) -> None:
    """A box of side 40 has a template region of side 80, which is 127 pixels of the crop."""
    write_nano(tmp_path, logit=np.log(9), distance=20 * 127 / 80)
    tracker = parse_tracker(f'opencv:nano={tmp_path}')
    tracker.init(short_scene.images[0], Box(140, 100, 40, 40))
    box, score, state = tracker.update(short_scene.images[1])
    assert (box.w, box.h) == pytest.approx((40, 40), abs=1)
    assert score == pytest.approx(
        0.9, abs=0.03
    )  # the score of the network, slightly changed by the window
    assert state is State.TRACKING


def test_missing_models_are_reported(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r'nano needs a folder .* opencv:nano=DIR'):
        parse_tracker('opencv:nano')
    (tmp_path / NANO_FILES[0]).write_bytes(b'')
    with pytest.raises(WeightsError, match=f'missing: {tmp_path / NANO_FILES[1]}; .*SiamTrackers'):
        parse_tracker(f'opencv:nano={tmp_path}')


def test_damaged_models_are_reported(tmp_path: Path) -> None:
    for name in NANO_FILES:
        (tmp_path / name).write_bytes(b'no model')
    with pytest.raises(WeightsError, match=f'{tmp_path / NANO_FILES[0]} or .*: damaged'):
        parse_tracker(f'opencv:nano={tmp_path}')
