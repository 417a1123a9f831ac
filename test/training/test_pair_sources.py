"""Sources of training pairs: their images, and the errors they report."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from siamffn_model.datasets.index import Index, open_index
from siamffn_model.datasets.pack import CutOut, Pack, VideoFrame
from siamffn_model.datasets.sets import TRAINING_SETS
from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.errors import ConfigError
from siamffn_model.imaging.crop import context_side
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image, read_image
from siamffn_model.training.pair_sources import (
    FIRST_SCENE,
    KINDS,
    SCENE_LENGTH,
    SCENES,
    IndexSource,
    PackSource,
    SceneSource,
    draw_textured_part,
    open_sources,
)
from siamffn_model.training.recipe import Recipe
from siamffn_model.training.sampling import CropSpec, PairDataset, TargetPair
from siamffn_model.training.validation import CLIPS

from ..datasets.published import (
    FRAMES,
    STILL,
    in_whole_pixels,
    write_coco,
    write_det,
    write_got10k,
    write_vid,
)

pytestmark = pytest.mark.slow

SPEC = CropSpec(255, 120.0, (140.0, 110.0))
CENTERED = CropSpec(127, 127.0, (63.0, 63.0))
WRITERS = {'got10k': write_got10k, 'coco': write_coco, 'vid': write_vid, 'det': write_det}
BROKEN = {
    'got10k': 'GOT-10k_Train_000003/00000005.jpg',
    'coco': 'train2017/000000000003.jpg',
    'vid': 'ILSVRC2015_train_00003000/000004.JPEG',
    'det': 'ILSVRC2014_train_00000003.JPEG',
}
COLOURS = [(235, 20, 20), (20, 235, 20), (20, 20, 235), (235, 235, 20), (235, 20, 235)]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def recipe(data: dict[str, dict[str, int]], negative: float = 0.0) -> Recipe:
    return Recipe.model_validate(
        {
            'model': 'siamffn_lite0',
            'loss': 'csrl',
            'data': data,
            'epochs': 1,
            'batch': 1,
            'negative': negative,
            'augmentation': {'light': 0.0, 'blur': 0.0},
            'optimizer': 'sgd',
            'rate': {'warmup': 0},
        }
    )


@lru_cache
def rendered(frames: int, seed: int) -> Scene:
    return render_scene(frames, seed=seed)


def annotated(name: str, path: Path, box: Box) -> Box:
    """Return the exact box of the target that is annotated with `box` in an image of a set."""
    if name == 'got10k':
        seed, frame = int(path.parent.name[-6:]), int(path.stem) - 1
    elif name == 'vid':
        seed, frame = int(path.parent.name[-8:-3]), int(path.stem)
    else:
        seed, frame = int(path.stem.rpartition('_')[2]), 0
    scene = rendered(FRAMES if name in ('got10k', 'vid') else 1, seed)
    boxes = in_whole_pixels(scene) if name in ('vid', 'det') else scene.boxes
    return STILL if box == STILL else boxes[frame]


def difference(one: Image, other: Image) -> float:
    return float(np.abs(one.astype(float) - other).mean())


def drawn_frames(target: TargetPair, position: int = 0) -> tuple[Any, Any]:
    """Return the row or frame of template and search: an argument of their crop functions."""
    template: Any = target.template
    search: Any = target.search
    return template.args[position], search.args[position]


def equal(one: tuple[Image, Box], other: tuple[Image, Box]) -> bool:
    return np.array_equal(one[0], other[0]) and one[1] == other[1]


# --- published sets


@pytest.mark.parametrize('name', WRITERS)
def test_pairs_of_a_published_set_show_one_target(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    WRITERS[name](tmp_path)
    config = recipe({name: {'pairs': 100, 'range': 2}})
    pairs = PairDataset(config, open_sources(config, {name: tmp_path}), 9)
    index, image, rows = open_index(TRAINING_SETS[name], tmp_path), Index.image_path, []

    def record(index: Index, row: int) -> Path:
        rows.append(row)
        return image(index, row)

    monkeypatch.setattr(Index, 'image_path', record)
    found, distances, unreadable = set(), set(), []
    for number in range(100):
        pair = pairs[number]
        unreadable += pair.unreadable
        template, search = rows[-2:]
        target, search_target = np.searchsorted(index.starts, (template, search), side='right') - 1
        assert target == search_target
        found.add(int(target))
        distances.add(abs(int(index.frames[template] - index.frames[search])))
        path, box = image(index, search), Box(*index.boxes[search].tolist())
        cropped_box = Box(*pair.box.tolist())
        spec = CropSpec(
            255, context_side(cropped_box.w, cropped_box.h), (cropped_box.cx, cropped_box.cy)
        )
        crop, expected = spec.crop(read_image(path), annotated(name, path, box))
        assert cropped_box == pytest.approx(expected, abs=0.01)
        assert difference(pair.search, crop) < 0.5
        path, box = image(index, template), Box(*index.boxes[template].tolist())
        middle = CENTERED.crop(read_image(path), box)[0][20:107, 20:107]
        _, similarity, _, location = cv2.minMaxLoc(
            cv2.matchTemplate(pair.template, middle, cv2.TM_CCOEFF_NORMED)
        )
        assert similarity > 0.85
        assert np.abs(np.subtract(location, 20)).max() <= 5
    assert distances == ({0, 1, 2} if name in ('got10k', 'vid') else {0})
    assert found == ({0, 1, 2, 3} if name in ('got10k', 'vid') else {0, 1, 2, 4})
    assert len(unreadable) > 5
    assert all(f'{BROKEN[name]}: damaged' in message for message in unreadable)


def test_only_frames_within_range_are_drawn(tmp_path: Path) -> None:
    write_got10k(tmp_path)
    index = open_index(TRAINING_SETS['got10k'], tmp_path)
    for frame_range, expected in ((1, {0, 1}), (3, {0, 1, 2, 3}), (100, set(range(FRAMES)))):
        source, rng = IndexSource(index, frame_range), np.random.default_rng(0)
        targets = [source.draw(rng) for _ in range(300)]
        rows = np.array([drawn_frames(target) for target in targets])
        assert set(np.abs(np.diff(index.frames[rows], axis=1)).ravel()) == expected
        assert set(rows.ravel()) == set(range(23))
        assert {target.name for target in targets} == {f'got10k {number}' for number in range(4)}


@pytest.mark.parametrize('name', TRAINING_SETS)
def test_a_missing_folder_is_reported_with_the_download_address(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_sources(recipe({'rendered': {'pairs': 1}, name: {'pairs': 1}}), {})
    assert f'the recipe uses {name}: give its folder with --data {name}=DIR' in str(caught.value)
    assert TRAINING_SETS[name].source in str(caught.value)


def test_a_missing_folder_of_the_pack_is_reported() -> None:
    with pytest.raises(
        ConfigError, match=r'the recipe uses pack: give its folder with --data pack=DIR$'
    ):
        open_sources(recipe({'pack': {'pairs': 1}}), {})


def test_a_folder_of_a_set_outside_the_recipe_is_rejected(tmp_path: Path) -> None:
    config = recipe({'rendered': {'pairs': 1}, 'got10k': {'pairs': 1}})
    for name in ('coco', 'pack', 'cocoa'):
        with pytest.raises(
            ConfigError, match=f'{name}: .* only rendered, got10k; remove the option'
        ):
            open_sources(config, {'got10k': tmp_path, name: tmp_path})


def test_sources_come_in_the_order_of_the_recipe(tiny_pack: Path, tmp_path: Path) -> None:
    write_det(tmp_path)
    config = recipe({name: {'pairs': 1, 'range': 3} for name in ('pack', 'rendered', 'det')})
    sources = open_sources(config, {'det': tmp_path, 'pack': tiny_pack})
    assert [type(source) for source in sources] == [PackSource, SceneSource, IndexSource]
    assert [vars(source)['frame_range'] for source in sources] == [3, 3, 3]


# --- rendered scenes


def test_rendered_scenes_differ_from_those_of_validation() -> None:
    (source,) = open_sources(recipe({'rendered': {'pairs': 1, 'range': 2}}), {})
    rng = np.random.default_rng(0)
    targets = [source.draw(rng) for _ in range(40)]
    seeds = {int(target.name.removeprefix('scene ')) for target in targets}
    assert len(seeds) > 20
    assert seeds <= set(range(FIRST_SCENE, FIRST_SCENE + SCENES))
    assert min(seeds) >= CLIPS
    frames = [drawn_frames(target, 1) for target in targets]
    assert {abs(template - search) for template, search in frames} == {0, 1, 2}
    assert set(np.ravel(frames)) == set(range(SCENE_LENGTH))
    for target, (template, search) in zip(targets[:3], frames):
        images, boxes = rendered(SCENE_LENGTH, int(target.name.removeprefix('scene ')))
        assert equal(target.template(SPEC), SPEC.crop(images[template], boxes[template]))
        assert equal(target.search(SPEC), SPEC.crop(images[search], boxes[search]))


# --- the pack


def kind(source: PackSource, target: TargetPair) -> str:
    crop: Any = target.search
    if not isinstance(crop, partial):
        return 'image' if target.name.startswith('object') else 'part'
    if crop.func == source._scene:
        return 'paste'
    return 'video' if isinstance(crop.args[0], VideoFrame) else 'clip'


def draw_of_kind(source: PackSource, expected: str, count: int) -> list[TargetPair]:
    rng = np.random.default_rng(0)
    targets = (source.draw(rng) for _ in range(count))
    return [target for target in targets if kind(source, target) == expected]


def coloured_pack() -> Pack:
    """A pack of discs on a grey background, each with a different colour; the video's is white."""
    square, mask = np.full((120, 160, 3), 60, np.uint8), np.zeros((120, 160), np.uint8)
    cv2.ellipse(mask, (80, 60), (40, 25), 0, 0, 360, 255, -1)
    box = Box(*map(float, cv2.boundingRect(mask)))
    images = {'background': square, 'mask': mask}
    for name, colour in [*enumerate(COLOURS), ('white', (235, 235, 235))]:
        images[str(name)] = square.copy()
        images[str(name)][mask > 0] = colour
    files = {name: cv2.imencode('.png', image)[1].tobytes() for name, image in images.items()}
    objects = [CutOut(str(number), 'mask', box) for number in range(len(COLOURS))]
    videos = {'otb': {'disc': [VideoFrame('white', number, box) for number in range(3)]}}
    return Pack(files, objects, ['background'], videos)


def colour_mask(image: Image, number: int) -> Image:
    """Return a mask of the pixels in an object's colour."""
    return np.asarray(((image > 127) == (np.array(COLOURS[number]) > 127)).all(axis=-1), np.uint8)


def test_all_kinds_of_pairs_are_drawn_with_their_probabilities(tiny_pack: Path) -> None:
    source, rng = PackSource(Pack.read(tiny_pack), 3), np.random.default_rng(0)
    found = Counter(kind(source, source.draw(rng)) for _ in range(1000))
    assert {name: count / 1000 for name, count in found.items()} == pytest.approx(KINDS, abs=0.05)


def test_videos_are_drawn_with_the_weights_of_their_sources() -> None:
    pack = coloured_pack()
    (frames,) = pack.videos['otb'].values()
    videos = {'pets-s3': {'a': frames, 'b': frames}, 'otb': {'a': frames}}
    targets = draw_of_kind(PackSource(replace(pack, videos=videos), 1), 'video', 1500)
    found = Counter(target.name for target in targets)
    frequencies = {name: count / len(targets) for name, count in found.items()}
    expected = {'pets-s3 a': 0.04 / 0.38, 'pets-s3 b': 0.04 / 0.38, 'otb a': 0.30 / 0.38}
    assert frequencies == pytest.approx(expected, abs=0.06)


def test_frames_of_a_video_are_within_range(tiny_pack: Path) -> None:
    pack = Pack.read(tiny_pack)
    for frame_range, expected in ((1, {0, 1}), (2, {0, 1, 2}), (1000, {0, 1, 2, 3})):
        targets = draw_of_kind(PackSource(pack, frame_range), 'video', 250)
        frames = [drawn_frames(target) for target in targets]
        assert {abs(one.frame - other.frame) for one, other in frames} == expected
        assert {target.name for target in targets} == {'otb clip'}
    template, search = frames[0]
    assert equal(targets[0].template(SPEC), SPEC.crop(pack.image(template.image), template.box))
    assert equal(targets[0].search(SPEC), SPEC.crop(pack.image(search.image), search.box))


def test_frames_of_a_clip_are_within_range(tiny_pack: Path) -> None:
    targets = draw_of_kind(PackSource(Pack.read(tiny_pack), 2), 'clip', 250)
    frames = [drawn_frames(target) for target in targets]
    assert {abs(template - search) for template, search in frames} == {0, 1, 2}


def test_an_object_in_its_original_image_fills_its_box() -> None:
    """Within 6 pixels: the object is rotated slightly, its box is not."""
    targets = draw_of_kind(PackSource(coloured_pack(), 1), 'image', 200)
    for target in targets:
        number = int(target.name.removeprefix('object '))
        for crop_function in (target.template, target.search):
            crop, box = crop_function(SPEC)
            assert context_side(box.w, box.h) == pytest.approx(SPEC.side)
            mask = colour_mask(crop, number)[: int(box.y + box.h + 6), : int(box.x + box.w + 6)]
            mask[: int(box.y - 6)], mask[:, : int(box.x - 6)] = 0, 0
            assert cv2.boundingRect(mask) == pytest.approx(box, abs=6)
    assert {target.name for target in targets} == {f'object {n}' for n in range(len(COLOURS))}


def test_both_images_of_a_part_show_the_same_content() -> None:
    rng = np.random.default_rng(0)
    noise = cv2.resize(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8), (160, 120))
    pack = coloured_pack()
    files = {**pack.files, 'background': cv2.imencode('.png', noise)[1].tobytes()}
    pieces = [
        target
        for target in draw_of_kind(PackSource(replace(pack, files=files), 1), 'part', 400)
        if target.name.startswith('piece')
    ]
    assert len(pieces) > 8
    similarity = []
    for target in pieces:
        (one, box), (other, _) = target.template(CENTERED), target.search(CENTERED)
        x, y, w, h = map(round, box)
        middle = (slice(max(y, 0) + 8, y + h - 8), slice(max(x, 0) + 8, x + w - 8))
        similarity.append(np.corrcoef(one[middle].ravel(), other[middle].ravel())[0, 1])
    assert np.median(similarity) > 0.6
    assert min(similarity) > 0.2


def test_parts_are_within_their_objects(tiny_pack: Path) -> None:
    source, rng = PackSource(Pack.read(tiny_pack), 1), np.random.default_rng(0)
    names = {target.name.rstrip('0123456789') for target in draw_of_kind(source, 'part', 300)}
    assert names == {'part of object ', 'piece '}
    image = rng.integers(0, 256, (100, 140, 3), dtype=np.uint8)
    bounds = Box(20, 10, 80, 60)
    for _ in range(50):
        part = draw_textured_part(rng, image, bounds, (0.3, 0.8))
        assert part.x >= bounds.x
        assert part.y >= bounds.y
        assert part.x + part.w <= bounds.x + bounds.w + 1e-9
        assert part.y + part.h <= bounds.y + bounds.h + 1e-9
        assert 0.3 <= part.w / bounds.w <= 0.8
    flat = np.zeros((100, 140, 3), np.uint8)
    flat[:50] = image[:50]
    tall = [draw_textured_part(rng, flat, Box(0, 0, 140, 100), (0.1, 0.3)) for _ in range(100)]
    assert np.mean([part.y < 50 for part in tall]) > 0.9


def test_a_pasted_target_fills_its_box() -> None:
    """In most images: in some, another object has its colour or covers it."""
    source, rng = PackSource(coloured_pack(), 1), np.random.default_rng(0)
    fits = []
    for target in (source.draw(rng) for _ in range(300)):
        if kind(source, target) != 'paste':
            continue
        _, wider = target.search(replace(SPEC, stretch=2.0))
        crop, box = target.search(SPEC)
        stretch = wider.w / wider.h / (box.w / box.h)
        assert 1.2 < stretch < 2.1  # 2 without the rotation of the object
        assert (box.cx, box.cy) == pytest.approx(SPEC.center)
        assert context_side(box.w, box.h) == pytest.approx(SPEC.side)
        extent = cv2.boundingRect(colour_mask(crop, int(target.name.removeprefix('object '))))
        fits.append(extent == pytest.approx(box, abs=2))
    assert len(fits) > 50
    assert np.mean(fits) > 0.6


def test_a_negative_pair_shows_another_object() -> None:
    config = recipe({'pack': {'pairs': 200, 'range': 1}}, negative=0.5)
    pairs = PairDataset(config, [PackSource(coloured_pack(), 1)], 9)
    correct: dict[bool, list[bool]] = {True: [], False: []}
    for template, search, box, negative, *_ in map(pairs.__getitem__, range(200)):
        x, y, w, h = box
        pixel = search[round(y + h / 2), round(x + w / 2)]
        correct[negative].append(negative != ((template[63, 63] > 127) == (pixel > 127)).all())
    assert len(correct[True]) > 60
    assert all(np.mean(values) > 0.9 for values in correct.values()), 'except for occluders'


def test_a_clip_depends_only_on_the_seed(tiny_pack: Path) -> None:
    pack = Pack.read(tiny_pack)

    def draw(seed: int) -> tuple[int, list[tuple[Image, Box]]]:
        number, clip = PackSource(pack, 1).draw_clip(np.random.default_rng(seed), 12)
        assert len(clip) == 12
        return number, [clip.frame(frame) for frame in (0, 11)]

    (number, first), (again, same), (_, other) = draw(3), draw(3), draw(4)
    assert number == again
    assert all(map(equal, first, same))
    assert not any(map(equal, first, other))


def test_pairs_of_the_real_pack(shared: Path) -> None:
    config = recipe({'pack': {'pairs': 30, 'range': 1000}}, negative=0.2)
    pairs = PairDataset(config, open_sources(config, {'pack': shared / 'data/train'}), 625)
    for template, search, box, _, _, unreadable in map(pairs.__getitem__, range(30)):
        assert (template.shape, search.shape, unreadable) == ((127, 127, 3), (255, 255, 3), [])
        assert template.std() > 1
        assert search.std() > 1
        x, y, w, h = box
        assert abs(np.log(context_side(w, h) / 127)) <= 0.18 + 1e-3
        assert max(abs(x + w / 2 - 127), abs(y + h / 2 - 127)) <= 64.5
