"""One thread that owns the trackers, so that receiving images never waits for them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic, TypeVar

from siamffn_model.errors import SiamFFNError

Item = TypeVar('Item')
Result = TypeVar('Result')


class Worker(Generic[Item]):
    """Run `process` on the newest item offered, calls in turn with it, and `idle` in between.

    A call goes before an item that waits, but not two of them. An item offered before the last one
    was taken replaces it. `idle` does a bit of work and returns whether there is more; unless calls
    wait it has a turn after each item, and more while nothing else waits. All run in one thread,
    which lives on when one raises: an exception of `process` or `idle` goes to `failed`.
    """

    def __init__(
        self,
        process: Callable[[Item], None],
        failed: Callable[[Exception], None],
        idle: Callable[[], bool] = lambda: False,
    ) -> None:
        self._process = process
        self._failed = failed
        self._idle = idle
        self._newest: list[Item] = []  # at most one
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._more = False
        self._closed = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name='tracking', daemon=True)
        self._thread.start()

    def offer(self, item: Item) -> bool:
        """Hand over an item, without waiting; returns whether it replaced one."""
        with self._wake:
            replaced = bool(self._newest)
            self._newest[:] = [item]
            self._wake.notify()
        return replaced

    def submit(self, function: Callable[[], Result], limit: int | None = None) -> Future[Result]:
        """Let the thread run a function; returns what will hold its result.

        The future is cancelled if the worker is closed before, and holds a `SiamFFNError` where
        `limit` others wait already.
        """
        future: Future[Result] = Future()
        with self._wake:
            if self._closed:
                future.cancel()
            elif limit is not None and len(self._calls) >= limit:
                future.set_exception(SiamFFNError(f'busy with {limit} other calls: try later'))
            else:
                self._calls.append((function, future))
                self._wake.notify()
        return future

    def call(self, function: Callable[[], Result]) -> Result:
        """Do the same and wait; returns or raises what the function does.

        Raises `concurrent.futures.CancelledError` if the worker is closed before.
        """
        return self.submit(function).result()

    def close(self) -> None:
        """Stop after the item or call at hand; those that wait are cancelled."""
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
                    lambda: self._closed or self._calls or self._newest or self._more
                )
                if self._closed:
                    return
                called = bool(self._calls) and not (called and self._newest)
                if called:
                    work = partial(_answer, *self._calls.popleft())
                elif self._newest:
                    work = partial(self._process, self._newest.pop())
            if work:
                self._guarded(work)
            self._more = called or bool(self._calls) or bool(self._guarded(self._idle))

    def _guarded(self, function: Callable[[], Result]) -> Result | None:
        try:
            return function()
        except Exception as error:  # one bad item must not end the thread
            self._failed(error)
            return None


def _answer(function: Callable[[], Any], future: Future[Any]) -> None:
    try:
        future.set_result(function())
    except BaseException as error:
        future.set_exception(error)
