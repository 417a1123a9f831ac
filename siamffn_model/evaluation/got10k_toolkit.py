"""Run SiamFFN trackers in the GOT-10k toolkit (https://github.com/got-10k/toolkit).

Example, with the toolkit (`pip install got10k six`) and the data of one of its benchmarks:

    from got10k.experiments import ExperimentGOT10k

    from siamffn_model.evaluation.got10k_toolkit import toolkit_tracker
    from siamffn_model.tracking import Tracker, load_model

    experiment = ExperimentGOT10k('data/GOT-10k', subset='val')
    experiment.run(toolkit_tracker(Tracker(load_model()), 'SiamFFN'))
    experiment.report(['SiamFFN'])
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamffn_model.errors import DependencyError
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image
from siamffn_model.tracking.tracker import TrackerProtocol


def toolkit_tracker(tracker: TrackerProtocol, name: str) -> Any:
    """Wrap `tracker` as a `got10k.trackers.Tracker`.

    The toolkit passes RGB images of Pillow and boxes (4,) x, y, w, h in pixels, in the coordinates
    of its data set; the boxes are passed on unchanged. The tracker is declared deterministic, which
    makes the toolkit run it once instead of three times.

    Args:
        tracker: the tracker to wrap.
        name: name of the folder in which the toolkit saves the results.

    Raises:
        DependencyError: the toolkit is not installed.
    """
    try:
        from got10k.trackers import Tracker as ToolkitTracker
    except ImportError as error:
        raise DependencyError(
            f'the GOT-10k toolkit cannot be imported ({error}): `pip install got10k six`'
        ) from error

    class Adapter(ToolkitTracker):  # type: ignore[misc]  # untyped
        def __init__(self) -> None:
            super().__init__(name, is_deterministic=True)

        def init(self, image: Any, box: ArrayLike) -> None:
            tracker.init(_bgr(image), Box(*np.asarray(box, float).tolist()))

        def update(self, image: Any) -> NDArray[np.float64]:
            return np.array(tracker.update(_bgr(image)).box, float)

    return Adapter()


def _bgr(image: Any) -> Image:
    return np.ascontiguousarray(np.asarray(image)[..., ::-1])
