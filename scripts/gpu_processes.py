"""Processes of a GPU run that end in time, and with the process that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

OVERTIME = -1000  # exit status of a process that was stopped at its limit
TAIL = 3000  # characters
PR_SET_PDEATHSIG = 1  # of prctl(2), Linux


def run(
    arguments: Sequence[str | Path],
    seconds: float,
    log: Path,
    environment: Mapping[str, str],
    grace: float = 1.0,
    repeat: Callable[[], object] = lambda: None,
    interval: float = 1.0,
) -> tuple[int, float]:
    """Run Python with these arguments for at most `seconds`; return exit status and duration.

    The process receives SIGTERM `grace` seconds before the limit, and SIGKILL at the limit, like
    all processes that it has started. It is killed if this process dies. Its output is appended to
    `log`. `repeat` is called at every `interval` seconds meanwhile.
    """
    start = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('a') as output:
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        try:
            overtime = not _wait(process, start + seconds - grace, repeat, interval)
            if overtime:
                process.terminate()
                _wait(process, start + seconds, lambda: None, grace)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return OVERTIME if overtime else process.returncode, round(time.monotonic() - start, 1)


def _wait(
    process: subprocess.Popen[bytes], until: float, repeat: Callable[[], object], interval: float
) -> bool:
    """Return whether the process has ended before `until`, a value of `time.monotonic`."""
    while True:
        left = until - time.monotonic()
        try:
            process.wait(max(0.0, min(left, interval)))
        except subprocess.TimeoutExpired:
            if left <= interval:
                return False
            repeat()
        else:
            return True


_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def tail(log: Path) -> str:
    """Return the end of a log, without the intermediate states of progress bars."""
    data = log.read_bytes() if log.is_file() else b''
    text = data[-10 * TAIL :].decode(errors='replace')
    return '\n'.join(line.rpartition('\r')[2] for line in text.split('\n'))[-TAIL:].strip()
