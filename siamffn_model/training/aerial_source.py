"""Pairs of the aerial pack: the neighbours of a target stay in the crop as distractors."""

from __future__ import annotations

from collections import defaultdict
from functools import partial

import numpy as np

from siamffn_model.datasets.aerial import AerialPack, AerialTarget
from siamffn_model.datasets.copy_paste import rotate_and_stretch
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image
from siamffn_model.training.sampling import CropSpec, TargetPair

# Weight of each source, and the sources that are seen from straight above.
SOURCES = {
    'madison-drone': 0.16,
    'minsk-aerial': 0.16,
    'harlem-video': 0.02,
    'kit-ais': 0.20,
    'cdnet-highway': 0.16,
    'unicamp-uav': 0.12,
    'sooke-boats': 0.09,
    'visdrone-det': 0.04,
    'ships-topdown': 0.03,
    'pets2001-pseudo': 0.02,
}
FROM_ABOVE = {'madison-drone', 'kit-ais', 'ships-topdown'}


class AerialSource:
    """Pairs of one target in one image, or in two images at most `frame_range` frames apart.

    Both images are mirrored in half of the pairs, and rotated by quarter turns if they are seen
    from above. `neighbour` is another target of the same class in the search image.
    """

    def __init__(self, pack: AerialPack, frame_range: int) -> None:
        self.pack, self.frame_range = pack, frame_range
        self._sources = [source for source in SOURCES if source in pack.targets]
        weights = np.array([SOURCES[source] for source in self._sources])
        self._weights = weights / weights.sum()
        self._images = {source: list(images) for source, images in pack.targets.items()}
        self._tracks: dict[tuple[str, str], list[AerialTarget]] = defaultdict(list)
        for source, images in pack.targets.items():
            for target in (target for targets in images.values() for target in targets):
                self._tracks[source, target.track].append(target)

    def draw(self, rng: np.random.Generator) -> TargetPair:
        """See `PairSource.draw`."""
        source = str(rng.choice(self._sources, p=self._weights))
        names, images = self._images[source], self.pack.targets[source]
        targets = images[names[rng.integers(len(names))]]
        template = search = targets[rng.integers(len(targets))]
        if template.track:
            track = self._tracks[source, template.track]
            in_range = [t for t in track if abs(t.frame - template.frame) <= self.frame_range]
            search = in_range[rng.integers(len(in_range))]
        mirrored = bool(rng.random() < 0.5)
        turns = int(rng.integers(4)) if source in FROM_ABOVE else 0
        crop = partial(self._crop, rng, mirrored, turns)
        others = [t for t in images[search.image] if t.kind == search.kind and t != search]
        neighbour = partial(crop, others[rng.integers(len(others))]) if others else None
        name = f'{source} {template.track or (template.image, *template.box)}'
        return TargetPair(name, partial(crop, template), partial(crop, search), neighbour)

    def _crop(
        self,
        rng: np.random.Generator,
        mirrored: bool,
        turns: int,
        target: AerialTarget,
        spec: CropSpec,
    ) -> tuple[Image, Box]:
        image, box = turn(self.pack.image(target.image), target.box, mirrored, turns)
        return spec.crop(*rotate_and_stretch(rng, image, box))


def turn(image: Image, box: Box, mirrored: bool, turns: int) -> tuple[Image, Box]:
    """Mirror an image and its box left to right, then turn them to the left by quarter turns."""
    if mirrored:
        image, box = image[:, ::-1], box._replace(x=image.shape[1] - box.x - box.w)
    for _ in range(turns):
        box = Box(box.y, image.shape[1] - box.x - box.w, box.h, box.w)
        image = np.rot90(image)
    return np.ascontiguousarray(image), box
