"""Sources of training pairs: published data sets, the training packs, rendered scenes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from siamffn_model.datasets.aerial import AerialPack
from siamffn_model.datasets.clips import Clip
from siamffn_model.datasets.copy_paste import (
    Pose,
    Sprite,
    backdrop,
    make_sprite,
    paste,
    rotate_and_stretch,
)
from siamffn_model.datasets.pack import Pack, VideoFrame
from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.errors import ConfigError
from siamffn_model.imaging.crop import SEARCH_SIZE, context_side
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image, read_image
from siamffn_model.training.aerial_source import AerialSource
from siamffn_model.training.augmentation import ColorJitter
from siamffn_model.training.sampling import CropSpec, PairSource, TargetPair

if TYPE_CHECKING:
    from siamffn_model.datasets.index import Index
    from siamffn_model.training.recipe import Recipe

# Probability of each kind of pair from the pack, and weight of each source of its video pairs.
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
BACKGROUNDS = 0.7  # fraction of backgrounds that are not images of objects
PARTS_OF_OBJECTS = 0.6  # fraction of parts that are of objects, not of backgrounds
OBJECT_PARTS, BACKGROUND_PARTS = (0.3, 0.8), (0.1, 0.5)  # ratios of their sides
# Of pasted objects: fraction of pairs with one background, probabilities of 0, 1, 2 and 3
# distractors in a crop, and fraction of search crops with an occluder.
SAME_BACKGROUND, PASTED_DISTRACTORS, PASTED_OCCLUDER = 0.7, (0.45, 0.25, 0.20, 0.10), 0.15
MIN_PART_SIDE = 16  # pixels
MIN_TEXTURE = 10.0  # standard deviation of grey levels, below which a part shows no texture

SCENES, SCENE_LENGTH = 64, 8  # number of rendered training scenes, and frames in each
FIRST_SCENE = 1000  # seed of the first training scene; lower seeds are for validation and tests


def open_sources(recipe: Recipe, folders: Mapping[str, Path]) -> list[PairSource]:
    """Open the data sets of a recipe, in its order; `folders` maps their names to folders.

    Raises `ConfigError` for a data set without a folder and for a folder of a set that the recipe
    does not use.
    """
    # Imported here, so that the pack can be used without the packages that indices require.
    from siamffn_model.datasets.index import open_index
    from siamffn_model.datasets.sets import TRAINING_SETS

    for name in folders:
        if name not in recipe.data:
            raise ConfigError(
                f'--data {name}: the recipe does not use this data set, only '
                f'{", ".join(recipe.data)}; remove the option or add {name} to the recipe'
            )
    sources: list[PairSource] = []
    for name, config in recipe.data.items():
        if name == 'rendered':
            sources.append(SceneSource(config.range))
            continue
        if name not in folders:
            download = (
                f' (available from {TRAINING_SETS[name].source})' if name in TRAINING_SETS else ''
            )
            raise ConfigError(
                f'the recipe uses {name}: give its folder with --data {name}=DIR{download}'
            )
        if name == 'pack':
            sources.append(PackSource(Pack.read(folders[name]), config.range))
        elif name == 'aerial':
            sources.append(AerialSource(AerialPack.read(folders[name]), config.range))
        else:
            sources.append(
                IndexSource(open_index(TRAINING_SETS[name], folders[name]), config.range)
            )
    return sources


class IndexSource:
    """Pairs of images of one target of a published set, at most `frame_range` frames apart."""

    def __init__(self, index: Index, frame_range: int) -> None:
        self.index, self.frame_range = index, frame_range

    def draw(self, rng: np.random.Generator) -> TargetPair:
        """See `PairSource.draw`."""
        number = int(rng.integers(len(self.index)))
        first, last = self.index.starts[number : number + 2]
        frames = self.index.frames[first:last]
        template = int(rng.integers(len(frames)))
        low, high = frames[template] - self.frame_range, frames[template] + self.frame_range
        in_range = np.searchsorted(frames, low), np.searchsorted(frames, high, side='right')
        search = int(rng.integers(*in_range))
        crops = (partial(self._crop, first + row) for row in (template, search))
        return TargetPair(f'{self.index.name} {number}', *crops)

    def _crop(self, row: int, spec: CropSpec) -> tuple[Image, Box]:
        box = Box(*self.index.boxes[row].tolist())
        return spec.crop(read_image(self.index.image_path(row)), box)


class SceneSource:
    """Pairs of frames of a rendered scene, at most `frame_range` apart; needs no data set."""

    def __init__(self, frame_range: int) -> None:
        self.frame_range = frame_range
        self._scene = lru_cache(maxsize=SCENES)(partial(render_scene, SCENE_LENGTH, (320, 240)))

    def draw(self, rng: np.random.Generator) -> TargetPair:
        """See `PairSource.draw`."""
        number = FIRST_SCENE + int(rng.integers(SCENES))
        template, search = _draw_frames(rng, SCENE_LENGTH, self.frame_range)
        scene = self._scene(number)
        crops = (partial(_crop_frame, scene, frame) for frame in (template, search))
        return TargetPair(f'scene {number}', *crops)


class PackSource:
    """Pairs from the training pack: pasted objects, clips, single images, parts and videos."""

    def __init__(self, pack: Pack, frame_range: int) -> None:
        """`frame_range` is the maximum distance in frames between images of a video or clip."""
        self.pack, self.frame_range = pack, frame_range
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
        """Draw a clip of a random object; return the number of the object and the clip."""
        number, *others = (int(n) for n in rng.integers(len(self.pack.objects), size=4))
        sprites = [self.sprite(other) for other in others]
        return number, Clip.draw(rng, self.sprite(number), sprites, self._background(rng), length)

    def _clip(self, rng: np.random.Generator) -> TargetPair:
        """Draw two frames of a clip of moving objects."""
        number, clip = self.draw_clip(rng)
        template, search = _draw_frames(rng, CLIP_LENGTH, self.frame_range)

        def crop(frame: int, spec: CropSpec) -> tuple[Image, Box]:
            return spec.crop(*clip.frame(frame))

        return TargetPair(f'object {number}', partial(crop, template), partial(crop, search))

    def _image(self, rng: np.random.Generator) -> TargetPair:
        """Draw an object in its original image."""
        number = int(rng.integers(len(self.pack.objects)))
        item = self.pack.objects[number]
        return self._still(rng, f'object {number}', self.pack.image(item.image), item.box)

    def _part(self, rng: np.random.Generator) -> TargetPair:
        """Draw a part of an object or of a background.

        A tracker must follow whatever was selected, such as a face or a door. If it were trained on
        complete objects only, it would learn to enlarge the box to the complete object.
        """
        if rng.random() < PARTS_OF_OBJECTS:
            number = int(rng.integers(len(self.pack.objects)))
            item = self.pack.objects[number]
            name, image = f'part of object {number}', self.pack.image(item.image)
            bounds, ratios = item.box, OBJECT_PARTS
        else:
            number = int(rng.integers(len(self.pack.backgrounds)))
            name, image = f'piece {number}', self.pack.image(self.pack.backgrounds[number])
            bounds, ratios = Box(0, 0, image.shape[1], image.shape[0]), BACKGROUND_PARTS
        return self._still(rng, name, image, draw_textured_part(rng, image, bounds, ratios))

    def _still(self, rng: np.random.Generator, name: str, image: Image, box: Box) -> TargetPair:
        """Use one image twice, rotated and stretched around the target at random.

        Half of the images are placed within a background image.
        """
        if rng.random() < 0.5:
            margin = round(context_side(box.w, box.h))
            image, box = _add_border(image, box, self._background(rng), margin)

        def crop(spec: CropSpec) -> tuple[Image, Box]:
            return spec.crop(*rotate_and_stretch(rng, image, box))

        return TargetPair(name, crop, crop)

    def _video(self, rng: np.random.Generator) -> TargetPair:
        """Draw two frames of one video."""
        source = rng.choice(self._sources, p=self._weights)
        videos = self.pack.videos[source]
        name = list(videos)[rng.integers(len(videos))]
        template = videos[name][rng.integers(len(videos[name]))]
        in_range = [f for f in videos[name] if abs(f.frame - template.frame) <= self.frame_range]
        search = in_range[rng.integers(len(in_range))]

        def crop(frame: VideoFrame, spec: CropSpec) -> tuple[Image, Box]:
            return spec.crop(self.pack.image(frame.image), frame.box)

        return TargetPair(f'{source} {name}', partial(crop, template), partial(crop, search))

    def _pasted(self, rng: np.random.Generator) -> TargetPair:
        """Draw an object pasted into two views of a background, with distractors, an occluder."""
        number = int(rng.integers(len(self.pack.objects)))
        background = self._background(rng)
        same = rng.random() < SAME_BACKGROUND
        search_background = background if same else self._background(rng)
        pose = Pose(rng.uniform(-12, 12), np.exp(rng.uniform(-0.15, 0.15)))
        zoom, middle = rng.uniform(0.9, 2.0), rng.uniform(0.2, 0.8, 2)
        search_pose = Pose(
            pose.angle + rng.normal(0, 8), pose.stretch * np.exp(rng.normal(0, 0.12))
        )
        search_camera = zoom * np.exp(rng.normal(0, 0.1)), middle + rng.normal(0, 0.1, 2)
        sprite = self.sprite(number)
        return TargetPair(
            f'object {number}',
            partial(self._scene, rng, background, (zoom, middle), sprite, pose),
            partial(self._scene, rng, search_background, search_camera, sprite, search_pose),
        )

    def _scene(
        self,
        rng: np.random.Generator,
        background: Image,
        camera: tuple[float, NDArray[np.float64]],
        sprite: Sprite,
        pose: Pose,
        spec: CropSpec,
    ) -> tuple[Image, Box]:
        """Render a crop; `camera` is the zoom and the relative position (2,) in the background."""
        zoom, (x, y) = camera
        canvas = backdrop(background, spec.size, (x, y), zoom, rng.uniform(-10, 10))
        for _ in range(rng.choice(4, p=PASTED_DISTRACTORS)):
            self._paste_distractor(rng, canvas, spec)
        jittered = sprite._replace(image=ColorJitter.draw(rng, 0.3).apply(sprite.image))
        pose = pose._replace(stretch=pose.stretch * spec.stretch)
        box = paste(canvas, jittered, pose, spec.side, spec.center)
        if spec.size == SEARCH_SIZE and rng.random() < PASTED_OCCLUDER:
            self._paste_occluder(rng, canvas, box)
        return canvas, box

    def _paste_distractor(self, rng: np.random.Generator, canvas: Image, spec: CropSpec) -> None:
        """Paste another object beside the target, 0.4 to 1.2 times as large."""
        sprite = self._draw_sprite(rng)
        angle, distance = rng.uniform(0, 2 * np.pi), spec.side * rng.uniform(0.4, 1.2)
        center = (
            spec.center[0] + distance * np.cos(angle),
            spec.center[1] + distance * np.sin(angle),
        )
        pose = Pose(rng.uniform(-20, 20), 1.0)
        paste(canvas, sprite, pose, spec.side * rng.uniform(0.4, 1.2), center)

    def _paste_occluder(self, rng: np.random.Generator, canvas: Image, box: Box) -> None:
        """Paste another object over an edge of the target."""
        sprite = self._draw_sprite(rng)
        angle = rng.uniform(0, 2 * np.pi)
        center = box.cx + box.w * 0.6 * np.cos(angle), box.cy + box.h * 0.6 * np.sin(angle)
        side = context_side(box.w, box.h) * rng.uniform(0.4, 0.9)
        paste(canvas, sprite, Pose(rng.uniform(-20, 20), 1.0), side, center)

    def _background(self, rng: np.random.Generator) -> Image:
        """Draw a background, or the image of an object as one."""
        if rng.random() < BACKGROUNDS:
            return self.pack.image(self.pack.backgrounds[rng.integers(len(self.pack.backgrounds))])
        return self.pack.image(self.pack.objects[rng.integers(len(self.pack.objects))].image)

    def _draw_sprite(self, rng: np.random.Generator) -> Sprite:
        return self.sprite(int(rng.integers(len(self.pack.objects))))

    def _make_sprite(self, number: int) -> Sprite:
        item = self.pack.objects[number]
        return make_sprite(self.pack.image(item.image), self.pack.mask(item.mask), item.box)


def _add_border(image: Image, box: Box, background: Image, margin: int) -> tuple[Image, Box]:
    """Place an image and its box on a background that extends `margin` pixels on each side."""
    height, width = image.shape[:2]
    canvas = cv2.resize(background, (width + 2 * margin, height + 2 * margin))
    canvas[margin : margin + height, margin : margin + width] = image
    return np.asarray(canvas, np.uint8), box._replace(x=box.x + margin, y=box.y + margin)


def draw_textured_part(
    rng: np.random.Generator, image: Image, bounds: Box, ratios: tuple[float, float]
) -> Box:
    """Draw a box within `bounds`, if possible one that shows texture.

    `ratios` are the minimum and maximum ratio of its sides to those of `bounds`.
    """
    for _ in range(5):
        size = np.array(bounds[2:]) * rng.uniform(*ratios, 2)
        w, h = np.maximum(size, MIN_PART_SIDE).tolist()
        free = np.maximum(bounds[2:] - np.array([w, h]), 0)
        x, y = np.array(bounds[:2]) + rng.random(2) * free
        content = image[int(y) : int(y + h), int(x) : int(x + w)]
        if content.size and _texture(content) > MIN_TEXTURE:
            break
    return Box(float(x), float(y), w, h)


def _texture(content: Image) -> float:
    """Return the standard deviation of the grey levels of an image (H, W, 3)."""
    grey = cv2.transform(content, np.full((1, 3), 1 / 3))
    return float(cv2.meanStdDev(grey)[1][0, 0])


def _draw_frames(rng: np.random.Generator, length: int, frame_range: int) -> tuple[int, int]:
    template = int(rng.integers(length))
    low, high = max(template - frame_range, 0), min(template + frame_range, length - 1)
    return template, int(rng.integers(low, high + 1))


def _crop_frame(scene: Scene, frame: int, spec: CropSpec) -> tuple[Image, Box]:
    return spec.crop(scene.images[frame], scene.boxes[frame])
