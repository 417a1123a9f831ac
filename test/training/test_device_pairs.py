"""Pairs that are computed on a device, against the pairs of the loader."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from siamffn_model.datasets.copy_paste import Pose, make_sprite, paste
from siamffn_model.datasets.pack import Pack
from siamffn_model.distributed import World
from siamffn_model.errors import DataError
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image
from siamffn_model.training.device_drawing import TargetSource
from siamffn_model.training.device_images import DeviceImages, load_images
from siamffn_model.training.device_pairs import DevicePairs
from siamffn_model.training.device_rendering import Canvas, render
from siamffn_model.training.device_targets import Targets
from siamffn_model.training.loading import open_batches
from siamffn_model.training.pair_sources import PackSource
from siamffn_model.training.recipe import Augmentation, Recipe
from siamffn_model.training.sampling import Batch, CropSpec, PairDataset, collate

pytestmark = pytest.mark.slow

CPU = torch.device('cpu')
STRONG = {
    'scale': 0.4,
    'stretch': 0.5,
    'colour': 0.6,
    'light': 0.2,
    'grey': 0.1,
    'faint': 0.25,
    'blur': 0.3,
    'pixels': 0.6,
    'noise': 0.15,
    'compression': 0.5,
}
NONE = {'light': 0.0, 'blur': 0.0}


def recipe(
    pairs: int, batch: int, negative: float = 0.15, augmentation: dict[str, float] = STRONG
) -> Recipe:
    return Recipe.model_validate(
        {
            'model': 'siamffn_lite0',
            'loss': 'csrl',
            'data': {'pack': {'pairs': pairs, 'range': 3}, 'device': True},
            'epochs': 1,
            'batch': batch,
            'negative': negative,
            'augmentation': augmentation,
            'optimizer': 'sgd',
            'rate': {'warmup': 0},
        }
    )


@pytest.fixture(scope='module')
def pack(tiny_pack: Path) -> Pack:
    return Pack.read(tiny_pack)


@pytest.fixture(scope='module')
def images(pack: Pack) -> DeviceImages:
    return load_images(pack, CPU, 0)


def equal(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one[:5], other[:5], strict=True))


def difference(one: Image, other: Image) -> float:
    return float(np.abs(one.astype(float) - other).mean())


def rendered(images: DeviceImages, targets: Targets, view: int, size: int) -> Image:
    """Render one crop at full resolution."""
    canvas, _ = Canvas.sort(np.array([view]), np.array([size]))
    pixels = render(images, targets, canvas).view(torch.uint8).view(size, size, 4)
    return np.asarray(pixels[..., :3].numpy(), np.uint8)


def draw_kind(images: DeviceImages, kind: str, count: int) -> Targets:
    """Draw targets of one kind, with a strong stretch."""
    rng = np.random.default_rng(0)
    stretch = np.exp(rng.uniform(-0.5, 0.5, (count, 2)))
    targets = Targets.draw(rng, stretch, Augmentation(scale=0.4))
    getattr(TargetSource(images, 3), f'_{kind}')(rng, targets, np.arange(count))
    return targets


def spec_of(targets: Targets, row: int, role: int) -> CropSpec:
    x, y = targets.center[row, role].tolist()
    side, stretch = float(targets.side[row, role]), float(targets.stretch[row, role])
    return CropSpec((127, 255)[role], side, (x, y), stretch)


# --- geometry


@pytest.mark.parametrize('role', [0, 1])
def test_a_crop_of_a_video_equals_that_of_the_loader(
    pack: Pack, images: DeviceImages, role: int
) -> None:
    targets = draw_kind(images, 'video', 10)
    frames = {
        len(pack.objects) + len(pack.backgrounds) + number: frame
        for number, frame in enumerate(pack.videos['otb']['clip'])
    }
    for row in range(10):
        frame = frames[int(targets.image[row, role])]
        spec = spec_of(targets, row, role)
        crop, box = spec.crop(pack.image(frame.image), frame.box)
        assert targets.box[row, role] == pytest.approx(box, abs=0.01)
        assert difference(rendered(images, targets, 2 * row + role, spec.size), crop) < 1


@pytest.mark.parametrize('kind', ['paste', 'clip'])
def test_a_pasted_object_and_its_box_are_those_of_copy_paste(
    pack: Pack, images: DeviceImages, kind: str
) -> None:
    """Without distractors and occluders, and over black instead of a background."""
    targets = draw_kind(images, kind, 12)
    target_layer = 5
    targets.layers = [layer if n == target_layer else [] for n, layer in enumerate(targets.layers)]
    (overlays,) = targets.layers[target_layer]
    overlays.levels[:] = (1, 1, 1), (0, 0, 0)
    targets.window[:] = (1e6, 1e6, 2e6, 2e6) if kind == 'paste' else targets.window
    for view, number, matrix in zip(overlays.view, overlays.image, overlays.matrix):
        row, role = divmod(int(view), 2)
        if kind == 'clip' and targets.enlargement[row, role] == 1:
            continue
        item = pack.objects[number]
        sprite = make_sprite(pack.image(item.image), pack.mask(item.mask), item.box)
        scale, first = targets.frame[row, role]
        linear = np.linalg.inv(matrix[:, :2] * scale)
        pose = Pose(float(np.rad2deg(np.arctan2(-linear[0, 1], linear[1, 1]))), 1.0)
        if kind == 'clip':  # the pose in the crop is a shear, as the crop is stretched
            box = Box(*targets.box[row, role].tolist())
            corner = max(int(item.box.x) - 2, 0), max(int(item.box.y) - 2, 0)
            corners = sprite.outline + corner
            points = np.linalg.inv(matrix[:, :2]) @ (corners - matrix[:, 2]).T
            points = (points.T - first) / scale
            assert points.min(axis=0) == pytest.approx(box[:2], abs=0.5)
            assert np.ptp(points, axis=0) == pytest.approx(box[2:], abs=0.5)
            continue
        stretch = float(np.hypot(linear[0, 0], linear[1, 0]) / np.hypot(*linear[:, 1]))
        spec = spec_of(targets, row, role)
        canvas = np.zeros((spec.size, spec.size, 3), np.uint8)
        box = paste(canvas, sprite, pose._replace(stretch=stretch), spec.side, spec.center)
        assert targets.box[row, role] == pytest.approx(box, abs=0.05)
        targets.window[row, role] = -1e6, -1e6, 1e6, 1e6
        crop = rendered(images, targets, int(view), spec.size)
        x, y, w, h = (round(value) for value in box.clip(spec.size, spec.size))
        inner = slice(y + h // 4, y + h - h // 4), slice(x + w // 4, x + w - w // 4)
        if canvas[inner].all(axis=-1).mean() > 0.95:
            assert difference(crop[inner], canvas[inner]) < 8


@pytest.mark.parametrize('kind', ['image', 'part'])
def test_the_box_of_a_still_image_has_the_drawn_size_and_position(
    images: DeviceImages, kind: str
) -> None:
    targets = draw_kind(images, kind, 20)
    x, y, w, h = np.moveaxis(targets.box, -1, 0)
    assert np.stack([x + w / 2, y + h / 2], -1) == pytest.approx(targets.center, abs=0.5)
    width_factor = np.sqrt(targets.stretch)
    margin = (w + h) / 2
    side = np.sqrt((w + margin) * (h + margin))
    assert side == pytest.approx(targets.side, rel=0.01)
    assert width_factor.std() > 0.05


# --- batches


def test_batches_from_a_later_step_equal_those_of_a_complete_run(
    images: DeviceImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('siamffn_model.training.device_pairs.BLOCK', 8)
    complete = list(DevicePairs(recipe(24, 4), images, 9, World(0, 1, 'cpu')))
    resumed = list(DevicePairs(recipe(24, 4), images, 9, World(0, 1, 'cpu'), step=3))
    assert len(complete) == 6
    assert len(resumed) == 3
    assert all(map(equal, resumed, complete[3:]))
    assert not any(map(equal, complete[1:], complete))


def test_processes_and_seeds_have_different_pairs(
    images: DeviceImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('siamffn_model.training.device_pairs.BLOCK', 4)
    config = recipe(16, 8)
    other = config.model_copy(update={'seed': 1})
    first, second, third = (
        next(iter(DevicePairs(config, images, 9, World(rank, 2, 'cpu'))))
        for config, rank in ((config, 0), (config, 1), (other, 0))
    )
    assert first.search.shape == (4, 255, 255, 3)
    assert not torch.equal(first.search, second.search)
    assert not torch.equal(first.search, third.search)


def test_the_recipe_selects_pairs_on_the_device_and_damaged_images_are_reported(pack: Pack) -> None:
    name = pack.objects[1].image
    damaged = Pack({**pack.files, name: b'damaged'}, pack.objects, pack.backgrounds, pack.videos)
    source, world = PackSource(damaged, 3), World(0, 1, 'cpu')
    with open_batches(recipe(12, 4), [source], 9, world, 1, 1) as loader:
        first, second = loader
    assert first.unreadable == [f'file {name} of the pack is damaged: copy the pack again']
    assert second.unreadable == []
    assert (first.search.dtype, first.template.shape) == (torch.uint8, (4, 127, 127, 3))
    assert (first.sampling_priority.shape, first.negative.dtype) == ((4, 2, 9), torch.bool)
    empty = Pack({}, pack.objects, pack.backgrounds, pack.videos)
    with pytest.raises(DataError, match='contains no file'):
        load_images(empty, CPU, 0)


def statistics(batch: Batch) -> dict[str, float]:
    """Return statistics of the pairs of a batch."""
    search, template = batch.search.float(), batch.template.float()
    _, _, w, h = batch.box.T
    across = search.diff(dim=2).abs().mean(dim=(1, 2, 3)) / (search.std(dim=(1, 2, 3)) + 1)
    grey = (template.amax(-1) - template.amin(-1)).mean(dim=(1, 2)) < 3
    return {
        'search mean': float(search.mean()) / 255,
        'template mean': float(template.mean()) / 255,
        'search deviation': float(search.std(dim=(1, 2, 3)).mean()) / 255,
        'template deviation': float(template.std(dim=(1, 2, 3)).mean()) / 255,
        'detail': float(across.mean()),
        'log size': float((w * h).log().mean()) / 2,
        'deviation of log size': float((w * h).log().std()),
        'deviation of log ratio': float((w / h).log().std()),
        'center deviation': float((batch.box[:, 0] + w / 2).std()) / 255,
        'negative': float(batch.negative.float().mean()),
        'grey': float(grey.float().mean()),
    }


def test_pairs_have_the_statistics_of_those_of_the_loader(pack: Pack, images: DeviceImages) -> None:
    config = recipe(192, 192)
    (computed,) = DevicePairs(config, images, 9, World(0, 1, 'cpu'))
    dataset = PairDataset(config, [PackSource(pack, 3)], 9)
    loaded = collate([dataset[number] for number in range(192)])
    assert statistics(computed) == pytest.approx(statistics(loaded), abs=0.05, rel=0.12)


def test_without_augmentation_the_target_has_the_colours_of_the_template(
    pack: Pack, images: DeviceImages
) -> None:
    """In positive pairs; both crops at the target's centre, reduced to 4x4 pixels."""
    (batch,) = DevicePairs(recipe(128, 128, 0.3, NONE), images, 9, World(0, 1, 'cpu'))
    matches = []
    for template, search, box in zip(batch.template, batch.search, batch.box.tolist()):
        x, y, w, h = box
        windows = [(search, (x + w / 2, y + h / 2)), (template, (63.0, 63.0))]
        one, other = (
            cv2.getRectSubPix(image.numpy(), (24, 24), center).mean(axis=(0, 1))
            for image, center in windows
        )
        matches.append(np.abs(one - other).max() < 30)
    positive = ~batch.negative.numpy()
    assert np.mean(np.array(matches)[positive]) > 0.8
    assert np.mean(np.array(matches)[~positive]) < 0.6
