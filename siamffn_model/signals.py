"""Ending long work on SIGINT and SIGTERM at a point where that is safe."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def catch_signals() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether SIGINT or SIGTERM has been received.

    The first signal restores the previous handlers, so a second one ends the process at once.
    """
    received: list[int] = []

    def handle(number: int, _: object) -> None:
        received.append(number)
        restore()

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, handle)
    try:
        yield lambda: bool(received)
    finally:
        restore()
