"""One model for all cameras of a process that use the same one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeAlias
from weakref import WeakValueDictionary

import numpy as np

from siamffn_model.imaging.crop import View
from siamffn_model.runtimes.runtime import Floats, Runtime, Template
from siamffn_model.runtimes.selection import load_model, weight_file


class SharedRuntime:
    """A `Runtime` on a GPU that several threads may call at the same time.

    It serves calls in the order in which they came. All searches that have come while it was busy
    are one batch, which takes hardly longer than one view; a thread that calls alone never waits.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.name, self.device, self.score_map = runtime.name, runtime.device, runtime.score_map
        self._runtime = runtime
        self._turn = _FairLock()  # held while the runtime is in use
        self._waiting: deque[_Search] = deque()

    def warm_up(self) -> None:
        """See `Runtime.warm_up`."""
        with self._turn:
            self._runtime.warm_up()

    def template(self, view: View) -> Template:
        """See `Runtime.template`."""
        with self._turn:
            return self._runtime.template(view)

    def features(self, template: Template) -> Floats:
        """See `Runtime.features`."""
        with self._turn:
            return self._runtime.features(template)

    def search(self, views: Sequence[View], templates: Sequence[Template]) -> Floats:
        """See `Runtime.search`; raises only what these views and templates cause."""
        search = _Search(views, templates, Future())
        self._waiting.append(search)
        with self._turn:
            if not search.candidates.done():  # else another thread has searched for this one
                self._search([self._waiting.popleft() for _ in range(len(self._waiting))])
        return search.candidates.result()

    def _search(self, searches: Sequence[_Search]) -> None:
        """Run searches as one batch, or each by itself if that fails."""
        views = list(chain.from_iterable(search.views for search in searches))
        templates = list(chain.from_iterable(search.templates for search in searches))
        try:
            candidates = self._runtime.search(views, templates)
        except BaseException as error:
            if len(searches) == 1:
                searches[0].candidates.set_exception(error)
                return
            for search in searches:
                self._search([search])
            return
        stops = np.cumsum([len(search.views) for search in searches])
        for search, part in zip(searches, np.split(candidates, stops[:-1]), strict=True):
            search.candidates.set_result(part)


class _Search(NamedTuple):
    """The arguments of a call of `search`, and its result."""

    views: Sequence[View]
    templates: Sequence[Template]
    candidates: Future[Floats]


class _FairLock:
    """A lock that threads get in the order in which they have asked for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._asked = self._released = 0

    def __enter__(self) -> None:
        with self._changed:
            number = self._asked
            self._asked += 1
            self._changed.wait_for(lambda: self._released == number)

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._released += 1
            self._changed.notify_all()


FileState: TypeAlias = tuple[tuple[int, ...], ...]

_loading = threading.Lock()
_loaded: WeakValueDictionary[tuple[str, FileState, str, str], Runtime] = WeakValueDictionary()


def load_shared(
    name: str, weights: Path | str | None = None, device: str = 'auto', runtime: str = 'auto'
) -> Runtime:
    """Return the model of `load_model` for several threads, loaded once in this process.

    As long as the returned model is in use, calls with equal arguments return it too. A weight file
    that has changed since is loaded again. Raises as `load_model`.
    """
    key = name, _file_state(weight_file(name, weights)), device, runtime
    with _loading:
        if (shared := _loaded.get(key)) is None:
            model = load_model(name, weights, device, runtime)
            # On a CPU, several threads may call a runtime, and batches are not faster.
            shared = model if model.device == 'cpu' else SharedRuntime(model)
            _loaded[key] = shared
        return shared


def _file_state(path: Path) -> FileState:
    """Return what changes with the content of a file, or of the files in a folder.

    Hashing the content takes longer, and `load_model` does it once for its cache. Empty for a file
    that does not exist, which `load_model` reports.
    """
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    stats = [file.stat() for file in files if file.exists()]
    return tuple((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns) for s in stats)
