"""How the node is doing: counted as it works, told once a second as diagnostics."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from siamffn_model.live.targets import Target
from siamffn_model.runtimes.devices import gpu_memory, memory
from siamffn_model.tracking import State

SLOW = 0.1  # share of dropped images from which on the node is called slow
LATENCIES = 1000  # kept between two reports


class Latency(NamedTuple):
    """Milliseconds from the arrival of images to the publishing of what was found."""

    median: float
    p95: float
    max: float


class NodeStatistics:
    """Counts events from any thread, and tells of those since the last report.

    The events are 'received', 'tracked', 'dropped' (replaced by a newer image before it was
    tracked), 'out of order', 'bad' and 'failed' (the node's own fault).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Begin again."""
        with self._lock:
            self.total: Counter[str] = Counter()
            self._recent: Counter[str] = Counter()
            self._latencies: deque[float] = deque(maxlen=LATENCIES)
            self._since = time.monotonic()

    def count(self, event: str) -> int:
        """Count an event; returns how many there have been."""
        with self._lock:
            self._recent[event] += 1
            self.total[event] += 1
            return self.total[event]

    def tracked(self, arrival: float) -> None:
        """Count an image that was tracked, which arrived at this monotonic time in seconds."""
        self.count('tracked')
        self._latencies.append(1e3 * (time.monotonic() - arrival))

    def take(self) -> tuple[Counter[str], float, Latency | None]:
        """Return events, seconds and latency since the last call, and begin anew."""
        with self._lock:
            recent, self._recent = self._recent, Counter()
            times, self._latencies = self._latencies, deque(maxlen=LATENCIES)
            now = time.monotonic()
            seconds, self._since = now - self._since, now
        if not times:
            return recent, seconds, None
        return recent, seconds, Latency(*map(float, np.percentile(times, (50, 95, 100))))


def status(
    name: str,
    figures: NodeStatistics,
    targets: Iterable[Target],
    facts: dict[str, Any],
    well: str,
    error: str = '',
) -> DiagnosticStatus:
    """Return what /diagnostics says of the node.

    Args:
        name: of the status.
        figures: are taken, so that the next status begins anew.
        targets: what is followed; a LOST one is a warning, as are bad and dropped images.
        facts: told as they are.
        well: the message if nothing is wrong.
        error: something that keeps the node from its work; that it failed at something is another.
    """
    recent, seconds, latency = figures.take()
    found = list(targets)
    errors = [error] if error else []
    if recent['failed']:
        errors.append(f'failed {recent["failed"]} times: see the log')
    warnings = []
    if recent['bad']:
        warnings.append(f'{recent["bad"]} bad images')
    if recent['dropped'] > SLOW * recent['received']:
        warnings.append(f'slow: {recent["dropped"]} of {recent["received"]} images dropped')
    lost = [target.id for target in found if target.track.state == State.LOST]
    if lost:
        warnings.append(f'lost: {", ".join(lost)}')
    level = DiagnosticStatus.WARN if warnings else DiagnosticStatus.OK
    values = {
        **facts,
        'images received per second': f'{recent["received"] / seconds:.1f}',
        'images tracked per second': f'{recent["tracked"] / seconds:.1f}',
        **{
            f'images {event}': figures.total[event]
            for event in ('received', 'tracked', 'dropped', 'out of order', 'bad')
        },
        **{
            f'latency {kind} (ms)': f'{value:.1f}'
            for kind, value in (latency._asdict() if latency else {}).items()
        },
        'targets': len(found),
        **{
            f'target {target.id}': f'{target.track.state.name} {target.track.score:.2f}'
            for target in found
        },
        **_memory(),
    }
    return DiagnosticStatus(
        level=DiagnosticStatus.ERROR if errors else level,
        name=name,
        message='; '.join(errors + warnings) or well,
        hardware_id=str(facts.get('device', '')),
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )


def _memory() -> dict[str, str]:
    """Return the process's memory, and the GPU's that PyTorch holds, in megabytes."""
    told = {'memory (MB)': memory(), 'GPU memory (MB)': gpu_memory()}
    return {name: f'{used / 1e6:.0f}' for name, used in told.items() if used}
