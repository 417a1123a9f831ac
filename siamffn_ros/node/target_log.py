"""Log lines about targets that start, stop, are lost and are found again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from siamffn_model.live.targets import TargetStatus
from siamffn_model.tracking import State


class TargetLog:
    """Log what has changed since the last call, so that the number of lines is limited.

    Args:
        log: receives each line.
    """

    def __init__(self, log: Callable[[str], object]) -> None:
        self._log = log
        self._targets: dict[str, TargetStatus] = {}

    def update(self, targets: Sequence[TargetStatus]) -> None:
        """Log the changes; `targets` is the status of every target."""
        current = {target.id: target for target in targets}
        for name in self._targets.keys() - current.keys():
            self._log(f'target {name} stopped')
        for name, target in current.items():
            last = self._targets.get(name)
            lost = target.track.state == State.LOST
            if last is None or target.processed < last.processed:
                x, y, w, h = target.track.box
                where = 'is lost' if lost else f'has the box {x:.0f},{y:.0f},{w:.0f},{h:.0f}'
                self._log(f'target {name} {"restarted" if last else "started"} and {where}')
            elif lost != (last.track.state == State.LOST):
                self._log(f'target {name} is {"lost" if lost else "found again"}')
        self._targets = current
