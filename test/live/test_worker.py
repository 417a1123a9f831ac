"""Tests of siamffn_model/live/worker.py."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError

import pytest

from siamffn_model.errors import SiamFFNError
from siamffn_model.live.worker import Worker

TIMEOUT = 20.0  # seconds


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition is true; fail after the timeout."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, f'timeout of {TIMEOUT} s while waiting for {what}'
        time.sleep(0.001)


class BlockingWorker:
    """A worker that blocks in each item until `release` is released.

    Attributes:
        started: released when an item starts.
        processed: the items that were processed; a negative item fails instead.
        errors: what was passed to `on_error`.
    """

    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self.release = threading.Semaphore(0)
        self.processed: list[int] = []
        self.errors: list[Exception] = []
        self.worker: Worker[int] = Worker(self.process, self.errors.append)

    def process(self, item: int) -> None:
        self.started.release()
        assert self.release.acquire(timeout=TIMEOUT)
        if item < 0:
            raise ValueError(item)
        self.processed.append(item)


@pytest.fixture
def blocking() -> Iterator[BlockingWorker]:
    blocking = BlockingWorker()
    yield blocking
    blocking.release.release(100)
    blocking.worker.close()


def test_the_newest_item_replaces_the_waiting_one(blocking: BlockingWorker) -> None:
    blocking.worker.put(1)
    assert blocking.started.acquire(timeout=TIMEOUT)  # item 1 blocks the worker
    for item in (2, 3, 4):
        blocking.worker.put(item)
    blocking.release.release(2)
    assert blocking.started.acquire(timeout=TIMEOUT)
    blocking.worker.call(lambda: None)
    assert blocking.processed == [1, 4]


def test_a_call_runs_before_the_waiting_item(blocking: BlockingWorker) -> None:
    blocking.worker.put(1)
    assert blocking.started.acquire(timeout=TIMEOUT)
    blocking.worker.put(2)
    future = blocking.worker.submit(lambda: list(blocking.processed))
    blocking.release.release(2)
    assert future.result(TIMEOUT) == [1]


def test_a_failing_item_is_reported_and_the_thread_continues(blocking: BlockingWorker) -> None:
    blocking.release.release(2)
    blocking.worker.put(-1)
    assert blocking.started.acquire(timeout=TIMEOUT)
    blocking.worker.call(lambda: None)
    blocking.worker.put(5)
    assert blocking.started.acquire(timeout=TIMEOUT)
    blocking.worker.call(lambda: None)
    assert [str(error) for error in blocking.errors] == ['-1']
    assert blocking.processed == [5]


def test_a_failing_call_raises_in_the_caller(blocking: BlockingWorker) -> None:
    with pytest.raises(ZeroDivisionError):
        blocking.worker.call(lambda: 1 / 0)
    assert blocking.worker.call(lambda: 'result') == 'result'


def test_idle_work_runs_until_none_is_left() -> None:
    events: list[str] = []
    finished = threading.Event()

    def idle() -> bool:
        if events.count('idle') < 3:
            events.append('idle')
        elif 'item' in events:
            finished.set()
        return events.count('idle') < 3

    worker: Worker[int] = Worker(lambda item: events.append('item'), print, idle)
    worker.call(lambda: None)
    wait_until(lambda: events.count('idle') == 3, 'the idle work')
    assert events == ['idle'] * 3
    worker.put(1)
    assert finished.wait(TIMEOUT)
    worker.close()
    assert events == ['idle'] * 3 + ['item']


def test_idle_work_runs_between_items_that_always_wait() -> None:
    events: list[str] = []
    finished = threading.Event()

    def process(item: int) -> None:
        events.append('item')
        if item < 4:
            worker.put(item + 1)
        else:
            finished.set()

    def idle() -> bool:
        events.append('idle')
        return len(events) < 20

    worker: Worker[int] = Worker(process, print, idle)
    worker.put(1)
    assert finished.wait(TIMEOUT)
    worker.close()
    assert events[:7] == ['item', 'idle'] * 3 + ['item']


def test_calls_and_items_alternate(blocking: BlockingWorker) -> None:
    blocking.release.release(10)
    resume = threading.Event()
    blocking.worker.submit(lambda: resume.wait(TIMEOUT))
    futures = [blocking.worker.submit(lambda: list(blocking.processed)) for _ in range(3)]
    blocking.worker.put(1)
    resume.set()
    results = [future.result(TIMEOUT) for future in futures]
    assert results[0] == [1], 'the item runs between the first call and the others'


def test_calls_beyond_the_limit_are_refused(blocking: BlockingWorker) -> None:
    started, resume = threading.Event(), threading.Event()
    blocking.worker.submit(lambda: (started.set(), resume.wait(TIMEOUT)))
    assert started.wait(TIMEOUT)
    futures = [blocking.worker.submit(lambda: 1, 5) for _ in range(6)]
    with pytest.raises(SiamFFNError, match='busy with 5 other calls'):
        futures[-1].result(TIMEOUT)
    futures[-1] = blocking.worker.submit(lambda: 1)  # without a limit it is accepted
    resume.set()
    assert {future.result(TIMEOUT) for future in futures} == {1}


def test_put_returns_whether_an_item_was_replaced(blocking: BlockingWorker) -> None:
    assert not blocking.worker.put(1)
    assert blocking.started.acquire(timeout=TIMEOUT)
    assert [blocking.worker.put(item) for item in (2, 3)] == [False, True]


def test_a_cancelled_call_is_not_run(blocking: BlockingWorker) -> None:
    started, release = threading.Event(), threading.Event()

    def block() -> bool:
        started.set()
        return release.wait(TIMEOUT)

    blocking.worker.submit(block)
    assert started.wait(TIMEOUT)
    calls: list[str] = []
    future = blocking.worker.submit(lambda: calls.append('cancelled'))
    assert future.cancel()
    release.set()
    blocking.worker.call(lambda: None)
    assert calls == [] and blocking.errors == []


def test_a_closed_worker_cancels_calls(blocking: BlockingWorker) -> None:
    blocking.worker.close()
    with pytest.raises(CancelledError):
        blocking.worker.call(lambda: None)
    blocking.worker.close()  # a second time, without effect
