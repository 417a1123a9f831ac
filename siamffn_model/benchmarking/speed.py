"""How long an update takes, by stages, beside other trackers in the same run: `siamffn benchmark`.

All take turns, a few updates each, so that a busy machine slows all of them alike. What one of them
needs in memory is measured in a process of its own.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, cycle
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.imaging.crop import SEARCH_SIZE, View, context_side, mean_colour, search_side
from siamffn_model.runtimes.devices import gpu_memory, memory
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.runtimes.selection import load_model, prepare, weight_file
from siamffn_model.tracking import Tracker, TrackerProtocol, TrackerSettings, update_all
from siamffn_model.tracking.opencv import PREFIX, parse_tracker

SIZE = (1280, 720)
LENGTH = 30  # images of the scene, which are shown there and back
ROUNDS = 24
SHARE = 0.15  # seconds of each tracker in a round, and at least LEAST updates
LEAST, WARM_UP = 1, 1
REFERENCE = ('siamban_r50', 'eager')  # as its authors run it
TARGETS = (1, 2, 4, 8, 16)
SIZES = ((640, 480), (1280, 720), (1920, 1080), (3840, 2160))
ALWAYS_FOUND = TrackerSettings(
    lost_threshold=0, uncertain_threshold=0, reacquire_threshold=0
)  # random weights too search once an update


def measure(call: Callable[[], object], runs: int = 100) -> tuple[float, float]:
    """Return the median and the 95th percentile of a call's milliseconds, after a warm-up."""
    warm_up, times = runs // 10, []
    for number in range(warm_up + runs):
        start = time.perf_counter()
        call()
        if number >= warm_up:
            times.append(1e3 * (time.perf_counter() - start))
    return _median(times), float(np.percentile(times, 95))


def frames_per_second(runtime: Runtime) -> float:
    """Return the rate of whole updates of one target in 720p, by their median time."""
    (image,), (box,) = render_scene(1, SIZE)
    tracker = Tracker(runtime, ALWAYS_FOUND)
    tracker.init(image, box)
    return 1e3 / measure(lambda: tracker.update(image), runs=20)[0]


@dataclass(frozen=True)
class Entry:
    """A tracker to be measured: a model and a runtime, or one of OpenCV's (see `parse_tracker`)."""

    model: str
    runtime: str = ''
    device: str = 'auto'

    def load(self) -> Runtime:
        """Return the model; where no weights ship, with random ones."""
        if weight_file(self.model).is_file():
            return load_model(self.model, None, self.device, self.runtime)
        from siamffn_model.networks.zoo import create_model

        return prepare(create_model(self.model), self.device, self.runtime)


@dataclass
class SpeedResult:
    """What was measured of one tracker; times in milliseconds an update of all targets.

    Attributes:
        crop, network, decode: medians; of those that cut crops on the GPU `network` has the crops
            too; None for trackers of OpenCV.
        memory_mb: resident memory of a process that has nothing but this tracker.
        cuda_mb: GPU memory of it.
    """

    name: str
    targets: int
    update: float
    update_p95: float
    updates_per_second: float
    crop: float | None = None
    network: float | None = None
    decode: float | None = None
    memory_mb: float | None = None
    cuda_mb: float = 0.0


@dataclass
class TimedTracker:
    """A tracker that takes its turns, and its times in seconds; its runtime if one is there."""

    entry: Entry
    scene: Scene
    targets: int
    runtime: Runtime | None = None
    times: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.entry.model.startswith(PREFIX):
            self._peers = [parse_tracker(self.entry.model) for _ in range(self.targets)]
            self._ours: list[Tracker] = []
            self.name = f'OpenCV {self._peers[0].name}'
        else:
            self._peers = []
            self.runtime = self.runtime or self.entry.load()
            self._ours = [Tracker(self.runtime, ALWAYS_FOUND) for _ in range(self.targets)]
            self.name = f'{self.entry.model}, {self.runtime.name}'
        image, box = self.scene.images[0], self.scene.boxes[0]
        trackers: list[TrackerProtocol] = [*self._ours, *self._peers]
        for tracker in trackers:
            tracker.init(image, box)
        self._view = View(image, box.cx, box.cy, context_side(box.w, box.h), mean_colour(image))
        there_and_back = chain(self.scene.images, self.scene.images[-2:0:-1])
        self._images = cycle(there_and_back)

    def turn(self) -> None:
        """Track on for a while."""
        for _ in range(WARM_UP):
            self._update(next(self._images))
        stop = time.perf_counter() + SHARE
        count = 0
        while count < LEAST or time.perf_counter() < stop:
            self._time('update', lambda: self._update(next(self._images)))
            count += 1
        if self.runtime:
            self._time_stages(self.runtime, count)

    def _update(self, image: np.ndarray) -> None:
        update_all(self._ours, [image] * len(self._ours))
        for tracker in self._peers:
            tracker.update(image)

    def _time_stages(self, runtime: Runtime, count: int) -> None:
        box = self.scene.boxes[0]
        views = [self._view._replace(side=search_side(box.w, box.h))] * self.targets
        templates = [runtime.template(self._view)] * self.targets
        for _ in range(WARM_UP):
            runtime.search(views, templates)
        for _ in range(count):
            if runtime.device == 'cpu':
                self._time('crop', lambda: [view.crop(SEARCH_SIZE) for view in views])
            self._time('search', lambda: runtime.search(views, templates))

    def _time(self, stage: str, call: Callable[[], object]) -> None:
        start = time.perf_counter()
        call()
        self.times.setdefault(stage, []).append(time.perf_counter() - start)

    def row(self) -> SpeedResult:
        """Return what was measured so far."""
        updates = 1e3 * np.array(self.times['update'])
        row = SpeedResult(
            self.name,
            self.targets,
            _median(updates),
            float(np.percentile(updates, 95)),
            1e3 * self.targets / _median(updates),
        )
        if self.runtime:
            search = 1e3 * _median(self.times['search'])
            if 'crop' in self.times:
                row.crop = 1e3 * _median(self.times['crop'])
            row.network = search - (row.crop or 0)
            row.decode = max(row.update - search, 0.0)
        return row


def compare(entries: Iterable[Entry], targets: int) -> list[SpeedResult]:
    """Measure trackers in turns, on so many targets in a rendered scene of 720p.

    Raises `SiamFFNError` for what is not there.
    """
    scene = render_scene(LENGTH, SIZE, seed=1)
    contenders = [TimedTracker(entry, scene, targets) for entry in entries]
    _take_turns(contenders)
    rows = [contender.row() for contender in contenders]
    for row, contender in zip(rows, contenders):
        row.memory_mb, row.cuda_mb = _memory(contender.entry)
    return rows


def by_targets(entry: Entry) -> list[SpeedResult]:
    """Measure a model with one target and more, in turns."""
    scene, runtime = render_scene(LENGTH, SIZE, seed=1), entry.load()
    contenders = [TimedTracker(entry, scene, count, runtime) for count in TARGETS]
    _take_turns(contenders)
    return [contender.row() for contender in contenders]


def by_size(entry: Entry) -> list[tuple[str, SpeedResult]]:
    """Measure a model with the same target in larger and larger images, in turns."""
    small, runtime = render_scene(4, SIZES[0], seed=1), entry.load()
    contenders = {
        f'{width}x{height}': TimedTracker(entry, _enlarged(small, width, height), 1, runtime)
        for width, height in SIZES
    }
    _take_turns(list(contenders.values()))
    return [(size, contender.row()) for size, contender in contenders.items()]


def _enlarged(scene: Scene, width: int, height: int) -> Scene:
    """Return the scene with more around it."""
    right, below = width - scene.images[0].shape[1], height - scene.images[0].shape[0]
    images = [
        np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_WRAP), np.uint8)
        for image in scene.images
    ]
    return Scene(images, scene.boxes)


def _take_turns(contenders: Sequence[TimedTracker]) -> None:
    for _ in tqdm(range(ROUNDS), unit='round', leave=False, disable=None):
        for contender in contenders:
            contender.turn()


def _memory(entry: Entry) -> tuple[float, float]:
    """Return megabytes of a new process that tracks, and of the GPU in it."""
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        return pool.apply(_memory_here, (entry,))


def _memory_here(entry: Entry) -> tuple[float, float]:
    contender = TimedTracker(entry, render_scene(2, SIZE, seed=1), 1)
    contender.turn()
    return memory() / 1e6, gpu_memory() / 1e6


def _median(times: Any) -> float:
    return float(np.median(times))
