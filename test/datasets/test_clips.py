"""Clips: exact boxes, smooth motion, distractors beside the target and occluders above it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import ArrayLike

from siamffn_model.datasets.clips import Clip
from siamffn_model.datasets.copy_paste import Pose, Sprite, make_sprite, paste
from siamffn_model.errors import ConfigError
from siamffn_model.imaging.crop import context_side
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image

BLACK = np.zeros((200, 300, 3), np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)
CLOUDS = np.asarray(cv2.resize(NOISE, (300, 200)), np.uint8)


def ellipse(colours: ArrayLike) -> Sprite:
    """Return a sprite of an ellipse of 101x81 pixels."""
    image, mask = np.zeros((100, 120, 3), np.uint8), np.zeros((100, 120), np.uint8)
    image[:] = colours
    cv2.ellipse(mask, (60, 50), (50, 40), 0, 0, 360, 255, -1)
    return make_sprite(image, mask, Box(*map(float, cv2.boundingRect(mask))))


WHITE, RED = ellipse(255), ellipse(np.array((0, 0, 255)))


def draw(seed: int, length: int = 60, ground: Image = BLACK, target: Sprite = WHITE) -> Clip:
    """Return a clip of a target with red distractors."""
    return Clip.draw(np.random.default_rng(seed), target, [RED], ground, length)


def target_only(clip: Clip) -> Clip:
    """Return the clip without distractors and occluder."""
    return replace(clip, distractors=[], similar_distractors=[], occluder=None)


def boxes(clip: Clip) -> np.ndarray:
    """Return the target's boxes (length, 4)."""
    return np.array([clip.frame(number)[1] for number in range(len(clip))])


def test_frame_depends_on_the_seed_only() -> None:
    first, again, other = draw(3, ground=CLOUDS), draw(3, ground=CLOUDS), draw(4, ground=CLOUDS)
    forward = [first.frame(number) for number in range(0, 60, 9)]
    backward = [again.frame(number) for number in reversed(range(0, 60, 9))]
    for (image, box), (same, same_box) in zip(forward, reversed(backward), strict=True):
        assert np.array_equal(image, same)
        assert box == same_box
    assert not np.array_equal(forward[0][0], other.frame(0)[0])


@pytest.mark.parametrize('seed', range(6))
def test_box_fits_the_pixels(seed: int) -> None:
    clip = target_only(draw(seed))
    errors = []
    for number in range(len(clip)):
        image, box = clip.frame(number)
        mask = image[..., 0] > 127 * clip.light[number]
        visible = Box(*map(float, cv2.boundingRect(mask.astype(np.uint8))))
        inside = box.clip(320, 240)
        assert visible == pytest.approx(inside, abs=2)
        errors.append((visible.cx - inside.cx, visible.cy - inside.cy))
    assert np.mean(errors, axis=0) == pytest.approx((0, 0), abs=0.2)


@pytest.mark.slow
@pytest.mark.parametrize('size', [(320, 240), (64, 64), (101, 303)])
@pytest.mark.parametrize('seed', range(6))
def test_the_target_stays_in_bounds_and_moves_smoothly(size: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    clip = Clip.draw(rng, WHITE, [RED], CLOUDS, 120, size)
    assert clip.frame(0)[0].shape == (size[1], size[0], 3)
    x, y, w, h = boxes(clip).T
    centers, sides = np.stack([x + w / 2, y + h / 2]), np.sqrt(w * h)
    assert centers.min() > 0
    assert (centers.max(axis=1) < size).all()
    assert 19.99 < sides.min() < sides.max() < 0.4 * min(size) + 0.01
    steps = np.diff(centers) / sides[1:]
    assert 0.01 < np.hypot(*steps).max() < 0.4
    assert np.hypot(*np.diff(centers, 2)).max() < 0.05 * sides.max()
    assert np.abs(np.diff(np.log([w, h]))).max() < 0.05
    assert np.ptp(w / h) > 0.02  # it turns and stretches


def test_small_targets_are_frequent() -> None:
    sides = [np.sqrt(draw(seed, length=1).frame(0)[1].area) for seed in range(200)]
    assert np.mean(np.array(sides) < 40) > 0.4
    assert np.mean(np.array(sides) > 60) > 0.1


def test_distractors_and_occluders_are_as_frequent_as_specified() -> None:
    clips = [draw(seed, length=1) for seed in range(400)]
    counts = np.bincount([len(clip.similar_distractors) for clip in clips], minlength=3) / 400
    assert counts == pytest.approx([0.55, 0.30, 0.15], abs=0.08)
    assert np.mean([clip.occluder is not None for clip in clips]) == pytest.approx(0.35, abs=0.08)
    assert np.mean([len(clip.distractors) for clip in clips]) == pytest.approx(1.3, abs=0.2)


@pytest.mark.slow
def test_similar_distractors_do_not_cover_the_target() -> None:
    clips = [clip for clip in map(draw, range(30)) if clip.similar_distractors]
    for clip in clips:
        longest = boxes(clip)[:, 2:].max(axis=1)
        for distractor in clip.similar_distractors:
            distance = np.hypot(*(distractor.center - clip.target.center).T)
            assert (distance >= longest).all()
    bare = [target_only(clip).frame(30)[0] for clip in clips]
    crowded = [replace(clip, distractors=[], occluder=None).frame(30)[0] for clip in clips]
    visible = [(a > b).any() for a, b in zip(crowded, bare)]
    assert np.mean(visible) > 0.7  # the others are outside of the image


@pytest.mark.parametrize('seed', range(16))
def test_distractors_are_visible_below_the_target(seed: int) -> None:
    clip = replace(draw(seed), similar_distractors=[], occluder=None)
    visible = False
    for number in range(0, 60, 6):
        bare, crowded = target_only(clip).frame(number)[0], clip.frame(number)[0]
        assert (crowded[..., 0] == bare[..., 0]).all()  # only the target contains blue
        visible |= bool((crowded > bare).any())
    assert visible == bool(clip.distractors)


@pytest.mark.slow
def test_occluder_crosses_the_target_and_covers_a_part() -> None:
    clips = [clip for clip in (draw(seed, 120) for seed in range(40)) if clip.occluder]
    for clip in clips:
        free = target_only(clip)
        covered = replace(free, occluder=clip.occluder)
        visible = [
            np.divide(*(c.frame(number)[0][..., 0].sum(dtype=float) for c in (covered, free)))
            for number in range(len(clip))
        ]
        assert 0.1 < min(visible) < 0.85
        assert max(visible[0], visible[-1]) == 1


def test_the_camera_and_the_light_change_slowly() -> None:
    clip = replace(target_only(draw(5, ground=CLOUDS)), light=np.ones(60))
    start, soon, late = (clip.frame(number)[0].astype(float) for number in (0, 1, 40))
    assert 0 < np.median(np.abs(soon - start)) < 0.3 * np.median(np.abs(late - start))
    clip = target_only(draw(5, ground=np.full_like(BLACK, 100)))
    level = np.array([np.median(clip.frame(number)[0]) for number in range(len(clip))])
    assert np.ptp(level) > 2
    assert np.abs(np.diff(level)).max() <= 3


def test_fine_texture_does_not_flicker() -> None:
    """Stripes that are too fine for a small target become grey."""
    stripes = ellipse(np.where(np.arange(120) % 2, 255, 0)[None, :, None])
    clip = next(c for s in range(99) if (c := draw(s, target=stripes)).target.size.max() < 30)
    image, box = target_only(clip).frame(0)
    middle = image[round(box.cy) - 4 : round(box.cy) + 4, round(box.cx) - 4 : round(box.cx) + 4]
    assert middle.mean() == pytest.approx(127 * clip.light[0], abs=12)
    assert middle.std() < 25


@pytest.mark.parametrize(
    ('others', 'length', 'size'), [(0, 5, (320, 240)), (1, 0, (320, 240)), (1, 5, (320, 63))]
)
def test_rejects_invalid_arguments(others: int, length: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match='at least 1 frame, 64 pixels a side and 1 other sprite'):
        Clip.draw(rng, WHITE, others * [RED], BLACK, length, size)


@pytest.mark.parametrize('pose', [Pose(0, 1), Pose(40, 1.3), Pose(-100, 0.7)])
@pytest.mark.parametrize('side', [30.0, 130.0, 400.0])
@pytest.mark.parametrize('center', [(100, 80), (-3, 118), (300, 300)])
def test_paste_equals_blending_in_the_entire_view(
    pose: Pose, side: float, center: tuple[float, float]
) -> None:
    """`paste` blends only in a part of the view, which contains the entire sprite."""
    rng = np.random.default_rng(0)
    sprite = ellipse(rng.integers(0, 256, (100, 120, 3)))
    view = rng.integers(0, 256, (120, 160, 3)).astype(np.uint8)
    background = view.copy()
    box = paste(view, sprite, pose, side, center)
    outline = sprite.outline @ pose.matrix().T
    scale = side / context_side(*np.ptp(outline, axis=0))
    corner = np.array([box.x, box.y]) - scale * outline.min(axis=0)
    matrix = np.hstack([scale * pose.matrix(), corner[:, None]])
    colour = cv2.warpAffine(sprite.image, matrix, (160, 120), borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(sprite.mask, matrix, (160, 120))[..., None] / 255
    assert np.abs(view - alpha * colour - (1 - alpha) * background).max() < 2  # rounding
