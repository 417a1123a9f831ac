"""One thread that owns the trackers, so that receiving images never waits for them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

Item = TypeVar('Item')
Result = TypeVar('Result')


class Worker(Generic[Item]):
    """Run `process` on the newest item offered, and calls in between, in one thread.

    An item offered before the last one was taken replaces it. An exception of `process` goes to
    `failed` and the thread lives on.
    """

    def __init__(
        self, process: Callable[[Item], None], failed: Callable[[Exception], None]
    ) -> None:
        self._process = process
        self._failed = failed
        self._newest: list[Item] = []  # at most one
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._closed = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name='tracking', daemon=True)
        self._thread.start()

    def offer(self, item: Item) -> None:
        """Hand over an item; never blocks."""
        with self._wake:
            self._newest[:] = [item]
            self._wake.notify()

    def call(self, function: Callable[[], Result]) -> Result:
        """Run a function in the thread, before the next item; returns or raises what it does.

        Raises `concurrent.futures.CancelledError` if the worker is closed before.
        """
        future: Future[Result] = Future()
        with self._wake:
            if self._closed:
                future.cancel()
            else:
                self._calls.append((function, future))
                self._wake.notify()
        return future.result()

    def close(self) -> None:
        """Stop after the item or call at hand; those that wait are cancelled."""
        with self._wake:
            self._closed = True
            for _, future in self._calls:
                future.cancel()
            self._calls.clear()
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or self._calls or self._newest)
                if self._closed:
                    return
                call = self._calls.popleft() if self._calls else None
                item = None if call else self._newest.pop()
            if call:
                _answer(*call)
            else:
                self._handle(item)

    def _handle(self, item: Any) -> None:
        try:
            self._process(item)
        except Exception as error:  # one bad item must not end the thread
            self._failed(error)


def _answer(function: Callable[[], Any], future: Future[Any]) -> None:
    try:
        future.set_result(function())
    except BaseException as error:
        future.set_exception(error)
