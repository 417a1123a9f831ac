"""Pairs of template and search crops, drawn from the pack: the same index gives the same pair."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from siamffn_model.datasets.copy_paste import Pose, Sprite, backdrop, make_sprite, paste
from siamffn_model.datasets.pack import Pack, VideoFrame
from siamffn_model.geometry import Box
from siamffn_model.networks.score_map import SEARCH_SIZE, TEMPLATE_SIZE
from siamffn_model.tracking.crop import (
    Image,
    context_side,
    crop_box,
    crop_square,
    mean_colour,
)
from siamffn_model.training.augmentation import (
    Look,
    compress,
    few_pixels,
    motion_blur,
    sensor_noise,
)

TEMPLATE_SHIFT, TEMPLATE_SCALE = 4, 0.05  # pixels of the crop, and share of its side
SEARCH_SHIFT, SEARCH_SCALE = 64, 0.18

# Share of each kind of pair, and of each source among the video pairs.
KINDS = {'paste': 0.45, 'image': 0.25, 'video': 0.30}
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


class Pair(NamedTuple):
    """A training pair: crops, BGR uint8, and the target's box (x, y, w, h) in the search crop."""

    template: Image
    search: Image
    box: NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """Where the target lies in a crop: side of its context square and centre, in crop pixels."""

    size: int
    side: float
    center: tuple[float, float]

    @classmethod
    def draw(cls, rng: np.random.Generator, size: int, shift: float, scale: float) -> View:
        """Draw a view in which the target is off the middle and the usual size, within bounds."""
        dx, dy = rng.uniform(-shift, shift, 2)
        side = TEMPLATE_SIZE * np.exp(rng.uniform(-scale, scale))
        return cls(size, float(side), ((size - 1) / 2 + dx, (size - 1) / 2 + dy))

    def cut(self, image: Image, box: Box) -> tuple[Image, Box]:
        """Cut this view of the target in `box` from an image; return it and the box in it."""
        scale = context_side(box.w, box.h) / self.side
        middle = (self.size - 1) / 2
        cx = box.cx + (middle - self.center[0]) * scale
        cy = box.cy + (middle - self.center[1]) * scale
        crop = crop_square(image, cx, cy, scale * self.size, self.size, mean_colour(image))
        return crop, crop_box(box, cx, cy, scale * self.size, self.size)


class PackPairs(Dataset[Pair]):
    """`length` pairs of the pack, each drawn from the seed and its own index alone."""

    def __init__(self, pack: Pack, length: int, seed: int) -> None:
        self.pack, self.length, self.seed = pack, length, seed
        sources = [source for source in VIDEO_SOURCES if source in pack.videos]
        weights = np.array([VIDEO_SOURCES[source] for source in sources])
        self._sources, self._weights = sources, weights / weights.sum()
        self._sprite = lru_cache(maxsize=64)(self._make_sprite)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Pair:
        rng = np.random.default_rng((self.seed, index))
        kind = rng.choice(list(KINDS), p=list(KINDS.values()))
        draw = {'paste': self._paste_pair, 'image': self._image_pair, 'video': self._video_pair}
        template, search, box = draw[kind](rng)
        return Pair(*_camera(rng, template, search), np.array(box, np.float32))

    def _image_pair(self, rng: np.random.Generator) -> tuple[Image, Image, Box]:
        """Two crops of one object in its own surroundings."""
        item = self.pack.objects[rng.integers(len(self.pack.objects))]
        image = self.pack.image(item.image)
        template, _ = _template_view(rng).cut(image, item.box)
        return template, *_search_view(rng).cut(image, item.box)

    def _video_pair(self, rng: np.random.Generator) -> tuple[Image, Image, Box]:
        """Two frames of one video, at any distance in time."""
        sequences = self.pack.videos[str(rng.choice(self._sources, p=self._weights))]
        frames = list(sequences.values())[rng.integers(len(sequences))]
        first, second = (frames[i] for i in rng.integers(len(frames), size=2))
        template, _ = _template_view(rng).cut(*self._frame(first))
        return template, *_search_view(rng).cut(*self._frame(second))

    def _frame(self, frame: VideoFrame) -> tuple[Image, Box]:
        return self.pack.image(frame.image), frame.box

    def _paste_pair(self, rng: np.random.Generator) -> tuple[Image, Image, Box]:
        """An object pasted on two views of a background, with distractors and an occluder."""
        sprite = self._sprite(int(rng.integers(len(self.pack.objects))))
        ground = self._ground(rng)
        other = ground if rng.random() < 0.7 else self._ground(rng)
        pose = Pose(rng.uniform(-12, 12), np.exp(rng.uniform(-0.15, 0.15)))
        zoom, middle = rng.uniform(0.9, 2.0), rng.uniform(0.2, 0.8, 2)
        template, _ = self._scene(rng, ground, (zoom, middle), sprite, pose, _template_view(rng))
        pose = Pose(pose.angle + rng.normal(0, 8), pose.stretch * np.exp(rng.normal(0, 0.12)))
        zoom, middle = zoom * np.exp(rng.normal(0, 0.1)), middle + rng.normal(0, 0.1, 2)
        return template, *self._scene(rng, other, (zoom, middle), sprite, pose, _search_view(rng))

    def _scene(
        self,
        rng: np.random.Generator,
        ground: Image,
        camera: tuple[float, NDArray[np.float64]],
        sprite: Sprite,
        pose: Pose,
        view: View,
    ) -> tuple[Image, Box]:
        zoom, (x, y) = camera
        canvas = backdrop(ground, view.size, (x, y), zoom, rng.uniform(-10, 10))
        for _ in range(rng.choice(4, p=(0.45, 0.25, 0.20, 0.10))):
            self._distract(rng, canvas, view)
        shown = sprite._replace(image=Look.draw(rng, 0.3).apply(sprite.image))
        box = paste(canvas, shown, pose, view.side, view.center)
        if view.size == SEARCH_SIZE and rng.random() < 0.15:
            self._occlude(rng, canvas, box)
        return canvas, box

    def _distract(self, rng: np.random.Generator, canvas: Image, view: View) -> None:
        """Paste another object beside the target, as large as it or smaller."""
        sprite = self._sprite(int(rng.integers(len(self.pack.objects))))
        angle, reach = rng.uniform(0, 2 * np.pi), view.side * rng.uniform(0.4, 1.2)
        center = view.center[0] + reach * np.cos(angle), view.center[1] + reach * np.sin(angle)
        pose = Pose(rng.uniform(-20, 20), 1.0)
        paste(canvas, sprite, pose, view.side * rng.uniform(0.4, 1.2), center)

    def _occlude(self, rng: np.random.Generator, canvas: Image, box: Box) -> None:
        """Paste another object over an edge of the target."""
        sprite = self._sprite(int(rng.integers(len(self.pack.objects))))
        angle = rng.uniform(0, 2 * np.pi)
        center = box.cx + box.w * 0.6 * np.cos(angle), box.cy + box.h * 0.6 * np.sin(angle)
        side = context_side(box.w, box.h) * rng.uniform(0.4, 0.9)
        paste(canvas, sprite, Pose(rng.uniform(-20, 20), 1.0), side, center)

    def _ground(self, rng: np.random.Generator) -> Image:
        if rng.random() < 0.7:
            return self.pack.image(self.pack.backgrounds[rng.integers(len(self.pack.backgrounds))])
        return self.pack.image(self.pack.objects[rng.integers(len(self.pack.objects))].image)

    def _make_sprite(self, index: int) -> Sprite:
        item = self.pack.objects[index]
        return make_sprite(self.pack.image(item.image), self.pack.mask(item.mask), item.box)


def _template_view(rng: np.random.Generator) -> View:
    return View.draw(rng, TEMPLATE_SIZE, TEMPLATE_SHIFT, TEMPLATE_SCALE)


def _search_view(rng: np.random.Generator) -> View:
    return View.draw(rng, SEARCH_SIZE, SEARCH_SHIFT, SEARCH_SCALE)


def _camera(rng: np.random.Generator, template: Image, search: Image) -> tuple[Image, Image]:
    """Let one camera have taken both crops, under light that changed a little between them."""
    look = Look.draw(rng, 0.6, grey=0.08)
    template, search = look.apply(template), look.apply(search)
    search = Look.draw(rng, 0.3).apply(search)
    if rng.random() < 0.15:
        search = motion_blur(search, rng)
    if rng.random() < 0.4:
        factor = float(np.exp(rng.uniform(0, np.log(4.5))))
        template, search = few_pixels(template, factor), few_pixels(search, factor)
    if rng.random() < 0.15:
        template, search = sensor_noise(template, rng), sensor_noise(search, rng)
    if rng.random() < 0.3:
        template, search = compress(template, rng), compress(search, rng)
    return template, search
