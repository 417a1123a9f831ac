from __future__ import annotations

import numpy as np
import pytest

from siamffn_model.errors import ImageError
from siamffn_model.imaging.drawing import contact_sheet, draw_track
from siamffn_model.imaging.geometry import Box


def grey(width: int, height: int, value: int = 128) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize('size', [(176, 144), (320, 240), (1280, 720)])
def test_box_is_drawn_on_its_border_only(size: tuple[int, int]) -> None:
    image = grey(*size)
    box = Box(size[0] / 4, size[1] / 2, size[0] / 4, size[1] / 4)
    draw_track(image, box, '', (0, 0, 255))
    x, y = round(box.x), round(box.y)
    assert image[y, round(box.cx)].tolist() == [0, 0, 255]
    assert image[round(box.cy), x].tolist() == [0, 0, 255]
    assert image[round(box.cy), round(box.cx)].tolist() == [128, 128, 128]
    assert image[round(box.cy), x + round(box.w) + 9].tolist() == [128, 128, 128]


@pytest.mark.parametrize('ground', [0, 128, 255])
@pytest.mark.parametrize(
    'box',
    [None, Box(100, 100, 40, 40), Box(0, 0, 320, 240), Box(300, 230, 40, 40), Box(-9, 2, 9, 9)],
)
def test_label_is_readable_on_any_background(box: Box | None, ground: int) -> None:
    plain, labelled = grey(320, 240, ground), grey(320, 240, ground)
    draw_track(plain, box, '')
    draw_track(labelled, box, '12 TRACKING 0.93')
    y, x = np.nonzero((plain != labelled).any(axis=2))
    strip = labelled[y.min() : y.max() + 1, x.min() : x.max() + 1]
    assert strip.shape[0] > 10 and strip.shape[1] > 60
    assert (strip < 40).mean() > 0.3, 'dark background'
    assert (strip > 240).mean() > 0.02, 'white letters'


def test_line_width_and_text_size_are_limited() -> None:
    """OpenCV refuses lines wider than a few thousand pixels."""
    image = grey(6_000_000, 1)
    draw_track(image, Box(10, 0, 3_000_000, 1), '12 TRACKING 0.93')
    assert (image != 128).any()


def test_contact_sheet_keeps_order_and_shape() -> None:
    images = [grey(160, 120, 40 * i) for i in range(5)] + [grey(50, 100, 250)]
    sheet = contact_sheet(images, columns=4, width=80)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (60 + 160 + 3 * 4, 4 * 80 + 5 * 4, 3)
    for index, value in enumerate([0, 40, 80, 120, 160, 250]):
        y, x = (34, 108)[index // 4], 44 + 84 * (index % 4)
        assert sheet[y - 5 : y + 5, x - 5 : x + 5].tolist() == grey(10, 10, value).tolist()


def test_contact_sheet_of_fewer_images_than_columns_is_narrow() -> None:
    assert contact_sheet([grey(32, 24)], columns=4, width=64).shape == (48 + 8, 64 + 8, 3)


def test_contact_sheet_without_images() -> None:
    with pytest.raises(ImageError, match='give at least one'):
        contact_sheet([])
