"""Where a recipe's targets come from: published sets, the training pack, rendered scenes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from siamffn_model.datasets.clips import Clip
from siamffn_model.datasets.copy_paste import Pose, Sprite, backdrop, make_sprite, paste
from siamffn_model.datasets.index import Index, open_index
from siamffn_model.datasets.pack import Pack, VideoFrame
from siamffn_model.datasets.sets import SETS
from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.errors import ConfigError
from siamffn_model.imaging.crop import SEARCH_SIZE, Image, context_side
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import read_image
from siamffn_model.training.augmentation import ColorJitter
from siamffn_model.training.recipe import Recipe
from siamffn_model.training.sampling import CropSpec, PairSource, TargetPair

# Share of each kind of pair of the pack, and of each source among its video pairs.
KINDS = {'paste': 0.20, 'clip': 0.26, 'image': 0.06, 'part': 0.20, 'video': 0.28}
VIDEO_SOURCES = {
    'otb': 0.30,
    'davis-2016 (annotated masks)': 0.20,
    'davis-2016 (boxes marked by eye)': 0.15,
    'pets-s3': 0.08,
    'tud-campus': 0.07,
    'drone-detection-cc0': 0.09,
    'davis-2016 (agreeing predicted masks)': 0.08,
    'got-10k sample': 0.03,
}
CLIP_LENGTH = 60  # frames
SMALLEST_PART, FLAT = 16, 10.0  # pixels; deviation of the grey levels of what shows nothing

SCENES, SCENE_LENGTH = 64, 8  # rendered scenes to learn from, and frames in each
FIRST_SCENE = 1000  # their first seed; those below are for validation and tests


def open_sources(recipe: Recipe, folders: Mapping[str, Path]) -> list[PairSource]:
    """Open what the recipe draws from, in its order; `folders` says where each set lies.

    Raises `ConfigError` for a set without a folder and for a folder of a set that is not used.
    """
    for name in folders:
        if name not in recipe.data:
            raise ConfigError(
                f'--data {name}: the recipe does not draw from it, only from '
                f'{", ".join(recipe.data)}; leave it out or add it to the recipe'
            )
    sources: list[PairSource] = []
    for name, wanted in recipe.data.items():
        if name == 'rendered':
            sources.append(SceneSource(wanted.range))
            continue
        if name not in folders:
            where = f' (it can be had from {SETS[name].source})' if name in SETS else ''
            raise ConfigError(
                f'the recipe draws from {name}: say where it lies with --data {name}=DIR{where}'
            )
        if name == 'pack':
            sources.append(PackSource(Pack.read(folders[name]), wanted.range))
        else:
            sources.append(IndexSource(open_index(SETS[name], folders[name]), wanted.range))
    return sources


class IndexSource:
    """Two images of one target of a published set, at most `reach` frames apart."""

    def __init__(self, index: Index, reach: int) -> None:
        self.index, self.reach = index, reach

    def draw(self, rng: np.random.Generator) -> TargetPair:
        """See `PairSource.draw`."""
        number = int(rng.integers(len(self.index)))
        first, last = self.index.starts[number : number + 2]
        frames = self.index.frames[first:last]
        template = int(rng.integers(len(frames)))
        low, high = frames[template] - self.reach, frames[template] + self.reach
        near = np.searchsorted(frames, low), np.searchsorted(frames, high, side='right')
        search = int(rng.integers(*near))
        shots = (partial(self._take, first + row) for row in (template, search))
        return TargetPair(f'{self.index.name} {number}', *shots)

    def _take(self, row: int, view: CropSpec) -> tuple[Image, Box]:
        box = Box(*self.index.boxes[row].tolist())
        return view.cut(read_image(self.index.image(row)), box)


class SceneSource:
    """Two frames of a rendered scene, at most `reach` apart: needs no data at all."""

    def __init__(self, reach: int) -> None:
        self.reach = reach
        self._scene = lru_cache(maxsize=SCENES)(partial(render_scene, SCENE_LENGTH, (320, 240)))

    def draw(self, rng: np.random.Generator) -> TargetPair:
        """See `PairSource.draw`."""
        number = FIRST_SCENE + int(rng.integers(SCENES))
        template, search = _two_frames(rng, SCENE_LENGTH, self.reach)
        scene = self._scene(number)
        shots = (partial(_cut_frame, scene, frame) for frame in (template, search))
        return TargetPair(f'scene {number}', *shots)


class PackSource:
    """What the training pack gives: pasted objects, single images and parts, clips and videos."""

    def __init__(self, pack: Pack, reach: int) -> None:
        """`reach` is the greatest distance in frames between two images of a video or clip."""
        self.pack, self.reach = pack, reach
        sources = [source for source in VIDEO_SOURCES if source in pack.videos]
        weights = np.array([VIDEO_SOURCES[source] for source in sources])
        self._sources, self._weights = sources, weights / weights.sum()
        self.sprite = lru_cache(maxsize=64)(self._make_sprite)

    def draw(self, rng: np.random.Generator) -> TargetPair:
        """See `PairSource.draw`."""
        kind = rng.choice(list(KINDS), p=list(KINDS.values()))
        draw = {
            'paste': self._pasted,
            'clip': self._clip,
            'image': self._image,
            'part': self._part,
            'video': self._video,
        }
        return draw[kind](rng)

    def draw_clip(self, rng: np.random.Generator, length: int = CLIP_LENGTH) -> tuple[int, Clip]:
        """Draw a target's number among the objects, and a clip of it."""
        number, *others = (int(n) for n in rng.integers(len(self.pack.objects), size=4))
        sprites = [self.sprite(other) for other in others]
        return number, Clip.draw(rng, self.sprite(number), sprites, self._ground(rng), length)

    def _clip(self, rng: np.random.Generator) -> TargetPair:
        """Two frames of a clip of moving objects."""
        number, clip = self.draw_clip(rng)
        template, search = _two_frames(rng, CLIP_LENGTH, self.reach)

        def shot(frame: int, view: CropSpec) -> tuple[Image, Box]:
            return view.cut(*clip.frame(frame))

        return TargetPair(f'object {number}', partial(shot, template), partial(shot, search))

    def _image(self, rng: np.random.Generator) -> TargetPair:
        """An object in its own surroundings."""
        number = int(rng.integers(len(self.pack.objects)))
        item = self.pack.objects[number]
        return self._still(rng, f'object {number}', self.pack.image(item.image), item.box)

    def _part(self, rng: np.random.Generator) -> TargetPair:
        """A part of an object, or a piece of any image.

        A tracker is to follow what was framed, be it a face or a door; among whole objects alone
        it would learn to let the box grow to the whole.
        """
        if rng.random() < 0.6:
            number = int(rng.integers(len(self.pack.objects)))
            item = self.pack.objects[number]
            name, image = f'part of object {number}', self.pack.image(item.image)
            whole, shares = item.box, (0.3, 0.8)
        else:
            number = int(rng.integers(len(self.pack.backgrounds)))
            name, image = f'piece {number}', self.pack.image(self.pack.backgrounds[number])
            whole, shares = Box(0, 0, image.shape[1], image.shape[0]), (0.1, 0.5)
        return self._still(rng, name, image, textured_part(rng, image, whole, shares))

    def _still(self, rng: np.random.Generator, name: str, image: Image, box: Box) -> TargetPair:
        """One image twice, turned and stretched about the target, half of them within another."""
        if rng.random() < 0.5:
            margin = round(context_side(box.w, box.h))
            image, box = _inset(image, box, self._ground(rng), margin)

        def shot(view: CropSpec) -> tuple[Image, Box]:
            pose = Pose(rng.normal(0, 5), float(np.exp(rng.normal(0, 0.08))))
            return view.cut(*_turned(image, box, pose))

        return TargetPair(name, shot, shot)

    def _video(self, rng: np.random.Generator) -> TargetPair:
        """Two frames of one video."""
        source = rng.choice(self._sources, p=self._weights)
        videos = self.pack.videos[source]
        name = list(videos)[rng.integers(len(videos))]
        template = videos[name][rng.integers(len(videos[name]))]
        near = [f for f in videos[name] if abs(f.frame - template.frame) <= self.reach]
        search = near[rng.integers(len(near))]

        def shot(frame: VideoFrame, view: CropSpec) -> tuple[Image, Box]:
            return view.cut(self.pack.image(frame.image), frame.box)

        return TargetPair(f'{source} {name}', partial(shot, template), partial(shot, search))

    def _pasted(self, rng: np.random.Generator) -> TargetPair:
        """An object pasted on two views of a background, with distractors and an occluder."""
        number = int(rng.integers(len(self.pack.objects)))
        ground = self._ground(rng)
        other = ground if rng.random() < 0.7 else self._ground(rng)
        pose = Pose(rng.uniform(-12, 12), np.exp(rng.uniform(-0.15, 0.15)))
        zoom, middle = rng.uniform(0.9, 2.0), rng.uniform(0.2, 0.8, 2)
        later = Pose(pose.angle + rng.normal(0, 8), pose.stretch * np.exp(rng.normal(0, 0.12)))
        moved = zoom * np.exp(rng.normal(0, 0.1)), middle + rng.normal(0, 0.1, 2)
        sprite = self.sprite(number)
        return TargetPair(
            f'object {number}',
            partial(self._scene, rng, ground, (zoom, middle), sprite, pose),
            partial(self._scene, rng, other, moved, sprite, later),
        )

    def _scene(
        self,
        rng: np.random.Generator,
        ground: Image,
        camera: tuple[float, NDArray[np.float64]],
        sprite: Sprite,
        pose: Pose,
        view: CropSpec,
    ) -> tuple[Image, Box]:
        zoom, (x, y) = camera
        canvas = backdrop(ground, view.size, (x, y), zoom, rng.uniform(-10, 10))
        for _ in range(rng.choice(4, p=(0.45, 0.25, 0.20, 0.10))):
            self._distract(rng, canvas, view)
        shown = sprite._replace(image=ColorJitter.draw(rng, 0.3).apply(sprite.image))
        pose = pose._replace(stretch=pose.stretch * view.stretch)
        box = paste(canvas, shown, pose, view.side, view.center)
        if view.size == SEARCH_SIZE and rng.random() < 0.15:
            self._occlude(rng, canvas, box)
        return canvas, box

    def _distract(self, rng: np.random.Generator, canvas: Image, view: CropSpec) -> None:
        """Paste another object beside the target, as large as it or smaller."""
        sprite = self._any_sprite(rng)
        angle, reach = rng.uniform(0, 2 * np.pi), view.side * rng.uniform(0.4, 1.2)
        center = view.center[0] + reach * np.cos(angle), view.center[1] + reach * np.sin(angle)
        pose = Pose(rng.uniform(-20, 20), 1.0)
        paste(canvas, sprite, pose, view.side * rng.uniform(0.4, 1.2), center)

    def _occlude(self, rng: np.random.Generator, canvas: Image, box: Box) -> None:
        """Paste another object over an edge of the target."""
        sprite = self._any_sprite(rng)
        angle = rng.uniform(0, 2 * np.pi)
        center = box.cx + box.w * 0.6 * np.cos(angle), box.cy + box.h * 0.6 * np.sin(angle)
        side = context_side(box.w, box.h) * rng.uniform(0.4, 0.9)
        paste(canvas, sprite, Pose(rng.uniform(-20, 20), 1.0), side, center)

    def _ground(self, rng: np.random.Generator) -> Image:
        if rng.random() < 0.7:
            return self.pack.image(self.pack.backgrounds[rng.integers(len(self.pack.backgrounds))])
        return self.pack.image(self.pack.objects[rng.integers(len(self.pack.objects))].image)

    def _any_sprite(self, rng: np.random.Generator) -> Sprite:
        return self.sprite(int(rng.integers(len(self.pack.objects))))

    def _make_sprite(self, number: int) -> Sprite:
        item = self.pack.objects[number]
        return make_sprite(self.pack.image(item.image), self.pack.mask(item.mask), item.box)


def _inset(image: Image, box: Box, ground: Image, margin: int) -> tuple[Image, Box]:
    """Show an image before a ground that reaches over its edges by so many pixels."""
    height, width = image.shape[:2]
    canvas = cv2.resize(ground, (width + 2 * margin, height + 2 * margin))
    canvas[margin : margin + height, margin : margin + width] = image
    return np.asarray(canvas, np.uint8), box._replace(x=box.x + margin, y=box.y + margin)


def _turned(image: Image, box: Box, pose: Pose) -> tuple[Image, Box]:
    """Turn and stretch an image about the middle of a box, and stretch the box with it."""
    linear = pose.matrix()
    middle = np.array([box.cx, box.cy]) - 0.5  # for OpenCV the first pixel's centre is (0, 0)
    matrix = np.column_stack([linear, middle - linear @ middle])
    turned = cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT_101)
    stretched = Box.from_center(box.cx, box.cy, box.w * pose.stretch, box.h)
    return np.asarray(turned, np.uint8), stretched


def textured_part(
    rng: np.random.Generator, image: Image, whole: Box, shares: tuple[float, float]
) -> Box:
    """Draw a box within `whole`, its sides in these shares, that shows something if possible."""
    for _ in range(5):
        size = np.array(whole[2:]) * rng.uniform(*shares, 2)
        w, h = np.maximum(size, SMALLEST_PART).tolist()
        x, y = np.array(whole[:2]) + rng.random(2) * np.maximum(whole[2:] - np.array([w, h]), 0)
        inside = image[int(y) : int(y + h), int(x) : int(x + w)]
        if inside.size and inside.mean(axis=2).std() > FLAT:
            break
    return Box(float(x), float(y), w, h)


def _two_frames(rng: np.random.Generator, length: int, reach: int) -> tuple[int, int]:
    template = int(rng.integers(length))
    low, high = max(template - reach, 0), min(template + reach, length - 1)
    return template, int(rng.integers(low, high + 1))


def _cut_frame(scene: Scene, frame: int, view: CropSpec) -> tuple[Image, Box]:
    return view.cut(scene.images[frame], scene.boxes[frame])
