"""What computes a model for the tracker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from siamffn_model.imaging.crop import View
from siamffn_model.networks.score_map import ScoreMap

Floats: TypeAlias = NDArray[np.float64]
Template: TypeAlias = Any  # what a runtime keeps of a target: only the same runtime knows


class Runtime(Protocol):
    """A model where and how it is computed: the template once a target, one search a frame.

    Attributes:
        name: what computes it, and how, in words.
        device: where: 'cpu', 'cuda', 'cuda:1', ...
        score_map: the candidates.
    """

    name: str
    device: str
    score_map: ScoreMap

    def template(self, view: View) -> Template:
        """Return what `search` needs to know of the target that a view shows."""

    def search(self, views: Sequence[View], templates: Sequence[Template]) -> Floats:
        """Return the candidates (V, 5, N) of each view, whose template stands at the same place.

        They are score in [0, 1], x and y of the centre from the view's, width and height, in pixels
        of the search crop.
        """
