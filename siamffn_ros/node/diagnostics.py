"""Statistics of the node, published once a second on /diagnostics."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from siamffn_model.live.targets import TargetStatus
from siamffn_model.runtimes.devices import reserved_gpu_memory, resident_memory
from siamffn_model.tracking import State
from siamffn_ros.latency import Latency

SLOW = 0.1  # fraction of dropped images above which the node is reported as slow
MAX_LATENCIES = 1000  # kept between two reports
IMAGE_EVENTS = ('received', 'tracked', 'dropped', 'out of order', 'bad')


class NodeStatistics:
    """Counts events from any thread, in total and since the last report.

    The events are 'received', 'tracked', 'dropped' (replaced by a newer image before it was
    tracked), 'out of order', 'bad' (an unusable image) and 'failed' (an internal error).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Set everything to zero."""
        with self._lock:
            self.total: Counter[str] = Counter()
            self.bad_reason = ''  # of the last bad image
            self._recent: Counter[str] = Counter()
            self._latencies: deque[float] = deque(maxlen=MAX_LATENCIES)
            self._since = time.monotonic()

    def count(self, event: str) -> int:
        """Count an event; return its total."""
        with self._lock:
            self._recent[event] += 1
            self.total[event] += 1
            return self.total[event]

    def count_bad(self, reason: str) -> int:
        """Count an image that cannot be used; return how many there were."""
        self.bad_reason = reason
        return self.count('bad')

    def count_tracked(self, arrival: float) -> None:
        """Count a tracked image that arrived at this time, in seconds of the monotonic clock."""
        self.count('tracked')
        self._latencies.append(1e3 * (time.monotonic() - arrival))

    def take_recent(self) -> tuple[Counter[str], float, Latency | None]:
        """Return events, seconds and latency (arrival to publishing) since the last call."""
        with self._lock:
            recent, self._recent = self._recent, Counter()
            latencies, self._latencies = self._latencies, deque(maxlen=MAX_LATENCIES)
            now = time.monotonic()
            seconds, self._since = now - self._since, now
        if not latencies:
            return recent, seconds, None
        return recent, seconds, Latency.from_milliseconds(latencies)


def diagnostic_status(
    name: str,
    statistics: NodeStatistics,
    targets: Sequence[TargetStatus],
    facts: Mapping[str, object],
    ok_message: str,
    error: str = '',
    warning: str = '',
) -> DiagnosticStatus:
    """Return the status of the node.

    Args:
        name: of the status.
        statistics: the recent ones are taken, so that the next status starts from zero.
        targets: a LOST target is a warning, as are bad and dropped images.
        facts: further values, published as they are.
        ok_message: the message if nothing is wrong.
        error: what keeps the node from working, if anything; internal errors are added.
        warning: a further warning, such as that the node is inactive.
    """
    recent, seconds, latency = statistics.take_recent()
    errors = [error] if error else []
    if recent['failed']:
        errors.append(f'failed {recent["failed"]} times: see the log')
    warnings = [warning] if warning else []
    if recent['bad']:
        warnings.append(f'{recent["bad"]} bad images, the last: {statistics.bad_reason}')
    if recent['dropped'] > SLOW * recent['received']:
        warnings.append(f'slow: {recent["dropped"]} of {recent["received"]} images dropped')
    lost = [target.id for target in targets if target.track.state == State.LOST]
    if lost:
        warnings.append(f'lost: {", ".join(lost)}')
    level = DiagnosticStatus.WARN if warnings else DiagnosticStatus.OK
    values = {
        **facts,
        'images received per second': f'{recent["received"] / seconds:.1f}',
        'images tracked per second': f'{recent["tracked"] / seconds:.1f}',
        **{f'images {event}': statistics.total[event] for event in IMAGE_EVENTS},
        **_latency_values(latency),
        'targets': len(targets),
        **{
            f'target {target.id}': f'{target.track.state.name} {target.track.score:.2f}'
            for target in targets
        },
        **_memory_values(),
    }
    return DiagnosticStatus(
        level=DiagnosticStatus.ERROR if errors else level,
        name=name,
        message='; '.join(errors + warnings) or ok_message,
        hardware_id=str(facts.get('device', '')),
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )


def _latency_values(latency: Latency | None) -> dict[str, str]:
    if latency is None:
        return {}
    return {f'latency {name} (ms)': f'{value:.1f}' for name, value in latency._asdict().items()}


def _memory_values() -> dict[str, str]:
    """Return the memory of the process, and what PyTorch has reserved on the GPU, in megabytes."""
    used = {'memory (MB)': resident_memory(), 'GPU memory (MB)': reserved_gpu_memory()}
    return {name: f'{size / 1e6:.0f}' for name, size in used.items() if size}
