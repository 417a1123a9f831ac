"""Training pairs: their contents, which depend only on seed and index."""

from __future__ import annotations

import numpy as np
import pytest

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import DataError, ImageError
from siamffn_model.imaging.crop import context_side
from siamffn_model.imaging.geometry import Box
from siamffn_model.training.pair_sources import SceneSource
from siamffn_model.training.recipe import Recipe
from siamffn_model.training.sampling import CropSpec, Pair, PairDataset, TargetPair, collate

RECIPE = Recipe.model_validate(
    {
        'model': 'siamffn_lite0',
        'loss': 'csrl',
        'data': {'rendered': {'pairs': 30, 'range': 8}, 'pack': {'pairs': 10}},
        'epochs': 3,
        'batch': 4,
        'optimizer': 'sgd',
        'rate': {'warmup': 0},
        'negative': 0.3,
    }
)


class PlainSource:
    """A source of uniformly grey targets, each with a different shade."""

    def __init__(self, shades: list[int], broken: int = -1) -> None:
        self.shades, self.broken = shades, broken

    def draw(self, rng: np.random.Generator) -> TargetPair:
        """Draw a shade."""
        shade = self.shades[rng.integers(len(self.shades))]

        def crop(spec: CropSpec) -> tuple[np.ndarray, Box]:
            if shade == self.broken:
                raise ImageError(f'{shade}.jpg: damaged')
            return spec.crop(np.full((200, 200, 3), shade, np.uint8), Box(80, 90, 40, 30))

        return TargetPair(str(shade), crop, crop)


def without_augmentation(**changes: object) -> Recipe:
    disabled = {name: 0.0 for name in RECIPE.augmentation.model_dump() if name != 'shift'}
    return RECIPE.model_copy(
        update={'augmentation': RECIPE.augmentation.model_copy(update=disabled), **changes}
    )


def scenes(recipe: Recipe = RECIPE) -> PairDataset:
    return PairDataset(recipe, [SceneSource(8), SceneSource(1)], 625)


def equal(one: Pair, other: Pair) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.slow
def test_pairs_have_the_shapes_and_ranges_of_the_recipe() -> None:
    pairs = scenes()
    assert len(pairs) == 3 * 40
    for index in range(30):
        template, search, box, _, sampling_priority, unreadable = pairs[index]
        assert (template.shape, search.shape) == ((127, 127, 3), (255, 255, 3))
        assert template.dtype == search.dtype == np.uint8
        assert (sampling_priority.shape, sampling_priority.dtype, unreadable) == (
            (2, 625),
            np.float32,
            [],
        )
        x, y, w, h = box
        assert abs(x + w / 2 - 127) <= 64.5
        assert abs(y + h / 2 - 127) <= 64.5
        assert abs(np.log(context_side(w, h) / 127)) <= 0.18 + 1e-3


def test_pairs_depend_only_on_seed_and_index() -> None:
    pairs, again = scenes(), scenes()
    for index in (107, 3, 59):
        assert equal(pairs[index], again[index])
    assert not equal(pairs[3], pairs[43]), 'the same position in the next epoch'
    assert not equal(pairs[3], scenes(RECIPE.model_copy(update={'seed': 1}))[3])


def test_each_source_provides_its_pairs_in_every_epoch() -> None:
    recipe = without_augmentation(negative=0)
    pairs = PairDataset(recipe, [PlainSource([10]), PlainSource([200])], 9)
    shades = [int(pairs[index].template[60, 60, 0]) for index in range(len(pairs))]
    epochs = [shades[start : start + 40] for start in (0, 40, 80)]
    assert [epoch.count(10) for epoch in epochs] == [30, 30, 30]
    assert epochs[0] != epochs[1]


def test_a_negative_pair_shows_another_target() -> None:
    pairs = PairDataset(
        without_augmentation(epochs=10), [PlainSource([10, 60]), PlainSource([110, 200])], 9
    )
    negatives = 0
    for index in range(len(pairs)):
        template, search, _, negative, *_ = pairs[index]
        assert negative == (template[60, 60, 0] != search[120, 120, 0])
        negatives += negative
    assert (
        pytest.approx(negatives / len(pairs), abs=0.08) == 0.3 * 0.75
    )  # 3 of 4 second targets differ from the first


def test_a_damaged_image_is_replaced_and_reported() -> None:
    recipe = without_augmentation(negative=0)
    pairs = PairDataset(recipe, [PlainSource([10, 60], broken=60), PlainSource([10])], 9)
    drawn = [pairs[index] for index in range(40)]
    assert {int(pair.template[60, 60, 0]) for pair in drawn} == {10}
    unreadable = [message for pair in drawn for message in pair.unreadable]
    assert 5 <= len(unreadable) <= 40
    assert set(unreadable) == {'60.jpg: damaged'}
    assert collate(drawn).unreadable == unreadable


def test_a_source_with_only_damaged_images_raises_an_error() -> None:
    pairs = PairDataset(
        without_augmentation(), [PlainSource([60], broken=60), PlainSource([60], broken=60)], 9
    )
    with pytest.raises(DataError, match=r'10 images in a row .* 60.jpg: damaged; `siamffn data'):
        pairs[0]


def test_a_crop_shows_the_target_at_the_specified_position(scene: Scene) -> None:
    spec = CropSpec(255, 127.0, (150.0, 100.0))
    box = scene.boxes[0]
    crop, cropped_box = spec.crop(scene.images[0], box)
    assert (cropped_box.cx, cropped_box.cy) == pytest.approx((150, 100))
    assert context_side(cropped_box.w, cropped_box.h) == pytest.approx(127)
    straight, _ = CropSpec(255, 127.0, (127.0, 127.0)).crop(scene.images[0], box)
    difference = crop[:220, 60:].astype(float) - straight[27:247, 37:232]
    assert np.abs(difference).mean() < 1  # warping rounds to fractions of a pixel


def test_stretch_changes_the_aspect_ratio_and_keeps_the_position(scene: Scene) -> None:
    spec = CropSpec(255, 127.0, (150.0, 100.0), stretch=2.0)
    box = scene.boxes[0]
    _, cropped_box = spec.crop(scene.images[0], box)
    assert (cropped_box.cx, cropped_box.cy) == pytest.approx((150, 100))
    assert context_side(cropped_box.w, cropped_box.h) == pytest.approx(127)
    assert cropped_box.w / cropped_box.h == pytest.approx(2 * box.w / box.h)


def test_a_crop_beyond_the_image_is_filled() -> None:
    image = np.full((50, 50, 3), 90, np.uint8)
    crop, _ = CropSpec(127, 127.0, (63.0, 63.0)).crop(image, Box(0, 0, 20, 20))
    assert (crop == 90).all()
