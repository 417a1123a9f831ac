"""siamffn_model/live/worker.py"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError

import pytest

from siamffn_model.errors import SiamFFNError
from siamffn_model.live.worker import Worker

PATIENCE = 20


class Work:
    """A worker whose items block until they are let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.seen: list[int] = []
        self.errors: list[Exception] = []
        self.worker: Worker[int] = Worker(self.process, self.errors.append)

    def process(self, item: int) -> None:
        self.begun.release()
        assert self.go.acquire(timeout=PATIENCE)
        if item < 0:
            raise ValueError(item)
        self.seen.append(item)


@pytest.fixture
def work() -> Iterator[Work]:
    work = Work()
    yield work
    work.go.release(100)
    work.worker.close()


def test_newest_item_replaces_the_waiting_one(work: Work) -> None:
    work.worker.put(1)
    assert work.begun.acquire(timeout=PATIENCE)  # 1 is at work
    for item in (2, 3, 4):
        work.worker.put(item)
    work.go.release(2)
    assert work.begun.acquire(timeout=PATIENCE)
    work.worker.call(lambda: None)
    assert work.seen == [1, 4]


def test_a_call_goes_before_the_waiting_item(work: Work) -> None:
    work.worker.put(1)
    assert work.begun.acquire(timeout=PATIENCE)
    work.worker.put(2)
    answers: list[list[int]] = []
    caller = threading.Thread(
        target=lambda: answers.append(work.worker.call(lambda: list(work.seen)))
    )
    caller.start()
    while not work.worker._calls:
        pass
    work.go.release(2)
    caller.join(PATIENCE)
    assert answers == [[1]]


def test_a_failing_item_is_told_and_the_thread_lives_on(work: Work) -> None:
    work.go.release(2)
    work.worker.put(-1)
    assert work.begun.acquire(timeout=PATIENCE)
    work.worker.call(lambda: None)
    work.worker.put(5)
    assert work.begun.acquire(timeout=PATIENCE)
    work.worker.call(lambda: None)
    assert [str(error) for error in work.errors] == ['-1']
    assert work.seen == [5]


def test_a_failing_call_raises_at_the_caller(work: Work) -> None:
    with pytest.raises(ZeroDivisionError):
        work.worker.call(lambda: 1 / 0)
    assert work.worker.call(lambda: 'still here') == 'still here'


def test_idle_work_is_done_between_items_until_there_is_none_left() -> None:
    left = [3]
    done: list[str] = []
    ended = threading.Event()

    def idle() -> bool:
        if left[0]:
            left[0] -= 1
            done.append('idle')
        elif 'item' in done:
            ended.set()
        return left[0] > 0

    worker: Worker[int] = Worker(lambda item: done.append('item'), print, idle)
    worker.call(lambda: None)
    while left[0]:
        pass
    assert done == ['idle'] * 3
    worker.put(1)
    assert ended.wait(PATIENCE)
    worker.close()
    assert done == ['idle'] * 3 + ['item']


def test_idle_work_has_its_turn_where_items_always_wait() -> None:
    done: list[str] = []
    ended = threading.Event()

    def process(item: int) -> None:
        done.append('item')
        if item < 4:
            worker.put(item + 1)
        else:
            ended.set()

    def idle() -> bool:
        done.append('idle')
        return len(done) < 20

    worker: Worker[int] = Worker(process, print, idle)
    worker.put(1)
    assert ended.wait(PATIENCE)
    worker.close()
    assert done[:7] == ['item', 'idle'] * 3 + ['item']


def test_calls_and_items_take_turns(work: Work) -> None:
    work.go.release(10)
    done: list[str] = []
    held = threading.Event()
    work.worker.submit(lambda: held.wait(PATIENCE))
    futures = [work.worker.submit(lambda: done.append(f'call after {work.seen}')) for _ in range(3)]
    work.worker.put(1)
    held.set()
    for future in futures:
        future.result(PATIENCE)
    assert done[0] == 'call after [1]', 'a call has been, so the item is next'


def test_more_calls_than_can_wait_are_refused(work: Work) -> None:
    held = threading.Event()
    first = work.worker.submit(lambda: held.wait(PATIENCE))
    while first.done() or work.worker._calls:
        pass
    futures = [work.worker.submit(lambda: 1, 5) for _ in range(6)]
    with pytest.raises(SiamFFNError, match='busy with 5 other calls'):
        futures[-1].result(PATIENCE)
    futures[-1] = work.worker.submit(lambda: 1)  # our own are not
    held.set()
    assert {future.result(PATIENCE) for future in futures} == {1}


def test_an_item_that_replaces_another_is_told_of(work: Work) -> None:
    assert not work.worker.put(1)
    assert work.begun.acquire(timeout=PATIENCE)
    assert [work.worker.put(item) for item in (2, 3)] == [False, True]


def test_a_closed_worker_cancels_calls(work: Work) -> None:
    work.worker.close()
    with pytest.raises(CancelledError):
        work.worker.call(lambda: None)
    work.worker.close()  # again, in peace
