"""What crops of the training pack show, and where, as numbers for many targets at once.

In a frame, as in OpenCV, the centre of the first pixel is at (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamffn_model.imaging.crop import CONTEXT_AMOUNT, SEARCH_SIZE, TEMPLATE_SIZE
from siamffn_model.training.sampling import TEMPLATE_SCALE, TEMPLATE_SHIFT

if TYPE_CHECKING:
    from siamffn_model.training.recipe import Augmentation

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rng = np.random.Generator

CROPS = np.array((TEMPLATE_SIZE, SEARCH_SIZE))
LAYERS = 7


class Overlays(NamedTuple):
    """Images (n of them) that are drawn over the base images of crops.

    Attributes:
        view: (n,), the crop.
        image: (n,), the image.
        matrix: (n, 2, 3), maps points of the frame to points of the image.
        rect: (n, 4), left, top, right, bottom of the part of the frame that can change.
        opaque: (n,), whether the complete image is drawn, not only the object.
        levels: (n, 2, 3), gain and offset of each colour.
    """

    view: Ints
    image: Ints
    matrix: Floats
    rect: Floats
    opaque: NDArray[np.bool_]
    levels: Floats

    def select(self, chosen: NDArray[np.bool_]) -> Overlays:
        """Return those where `chosen` (n,)."""
        return Overlays(
            self.view[chosen],
            self.image[chosen],
            self.matrix[chosen],
            self.rect[chosen],
            self.opaque[chosen],
            self.levels[chosen],
        )

    @classmethod
    def join(cls, parts: list[Overlays]) -> Overlays:
        """Return all overlays of several parts."""
        columns: list[list[Any]] = [list(column) for column in zip(*parts)]
        return cls(*map(np.concatenate, columns))


@dataclass
class Targets:
    """Targets (T of them), each with a template and a search crop; arrays are (T, 2, ...).

    Attributes:
        side, center, stretch: those of `CropSpec`.
        frame: (T, 2, 2, 2), a and b: the point u of the crop is a * u + b in the frame.
        image: the base image, and `matrix` (T, 2, 2, 3) that maps the frame to it.
        window: (T, 2, 4), left, top, right, bottom of the frame; the rest of the crop has the
            colour `fill` (T, 2, 3).
        light: gain of all grey levels.
        enlargement: pixels of the crop per pixel of a frame that is rendered, else 1.
        box: (T, 2, 4), x, y, w, h of the target in the crop.
        identity: (T,), equal for crops of the same target.
        layers: the overlays, from the lowest layer to the highest, with the crop 2 * target + 0
            (template) or 1 (search); a layer has at most one for each crop.
    """

    side: Floats
    center: Floats
    stretch: Floats
    frame: Floats
    image: Ints
    matrix: Floats
    window: Floats
    fill: Floats
    light: Floats
    enlargement: Floats
    box: Floats
    identity: Ints
    layers: list[list[Overlays]]

    @classmethod
    def draw(cls, rng: Rng, stretch: Floats, augmentation: Augmentation) -> Targets:
        """Draw the positions in the crops of targets with given stretch (T, 2), see `CropSpec`."""
        shape = stretch.shape
        shift, scale = (TEMPLATE_SHIFT, augmentation.shift), (TEMPLATE_SCALE, augmentation.scale)
        side = TEMPLATE_SIZE * np.exp(np.multiply(scale, rng.uniform(-1, 1, shape)))
        offset = np.array(shift)[:, None] * rng.uniform(-1, 1, (*shape, 2))
        identity = np.tile([[1.0, 0, 0], [0, 1, 0]], (*shape, 1, 1))
        return cls(
            side=side,
            center=(CROPS[:, None] - 1) / 2 + offset,
            stretch=stretch,
            frame=np.tile([[1.0, 1], [0, 0]], (*shape, 1, 1)),
            image=np.zeros(shape, int),
            matrix=identity,
            window=np.tile([-1e6, -1e6, 1e6, 1e6], (*shape, 1)),
            fill=np.zeros((*shape, 3)),
            light=np.ones(shape),
            enlargement=np.ones(shape),
            box=np.zeros((*shape, 4)),
            identity=np.zeros(shape[0], int),
            layers=[[] for _ in range(LAYERS)],
        )

    def crop(self, rows: Ints, center: Floats, size: Floats) -> None:
        """Set `frame` and `box` of targets, as `CropSpec.crop` does.

        center and size (n, 2, 2) are those of the boxes in the frame, where the first pixel's
        centre is at 0.5.
        """
        width_factor = np.sqrt(self.stretch[rows])[..., None] ** (1, -1)
        scale = context_sides(size * width_factor) / self.side[rows]
        steps = scale[..., None] / width_factor
        middle = (CROPS[:, None] - 1) / 2
        first = center - self.center[rows] * steps - 0.5
        self.frame[rows] = np.stack([steps, first], axis=-2)
        corner = (center - size / 2 - first - 0.5 - middle * steps) / steps + middle
        self.box[rows] = np.concatenate([corner, size / steps], axis=-1)

    def add(
        self,
        layer: int,
        rows: Ints,
        present: NDArray[np.bool_],
        image: Ints,
        placed: tuple[Floats, Floats],
        levels: ArrayLike = ((1, 1, 1), (0, 0, 0)),
        opaque: bool = False,
    ) -> None:
        """Add an image (n,) to both crops of targets where `present` (n, 2).

        `placed` are `Overlays.matrix` and `rect`, (n, 2, ...), as from `place`.
        """
        view = (2 * rows[:, None] + (0, 1))[present]
        shown = np.broadcast_to(image[:, None], present.shape)[present]
        levels = np.broadcast_to(levels, (*present.shape, 2, 3))[present]
        matrix, rect = (values[present] for values in placed)
        opaques = np.full(len(view), opaque)
        self.layers[layer].append(Overlays(view, shown, matrix, rect, opaques, levels))


def context_sides(size: Floats) -> Floats:
    """Return (...), see `context_side`, of targets of sizes (..., 2)."""
    margin = CONTEXT_AMOUNT * size.sum(axis=-1, keepdims=True)
    return np.asarray(np.sqrt((size + margin).prod(axis=-1)))


def draw_jitter(rng: Rng, strength: float, shape: tuple[int, ...]) -> Floats:
    """Draw gain and offset (..., 2, 3) of each colour, see `ColorJitter`."""
    gain = 1 + strength * rng.uniform(-0.3, 0.3, (*shape, 3))
    brightness = strength * rng.uniform(-50, 50, (*shape, 1))
    contrast = 1 + strength * rng.uniform(-0.4, 0.4, (*shape, 1))
    return np.stack([gain * contrast, 127 - 127 * contrast + brightness + 0 * gain], axis=-2)
