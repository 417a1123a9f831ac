"""Ending long work on the signals that end programs, at a point where that is safe."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

END_SIGNALS = (signal.SIGTERM, signal.SIGHUP)  # beside Ctrl-C; SIGHUP: the terminal was closed


def handle_signals(
    numbers: tuple[int, ...], handler: Callable[[int, FrameType | None], object]
) -> Callable[[], None]:
    """Handle signals, and return a function that restores the previous handlers.

    A SIGHUP that is ignored remains so: `nohup` has started the program.
    """
    previous = {number: signal.getsignal(number) for number in numbers}
    if previous.get(signal.SIGHUP) == signal.SIG_IGN:
        del previous[signal.SIGHUP]
    for number in previous:
        signal.signal(number, handler)

    def restore() -> None:
        for number, before in previous.items():
            signal.signal(number, before)

    return restore


@contextmanager
def catch_signals() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether SIGINT or one of `END_SIGNALS` has been received.

    The first signal restores the previous handlers, so a second one ends the process at once.
    """
    received: list[int] = []

    def handle(number: int, _: object) -> None:
        received.append(number)
        restore()

    restore = handle_signals((signal.SIGINT, *END_SIGNALS), handle)
    try:
        yield lambda: bool(received)
    finally:
        restore()
