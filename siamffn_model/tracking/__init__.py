"""Track a target: ``Tracker(load_model())``, ``init(image, box)``, then ``update(image)``."""

from siamffn_model.runtimes.selection import load_model
from siamffn_model.tracking.settings import TrackerSettings
from siamffn_model.tracking.tracker import (
    State,
    Track,
    Tracker,
    TrackerProtocol,
    update_all,
)

__all__ = [
    'State',
    'Track',
    'Tracker',
    'TrackerProtocol',
    'TrackerSettings',
    'load_model',
    'update_all',
]
