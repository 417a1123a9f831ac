"""A worker thread that processes the newest item and runs submitted calls in between."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic, TypeVar

from siamffn_model.errors import NotReadyError

Item = TypeVar('Item')
Result = TypeVar('Result')


class Worker(Generic[Item]):
    """Run `process` on the newest item, submitted calls, and `idle`, all in one thread.

    An item that was not yet taken is replaced by a newer one. A call runs before a waiting item,
    but two calls in a row do not. `idle` does a small piece of work and returns whether there is
    more; it runs after each item unless calls are waiting, and repeatedly while nothing else waits.
    The thread survives exceptions: those of `process` and `idle` go to `on_error`.
    """

    def __init__(
        self,
        process: Callable[[Item], None],
        on_error: Callable[[Exception], None],
        idle: Callable[[], bool] = lambda: False,
    ) -> None:
        self._process = process
        self._on_error = on_error
        self._idle = idle
        self._newest: list[Item] = []  # at most one
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._idle_pending = False
        self._closed = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name='tracking', daemon=True)
        self._thread.start()

    def put(self, item: Item) -> bool:
        """Hand over an item without waiting; return whether it replaced a waiting one."""
        with self._wake:
            replaced = bool(self._newest)
            self._newest[:] = [item]
            self._wake.notify()
        return replaced

    def submit(
        self, function: Callable[[], Result], max_pending: int | None = None
    ) -> Future[Result]:
        """Schedule a function on the thread and return the future of its result.

        The future is cancelled if the worker is closed first. It holds a `NotReadyError` if
        `max_pending` calls are already waiting.
        """
        future: Future[Result] = Future()
        with self._wake:
            if self._closed:
                future.cancel()
            elif max_pending is not None and len(self._calls) >= max_pending:
                future.set_exception(
                    NotReadyError(f'busy with {max_pending} other calls: try again later')
                )
            else:
                self._calls.append((function, future))
                self._wake.notify()
        return future

    def call(self, function: Callable[[], Result]) -> Result:
        """Run a function on the thread and wait; return its result or raise its exception.

        Raises `concurrent.futures.CancelledError` if the worker is closed first.
        """
        return self.submit(function).result()

    def close(self) -> None:
        """Stop after the current item or call; cancel the calls that are waiting."""
        with self._wake:
            self._closed = True
            calls, self._calls = self._calls, deque()
            self._newest.clear()
            self._wake.notify()
        for _, future in calls:
            future.cancel()
        self._thread.join()

    def _run(self) -> None:
        called = False
        while True:
            work: Callable[[], None] | None = None
            with self._wake:
                self._wake.wait_for(
                    lambda: self._closed or self._calls or self._newest or self._idle_pending
                )
                if self._closed:
                    return
                called = bool(self._calls) and not (called and self._newest)
                if called:
                    work = partial(_run_call, *self._calls.popleft())
                elif self._newest:
                    work = partial(self._process, self._newest.pop())
            if work:
                self._guarded(work)
            self._idle_pending = called or bool(self._calls) or bool(self._guarded(self._idle))

    def _guarded(self, function: Callable[[], Result]) -> Result | None:
        try:
            return function()
        except Exception as error:  # one bad item must not end the thread
            self._on_error(error)
            return None


def _run_call(function: Callable[[], Any], future: Future[Any]) -> None:
    if not future.set_running_or_notify_cancel():  # cancelled by its owner
        return
    try:
        future.set_result(function())
    except BaseException as error:
        future.set_exception(error)
