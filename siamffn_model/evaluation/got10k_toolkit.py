"""Our trackers inside the GOT-10k toolkit (https://github.com/got-10k/toolkit).

With the toolkit (`pip install got10k six`) and the data of one of its benchmarks:

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
from siamffn_model.imaging.crop import Image
from siamffn_model.imaging.geometry import Box
from siamffn_model.tracking.tracker import TrackerProtocol


def toolkit_tracker(tracker: TrackerProtocol, name: str) -> Any:
    """Return `tracker` as a `got10k.trackers.Tracker`, whose results are filed under `name`.

    The toolkit gives RGB images of Pillow and takes boxes (4) x, y, w, h in pixels, in coordinates
    counted as its data set counts them; they are handed on as they are. It is told that the tracker
    answers the same every time, so that it runs once and not three times.

    Raises `DependencyError` where the toolkit is not installed.
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
