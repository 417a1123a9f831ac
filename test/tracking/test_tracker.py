"""The tracker: properties that hold with any weights, and accuracy of the packaged ones."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.errors import BoxError, ImageError, NotReadyError
from siamffn_model.imaging.crop import search_side
from siamffn_model.imaging.geometry import Box, iou
from siamffn_model.imaging.image import Image
from siamffn_model.imaging.sources import open_frames
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.runtimes.torch_runtime import eager_runtime
from siamffn_model.tracking import (
    State,
    Track,
    Tracker,
    TrackerSettings,
    steadiness,
    update_all,
)
from siamffn_model.tracking.motion import SMOOTHING
from siamffn_model.tracking.redetection import TILE_SPACING, SearchTiles
from siamffn_model.tracking.tracker import MIN_SEARCH_SIDE

IMAGE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
BOX = Box(60, 40, 30, 20)


class Pointer(torch.nn.Module):
    """A network whose score is high at one candidate, with the given distances to the edges."""

    def __init__(
        self, score_map: ScoreMap, candidate: int, distances: tuple[float, float, float, float]
    ) -> None:
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.score_map, self.candidate, self.distances = score_map, candidate, distances

    def template(self, crop: torch.Tensor) -> list[torch.Tensor]:
        return [crop]

    def search(
        self, crop: torch.Tensor, template: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        assert crop.shape[1:] == (3, 255, 255) and len(template[0]) == len(crop)
        count = self.score_map.points().shape[1]
        logits = torch.zeros(len(crop), 2, count)
        logits[:, 1] = -20
        logits[:, 1, self.candidate] = 20
        return logits, torch.tensor(self.distances).view(1, 4, 1).expand(len(crop), 4, count)


@pytest.mark.parametrize(
    ('score_map', 'candidate', 'size'),
    [
        (ScoreMap(25), 10 * 25 + 15, (60, 80)),
        (ScoreMap(25, ((9, 9), (20, 5))), 625 + 10 * 25 + 15, (60, 80)),
        (ScoreMap(17), 6 * 17 + 11, (60, 80)),
        (ScoreMap(17, sized=False), 6 * 17 + 11, (63.5, 63.5)),
    ],
    ids=['points', 'anchors', 'a smaller map', 'without size'],
)
def test_a_candidate_and_its_distances_become_a_box(
    score_map: ScoreMap,
    candidate: int,
    size: tuple[float, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(steadiness, 'POSITION_NOISE', 0.0)
    monkeypatch.setattr(steadiness, 'SIZE_NOISE', 1e-9)
    settings = TrackerSettings(window_influence=0, penalty_k=0, lr=1)
    box = Box.from_center(320, 240, 63.5, 63.5)  # context square of 127: one pixel of crop each
    tracker = Tracker(
        eager_runtime(Pointer(score_map, candidate, (20, 30, 40, 50)), 'cpu'), settings
    )
    image = np.zeros((480, 640, 3), np.uint8)
    tracker.init(image, box)
    track = tracker.update(image)
    point_x, point_y = 320 + 3 * 8, 240 - 2 * 8
    expected = Box.from_center(point_x + 10, point_y + 10, *size)
    assert track.box == pytest.approx(expected, abs=1e-3)
    assert track.score == pytest.approx(1)
    assert track.state is State.TRACKING


def test_the_search_region_follows_the_motion() -> None:
    candidate = 12 * 25 + 15  # three cells, 24 pixels, to the right of the centre
    tracker = Tracker(
        eager_runtime(Pointer(ScoreMap(25), candidate, (31, 31, 31, 31)), 'cpu'),
        TrackerSettings(motion_gain=0.5),
    )
    image = np.zeros((480, 640, 3), np.uint8)
    tracker.init(image, Box.from_center(200, 240, 63.5, 63.5))
    first, second, third = (tracker.update(image).box.cx - 200 for _ in range(3))
    assert first == pytest.approx(24, abs=0.5)
    assert second - first == pytest.approx(24 + 0.5 * SMOOTHING * first, abs=0.5)
    smoothed = SMOOTHING * (second - first) + SMOOTHING**2 * first
    assert third - second == pytest.approx(24 + 0.5 * smoothed, abs=0.5)
    tracker.init(image, Box.from_center(200, 240, 63.5, 63.5))
    assert tracker.update(image).box.cx == pytest.approx(200 + first)  # a new target has no motion


def test_update_before_init_is_refused(model: Runtime) -> None:
    with pytest.raises(NotReadyError, match='before init'):
        Tracker(model).update(IMAGE)


def test_bad_input_is_refused_and_keeps_the_target(model: Runtime) -> None:
    tracker, untouched = Tracker(model), Tracker(model)
    tracker.init(IMAGE, BOX)
    untouched.init(IMAGE, BOX)
    with pytest.raises(BoxError):
        tracker.init(IMAGE, Box(500, 500, 10, 10))
    with pytest.raises(BoxError):
        tracker.init(IMAGE, Box(10, 10, float('nan'), 10))
    with pytest.raises(ImageError):
        tracker.init(IMAGE[..., 0], BOX)
    with pytest.raises(ImageError):
        tracker.update(IMAGE.astype(float))
    assert tracker.update(IMAGE) == untouched.update(IMAGE)


def test_trackers_that_share_a_model_are_independent(model: Runtime) -> None:
    one, two = Tracker(model), Tracker(model)
    one.init(IMAGE, BOX)
    alone = one.update(IMAGE)
    one.init(IMAGE, BOX)
    two.init(IMAGE, Box(5, 5, 40, 40))
    assert one.update(IMAGE) == alone


@pytest.mark.parametrize('box', [Box(0, 0, 160, 120), Box(158, 118, 2, 2), Box(-20, -20, 30, 30)])
def test_extreme_boxes_stay_finite_and_on_the_image(model: Runtime, box: Box) -> None:
    tracker = Tracker(model)
    tracker.init(IMAGE, box)
    for _ in range(5):
        track = tracker.update(IMAGE)
        assert np.isfinite(track.box).all()
        assert 0 <= track.score <= 1
        assert track.box.clip(160, 120).area > 0


def test_the_box_is_scaled_with_the_image(model: Runtime, scene: Scene) -> None:
    tracker, boxes = Tracker(model), []
    tracker.init(scene.images[0], scene.boxes[0])
    for size in ((640, 480), (320, 240), (160, 120), (320, 240)):
        track = tracker.update(cv2.resize(scene.images[0], size))
        assert track.state == State.TRACKING
        boxes.append(np.array(track.box) * (320 / size[0]))
    assert iou(np.array(boxes), scene.boxes[0]).min() > 0.7


def test_images_may_change_size(model: Runtime) -> None:
    tracker = Tracker(model)
    tracker.init(IMAGE, BOX)
    assert tracker.update(IMAGE[:50, :70].copy()).box.cx <= 70


@pytest.mark.slow
@pytest.mark.parametrize('seed', range(4))
def test_packaged_weights_track_a_rendered_scene(model: Runtime, seed: int) -> None:
    scene: Scene = render_scene(60, seed=seed)
    tracker = Tracker(model)
    tracker.init(scene.images[0], scene.boxes[0])
    tracks = [tracker.update(image) for image in scene.images[1:]]
    overlaps = iou([t.box for t in tracks], scene.boxes[1:])
    assert overlaps.mean() > 0.6
    assert overlaps.min() > 0.3


@pytest.mark.slow
def test_packaged_weights_track_a_real_sequence(model: Runtime, shared: Path) -> None:
    frames = open_frames(shared / 'data/sequences/vot15_ball1')
    assert frames.groundtruth is not None
    tracker = Tracker(model)
    overlaps = []
    for image, truth in zip(frames, frames.groundtruth):
        assert truth is not None
        if overlaps:
            overlaps.append(float(iou(tracker.update(image).box, truth)))
        else:
            tracker.init(image, truth)
            overlaps.append(1.0)
    assert np.mean(overlaps) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize('seed', range(1, 5))
def test_packaged_weights_detect_loss_and_redetect_elsewhere(model: Runtime, seed: int) -> None:
    scene: Scene = render_scene(20, (640, 480), seed=seed)
    tracker = Tracker(model)
    tracker.init(scene.images[0], scene.boxes[0])
    for image in scene.images[1:]:
        tracker.update(image)
    left, top, w, h = (round(value) for value in scene.boxes[-1])
    target = scene.images[-1][top : top + h, left : left + w]
    ground = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    gone = cv2.resize(ground, (640, 480), interpolation=cv2.INTER_CUBIC) // 4 + 90
    tracks = [tracker.update(gone) for _ in range(15)]
    assert {track.state for track in tracks[5:]} == {State.LOST}
    assert len({track.box for track in tracks[5:]}) == 1, 'a lost target keeps its last box'
    elsewhere = gone.copy()
    elsewhere[350 : 350 + h, 40 : 40 + w] = target
    track = [tracker.update(elsewhere) for _ in range(30)][-1]
    assert track.state is State.TRACKING
    assert iou([track.box], [Box(40, 350, w, h)])[0] > 0.6


xs, ys, steps = st.floats(0, 640), st.floats(0, 480), st.floats(20, 900)


@given(xs, ys, steps, st.integers(0, 640), st.integers(0, 480))
@example(2e-203, 240.0, 31.0, 640, 480)
def test_tiles_around_a_lost_target_cover_the_image(
    cx: float, cy: float, step: float, x: int, y: int
) -> None:
    """Moving a tile to the image's border only brings it closer to the points of the image."""
    centers = [(cx, cy), *SearchTiles(cx, cy, step, (640, 480))]
    nearest = min(max(abs(x - tile_x), abs(y - tile_y)) for tile_x, tile_y in centers)
    assert nearest <= step / 2 + 1e-6


@given(xs, ys, steps)
@example(2e-203, 240.0, 31.0)
@example(0.0, 0.0, 20.0)
@example(640.0, 480.0, 900.0)
def test_tiles_are_searched_from_the_inner_to_the_outer_ring(
    cx: float, cy: float, step: float
) -> None:
    """The ring of a tile is that of its grid position, before it is moved to the image's border."""
    rings: dict[int, list[tuple[float, float]]] = {}
    for column in range(-math.ceil(cx / step), math.ceil((640 - cx) / step) + 1):
        for row in range(-math.ceil(cy / step), math.ceil((480 - cy) / step) + 1):
            x, y = cx + column * step, cy + row * step
            center = min(max(x, 0.0), 640.0), min(max(y, 0.0), 480.0)
            rings.setdefault(max(abs(column), abs(row)), []).append(center)
    assert rings.pop(0) == [(cx, cy)]
    tiles = list(SearchTiles(cx, cy, step, (640, 480)))
    for ring in sorted(rings):
        inner, tiles = tiles[: len(rings[ring])], tiles[len(rings[ring]) :]
        assert sorted(inner) == sorted(rings[ring])
    assert tiles == []


class Scorer(Pointer):
    """A network that finds the target in the centre of each crop, with a score set by the test."""

    def __init__(self) -> None:
        super().__init__(ScoreMap(25), 12 * 25 + 12, (80.0, 80.0, 80.0, 80.0))
        self.score = 1.0
        self.crops = 0

    def search(
        self, crop: torch.Tensor, template: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.crops = len(crop)
        logits, distances = super().search(crop, template)
        logits[:, 1, self.candidate] = math.log(self.score / (1 - self.score + 1e-9))
        return logits, distances


def noise(seed: int) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (480, 640, 3), dtype=np.uint8)


class ScoredTarget:
    """A target that is tracked with scores set by the test."""

    def __init__(self, **settings: Any) -> None:
        self.network = Scorer()
        self.tracker = Tracker(eager_runtime(self.network, 'cpu'), TrackerSettings(**settings))
        self.image = np.zeros((480, 640, 3), np.uint8)
        self.tracker.init(self.image, Box.from_center(320, 240, 60, 60))

    def init_on_noise(self) -> None:
        """Initialise the target on an image with texture, so that others look different."""
        self.network.distances = (31.75,) * 4  # 60 pixels of the image
        self.image = noise(0)
        self.tracker.init(self.image, Box.from_center(320, 240, 60, 60))

    def states(self, *scores: float) -> list[State]:
        return [self.track(score).state for score in scores]

    def track(self, score: float) -> Track:
        self.network.score = score
        return self.tracker.update(self.image)


def test_states_have_hysteresis() -> None:
    target = ScoredTarget(
        uncertain_threshold=0.8,
        lost_threshold=0.4,
        reacquire_threshold=0.9,
        lost_patience=2,
        max_searches=1,
    )
    T, U, L = State.TRACKING, State.UNCERTAIN, State.LOST  # noqa: N806
    assert target.states(0.85, 0.79, 0.85, 0.91, 0.85) == [T, U, U, T, T]
    assert target.states(0.3, 0.5) == [L, U], 'within lost_patience, lost_threshold is enough'
    assert target.states(0.3, 0.3, 0.3, 0.85, 0.91) == [L, L, L, L, T], (
        'later, reacquire_threshold is needed'
    )


def test_a_lost_target_is_not_found_in_what_looks_different() -> None:
    """Scores are high in every search region; only one of them shows the target."""
    pattern = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    target = ScoredTarget(max_searches=3)
    target.network.distances = (31.75,) * 4  # 60 pixels of the image
    target.image[160:320, 240:400] = pattern
    target.tracker.init(target.image, Box.from_center(320, 240, 60, 60))
    target.states(*[0.95] * 10)
    box = target.track(0.1).box
    target.image = noise(1)
    assert target.states(*[0.95] * 20) == [State.LOST] * 20
    x, y = round(box.cx + TILE_SPACING * search_side(box.w, box.h)), 240  # centre of a tile
    target.image[y - 80 : y + 80, x - 80 : x + 80] = pattern
    tracks = [target.track(0.95) for _ in range(20)]
    found = next(track for track in tracks if track.state != State.LOST)
    assert (found.box.cx, found.box.cy) == pytest.approx((x, y), abs=2)


def test_a_target_with_a_low_score_that_looks_different_is_lost() -> None:
    target = ScoredTarget()
    target.init_on_noise()
    T, U, L = State.TRACKING, State.UNCERTAIN, State.LOST  # noqa: N806
    assert target.states(*[0.95] * 10, 0.7, 0.95) == [T] * 10 + [U, T]
    target.image = noise(1)
    assert target.states(0.95, 0.7, 0.95) == [T, L, L]


def test_lost_threshold_0_switches_lost_off() -> None:
    target = ScoredTarget(lost_threshold=0)
    target.init_on_noise()
    target.states(*[0.95] * 10)
    target.image = noise(1)
    assert State.LOST not in target.states(0.95, 0.7, 0.01, 0.95)


def test_an_uncertain_target_keeps_its_size() -> None:
    target = ScoredTarget(penalty_k=0, lr=1)
    size = target.track(0.7).box[2:]
    assert size == pytest.approx((60, 60))
    grown = target.track(0.95).box
    assert grown.w > 70


@pytest.mark.parametrize('searches', [1, 2, 4])
def test_the_searches_for_a_lost_target_are_bounded(searches: int) -> None:
    target = ScoredTarget(max_searches=searches)
    target.track(0.9)
    assert target.network.crops == 1
    for _ in range(30):
        assert target.track(0.1).state == State.LOST
    assert target.network.crops == searches


def test_the_number_of_tiles_is_bounded_for_tiny_targets() -> None:
    target = ScoredTarget()
    target.tracker.init(target.image, Box(320, 240, 2, 2))
    assert target.states(0.1, 0.1, 0.1) == [State.LOST] * 3
    min_step = MIN_SEARCH_SIDE * TILE_SPACING
    assert len(SearchTiles(320, 240, min_step, (640, 480))) < 500


def test_the_tiles_of_a_huge_image_take_no_memory() -> None:
    target = ScoredTarget()
    target.tracker.init(target.image, Box(10, 0, 10, 10))
    target.image = np.zeros((1, 6_000_000, 3), np.uint8)
    assert target.states(0.1) == [State.LOST]
    tracemalloc.start()
    try:
        assert target.states(0.1, 0.1) == [State.LOST] * 2
        assert tracemalloc.get_traced_memory()[1] < 10e6, 'the crops of three searches take 5 MB'
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_a_batch_gives_the_same_tracks_as_single_trackers(model: Runtime) -> None:
    scenes = [render_scene(12, (320, 240), seed=seed) for seed in range(3)]
    alone, together = ([Tracker(model) for _ in scenes] for _ in range(2))
    for trackers in (alone, together):
        for tracker, scene in zip(trackers, scenes):
            tracker.init(scene.images[0], scene.boxes[0])
    for n in range(1, 12):
        images = [scene.images[n] if n < 8 else np.zeros_like(IMAGE) for scene in scenes]
        expected = [tracker.update(image) for tracker, image in zip(alone, images)]
        assert update_all(together, images) == expected
    assert {track.state for track in expected} == {State.LOST}, 'this includes re-detection'


def test_a_bad_image_in_a_batch_changes_no_tracker(model: Runtime) -> None:
    """Not even the motion of the target of another image, which a change of size resets."""
    scene = render_scene(6, (320, 240), seed=0)
    trackers = [Tracker(model) for _ in range(2)]
    for tracker in trackers:
        tracker.init(scene.images[0], scene.boxes[0])
    for image in scene.images[1:5]:
        update_all(trackers, [image, image])
    with pytest.raises(ImageError):
        update_all(trackers, [IMAGE, IMAGE[..., 0]])
    first, second = update_all(trackers, [scene.images[5]] * 2)
    assert first == second
    assert update_all([], []) == []
