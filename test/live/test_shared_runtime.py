"""Tests of siamffn_model/live/shared_runtime.py."""

from __future__ import annotations

import gc
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.errors import WeightsError
from siamffn_model.imaging.crop import View
from siamffn_model.live import shared_runtime
from siamffn_model.live.shared_runtime import SharedRuntime, load_shared
from siamffn_model.networks.names import DEFAULT_MODEL
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.runtimes.runtime import Floats
from siamffn_model.tracking import Track, Tracker, load_model

TIMEOUT = 20.0  # seconds
BAD = -1.0  # a view at this x cannot be searched
BLACK = np.zeros((8, 8, 3), np.uint8)


def view(x: float) -> View:
    return View(BLACK, x, 0.0, 8.0, (0.0, 0.0, 0.0))


class FakeRuntime:
    """The candidates of a view are its x and its template; records the batches.

    While `free` is not set, calls wait; `busy` is set by the first of them.
    """

    def __init__(self) -> None:
        self.name, self.device, self.score_map = 'fake', 'cuda', ScoreMap(1)
        self.batches: list[list[float]] = []
        self.in_use = threading.Lock()
        self.busy, self.free = threading.Event(), threading.Event()
        self.error: Exception | None = None

    def warm_up(self) -> None:
        with self._only_caller():
            pass

    def template(self, view: View) -> float:
        with self._only_caller():
            return 100 * view.x

    def features(self, template: float) -> Floats:
        with self._only_caller():
            return np.full((1, 1, 1), template)

    def search(self, views: Sequence[View], templates: Sequence[float]) -> Floats:
        with self._only_caller():
            self.batches.append([view.x for view in views])
            if self.error:
                raise self.error
            if any(view.x == BAD for view in views):
                raise ValueError('bad view')
            rows = [[view.x, template, 0, 0, 0] for view, template in zip(views, templates)]
            return np.array(rows)[..., None]

    @contextmanager
    def _only_caller(self) -> Iterator[None]:
        assert self.in_use.acquire(blocking=False), 'two threads use the runtime at the same time'
        try:
            self.busy.set()
            assert self.free.wait(TIMEOUT)
            yield
        finally:
            self.in_use.release()


class CountedDeque(deque):  # type: ignore[type-arg]
    """A deque that lets another thread wait until items have been appended."""

    def __init__(self) -> None:
        super().__init__()
        self.appended = threading.Semaphore(0)

    def append(self, item: object) -> None:
        super().append(item)
        self.appended.release()


class Callers:
    """Threads that search with one shared runtime."""

    def __init__(self) -> None:
        self.runtime = FakeRuntime()
        self.shared = SharedRuntime(self.runtime)
        self.waiting = self.shared._waiting = CountedDeque()
        self.threads = ThreadPoolExecutor(8)

    def search(self, *xs: float) -> Future[Floats]:
        """Search views at these x in a thread of its own; return when the call is queued."""
        future = self.threads.submit(
            self.shared.search, [view(x) for x in xs], [10 * x for x in xs]
        )
        assert self.waiting.appended.acquire(timeout=TIMEOUT)
        return future

    def search_while_busy(self, *calls: Sequence[float]) -> list[Future[Floats]]:
        """Search a view at x 0 and, while the runtime is busy with it, make these calls."""
        futures = [self.search(0)]
        assert self.runtime.busy.wait(TIMEOUT)
        futures += [self.search(*xs) for xs in calls]
        self.runtime.free.set()
        return futures


@pytest.fixture
def callers() -> Iterator[Callers]:
    callers = Callers()
    yield callers
    callers.runtime.free.set()
    callers.threads.shutdown()


def found(future: Future[Floats]) -> list[tuple[float, float]]:
    """Return x and template of each view that a call has searched."""
    return [(float(row[0, 0]), float(row[1, 0])) for row in future.result(TIMEOUT)]


def test_calls_that_come_while_the_runtime_is_busy_are_one_batch(callers: Callers) -> None:
    futures = callers.search_while_busy([1], [2, 3], [4])
    assert [found(future) for future in futures] == [
        [(0, 0)],
        [(1, 10)],
        [(2, 20), (3, 30)],
        [(4, 40)],
    ]
    assert callers.runtime.batches == [[0], [1, 2, 3, 4]]


def test_a_call_that_comes_alone_is_searched_at_once(callers: Callers) -> None:
    callers.runtime.free.set()
    for x in (1, 2):
        assert found(callers.search(x)) == [(x, 10 * x)]
    assert callers.shared.template(view(3)) == 300
    assert callers.runtime.batches == [[1], [2]]


def test_an_error_of_one_call_leaves_the_others_alone(callers: Callers) -> None:
    first, before, bad, after = callers.search_while_busy([1], [2, BAD], [3])
    with pytest.raises(ValueError, match='bad view'):
        bad.result(TIMEOUT)
    assert [found(future) for future in (first, before, after)] == [[(0, 0)], [(1, 10)], [(3, 30)]]
    assert callers.runtime.batches == [[0], [1, 2, BAD, 3], [1], [2, BAD], [3]]


def test_an_error_of_the_runtime_reaches_every_caller(callers: Callers) -> None:
    callers.runtime.error = RuntimeError('CUDA error')
    for future in callers.search_while_busy([1], [2]):
        with pytest.raises(RuntimeError, match='CUDA error'):
            future.result(TIMEOUT)
    callers.runtime.error = None
    assert found(callers.search(5)) == [(5, 50)], 'it can be used again'


def test_only_one_thread_uses_the_runtime() -> None:
    """The fake runtime checks it."""
    runtime = FakeRuntime()
    runtime.free.set()
    shared = SharedRuntime(runtime)
    start = threading.Barrier(4)

    def call(x: float) -> list[float]:
        start.wait(TIMEOUT)
        template = shared.template(view(x))
        return [float(shared.search([view(x)], [template])[0, 1, 0]) for _ in range(50)]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(call, range(4))) == [[100 * x] * 50 for x in range(4)]
    assert sum(map(len, runtime.batches)) == 200


@pytest.mark.parametrize(
    'runtime',
    ['auto', *(pytest.param(name, marks=pytest.mark.slow) for name in ('torch', 'onnx'))],
)
def test_cameras_on_the_cpu_do_not_disturb_each_other(runtime: str, clip: Scene) -> None:
    """They use the model at the same time."""
    if runtime == 'onnx':
        pytest.importorskip('onnxscript', reason='extra [export] not installed')
    model = load_shared(DEFAULT_MODEL, None, 'cpu', runtime)
    clips = [clip, render_scene(5, seed=4)]

    def track(scene: Scene, cameras: threading.Barrier) -> list[Track]:
        tracker = Tracker(model)
        tracker.init(scene.images[0], scene.boxes[0])
        tracks = []
        for image in scene.images[1:5]:
            cameras.wait(TIMEOUT)
            tracks.append(tracker.update(image))
        return tracks

    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(track, clips, [threading.Barrier(2)] * 2))
    assert together == [track(scene, threading.Barrier(1)) for scene in clips]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the models that `load_shared` loads; they are fake."""
    names: list[str] = []

    def load(name: str, *_: object) -> FakeRuntime:
        names.append(name)
        return FakeRuntime()

    monkeypatch.setattr(shared_runtime, 'load_model', load)
    return names


def test_equal_arguments_share_a_model(loaded: list[str], weights: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        arguments = (DEFAULT_MODEL, weights, 'cpu', 'openvino')
        shared = list(threads.map(lambda _: load_shared(*arguments), range(4)))
    assert loaded == [DEFAULT_MODEL] and len(set(map(id, shared))) == 1
    assert load_shared(DEFAULT_MODEL, None, 'cpu', 'openvino') is shared[0], 'same weights'
    for other in (
        ('siamban_r50', weights, 'cpu', 'openvino'),
        (DEFAULT_MODEL, weights, 'cuda', 'openvino'),
        (DEFAULT_MODEL, weights, 'cpu', 'torch'),
    ):
        assert load_shared(*other) is not shared[0]


def test_changed_weights_are_loaded_again(loaded: list[str], tmp_path: Path) -> None:
    path = tmp_path / 'weights.safetensors'
    path.write_bytes(b'before')
    before = load_shared('a', path)
    path.write_bytes(b'after')
    after = load_shared('a', path)
    assert after is not before and load_shared('a', path) is after
    assert loaded == ['a', 'a']


def test_the_model_is_freed_with_its_last_user(loaded: list[str], weights: Path) -> None:
    front, rear = load_shared('a', weights), load_shared('a', weights)
    del front
    gc.collect()
    assert load_shared('a', weights) is rear and len(loaded) == 1
    del rear
    gc.collect()
    load_shared('a', weights)
    assert len(loaded) == 2


def test_missing_weights_are_reported_as_by_load_model(tmp_path: Path) -> None:
    path = tmp_path / 'absent.safetensors'
    messages = []
    for load in (load_model, load_shared):
        with pytest.raises(WeightsError) as raised:
            load(DEFAULT_MODEL, path, 'cpu')
        messages.append(str(raised.value))
    assert messages[0] == messages[1]
