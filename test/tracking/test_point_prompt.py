"""Tests of siamffn_model/tracking/point_prompt.py, with the packaged weights."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.errors import BoxError, ConfigError, ImageError
from siamffn_model.imaging.geometry import iou
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.tracking.point_prompt import find_box


def scene(seed: int) -> Scene:
    return render_scene(1, (640, 480), seed)


def test_a_click_finds_the_box_of_a_rendered_target(model: Runtime) -> None:
    overlaps = []
    for seed in range(4):
        (image,), (truth,) = scene(seed)
        overlaps += [
            iou(find_box(model, image, (truth.cx + dx * truth.w, truth.cy)), truth)
            for dx in (0, 0.15)
        ]
    assert np.median(overlaps) > 0.7
    assert min(overlaps) > 0.4


def test_the_radius_decides_between_an_object_and_what_it_stands_on(model: Runtime) -> None:
    (image,), (truth,) = scene(1)
    side = math.sqrt(truth.area)
    point = truth.cx, truth.cy
    assert iou(find_box(model, image, point, side / 2), truth) > 0.7
    small = find_box(model, image, point, side / 10)
    large = find_box(model, image, point, side)
    assert small.area < 0.5 * truth.area < 0.5 * large.area


def test_the_box_contains_the_point_and_is_inside_the_image(model: Runtime) -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    cv2.rectangle(image, (-1, 90), (30, 150), (20, 200, 240), -1)
    x, y, w, h = find_box(model, image, (5, 120))
    assert 0 <= x <= 5 <= x + w and 0 <= y <= 120 <= y + h <= 240


def test_the_box_scales_with_the_image(model: Runtime) -> None:
    (image,), (truth,) = scene(1)
    box = find_box(model, image, (truth.cx, truth.cy))
    large = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    double = find_box(model, large, (2 * truth.cx, 2 * truth.cy))  # type: ignore[arg-type]
    assert iou(double, [2 * value for value in box]) > 0.9


def test_nothing_is_found_where_nothing_is(model: Runtime) -> None:
    with pytest.raises(BoxError, match=r'no object is found at \(100, 120\).*give a box'):
        find_box(model, np.full((240, 320, 3), 90, np.uint8), (100, 120))


@pytest.mark.parametrize('point', [(-1, 5), (320, 5), (5, 240), (math.nan, 5), (5, math.inf)])
def test_a_point_outside_the_image_is_refused(model: Runtime, point: tuple[float, float]) -> None:
    with pytest.raises(BoxError, match='outside the 320x240 image'):
        find_box(model, np.zeros((240, 320, 3), np.uint8), point)


@pytest.mark.parametrize('radius', [-1, 1e-9, 321, math.nan, math.inf])
def test_a_radius_that_no_object_has_is_refused(model: Runtime, radius: float) -> None:
    with pytest.raises(BoxError, match=r'radius .* is not allowed'):
        find_box(model, np.zeros((240, 320, 3), np.uint8), (5, 5), radius)


def test_an_array_that_is_no_image_is_refused(model: Runtime) -> None:
    with pytest.raises(ImageError, match='BGR uint8'):
        find_box(model, np.zeros((240, 320), np.uint8), (5, 5))


def test_a_model_without_sizes_is_refused() -> None:
    class Positions:
        score_map = ScoreMap(25, sized=False)

    with pytest.raises(ConfigError, match='predicts no sizes'):
        find_box(Positions(), np.zeros((240, 320, 3), np.uint8), (5, 5))  # type: ignore[arg-type]
