"""The interface between the tracker and the inference engines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from siamffn_model.imaging.crop import SEARCH_SIZE, View
from siamffn_model.networks.score_map import ScoreMap

Floats: TypeAlias = NDArray[np.float64]
Template: TypeAlias = Any  # template features of one target; the type depends on the runtime


class Runtime(Protocol):
    """A model on an inference engine: `template` runs once per target, `search` once per frame.

    On a CPU, several threads may call it at the same time; on a GPU, see `live.shared_runtime`.

    Attributes:
        name: inference engine and precision, for people to read.
        device: 'cpu', 'cuda', 'cuda:1', ...
        score_map: layout of the candidates.
    """

    name: str
    device: str
    score_map: ScoreMap

    def warm_up(self) -> None:
        """Do what would make the first searches slow, for any number of views."""

    def template(self, view: View) -> Template:
        """Return the template features of the target in a view, for `search` of this runtime."""

    def features(self, template: Template) -> Floats:
        """Return the first level of template features as an array (C, H, W)."""

    def search(self, views: Sequence[View], templates: Sequence[Template]) -> Floats:
        """Search each view for the target whose template has the same index.

        Returns:
            Candidates (V, 5, N) of V views: score in [0, 1]; x and y of the box centre relative to
            the centre of the view; width and height. All lengths are in pixels of the search crop.
        """


def search_batches(runtime: Runtime, sizes: Iterable[int]) -> None:
    """Compute the template of a black image and search it with each of these batch sizes."""
    image = np.zeros((SEARCH_SIZE, SEARCH_SIZE, 3), np.uint8)
    view = View(image, SEARCH_SIZE / 2, SEARCH_SIZE / 2, SEARCH_SIZE, (0.0, 0.0, 0.0))
    template = runtime.template(view)
    for size in sizes:
        runtime.search([view] * size, [template] * size)
