"""Following a target: ``Tracker(load_model())``, ``init(image, box)``, then ``update(image)``."""

from siamffn_model.runtimes.selection import load_model
from siamffn_model.tracking.tracker import (
    AnyTracker,
    Settings,
    State,
    Track,
    Tracker,
    update_all,
)

__all__ = ['AnyTracker', 'Settings', 'State', 'Track', 'Tracker', 'load_model', 'update_all']
