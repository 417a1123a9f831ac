"""The time of an update by stages, measured side by side with other trackers.

All trackers run in turns, a few updates in each round, so that load on the machine affects all of
them equally. The memory of a tracker is measured in a separate process.
"""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import chain, cycle
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.errors import missing_package
from siamffn_model.imaging.crop import SEARCH_SIZE, View, context_side, mean_colour, search_side
from siamffn_model.runtimes.devices import reserved_gpu_memory, resident_memory
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.runtimes.selection import (
    check_weights,
    choose_runtime,
    load_model,
    prepare,
    weight_file,
)
from siamffn_model.tracking import Tracker, TrackerProtocol, TrackerSettings, update_all
from siamffn_model.tracking.opencv import OPENCV_PREFIX, parse_tracker

IMAGE_SIZE = (1280, 720)  # width, height
SCENE_FRAMES = 30  # the rendered scene is played forwards and backwards
ROUNDS = 24
SECONDS_PER_ROUND = 0.15  # of each tracker
MIN_UPDATES, WARM_UP_UPDATES = 1, 1  # of each tracker in a round
BASELINE_MODEL, BASELINE_RUNTIME = 'siamban_r50', 'eager'  # as published by its authors
TARGET_COUNTS = (1, 2, 4, 8, 16)
IMAGE_SIZES = ((640, 480), (1280, 720), (1920, 1080), (3840, 2160))
# Random weights give low scores: without thresholds, no target is lost, and each update runs
# exactly one search.
NEVER_LOST = TrackerSettings(lost_threshold=0, uncertain_threshold=0, reacquire_threshold=0)


def time_call(call: Callable[[], object], runs: int = 100) -> tuple[float, float]:
    """Return the median and the 95th percentile of the time of a call, in milliseconds.

    A tenth of `runs` is added in front as a warm-up.
    """
    warm_up, times = runs // 10, []
    for number in range(warm_up + runs):
        start = time.perf_counter()
        call()
        if number >= warm_up:
            times.append(1e3 * (time.perf_counter() - start))
    return _median(times), float(np.percentile(times, 95))


def frames_per_second(runtime: Runtime) -> float:
    """Return the rate of complete updates of one target in 1280x720, from the median time."""
    (image,), (box,) = render_scene(1, IMAGE_SIZE)
    tracker = Tracker(runtime, NEVER_LOST)
    tracker.init(image, box)
    return 1e3 / time_call(lambda: tracker.update(image), runs=20)[0]


@dataclass(frozen=True)
class TrackerConfig:
    """A tracker to measure: a model with a runtime, or a tracker of OpenCV.

    Attributes:
        model: name of a model, or of an OpenCV tracker as in `parse_tracker`.
        runtime: as in `load_model`; unused for OpenCV.
        device: as in `load_model`; unused for OpenCV.
        weights: as in `load_model`; unused for OpenCV.
    """

    model: str
    runtime: str = ''
    device: str = 'auto'
    weights: Path | None = None

    def check(self) -> None:
        """Raise `SiamFFNError` if a package, a device or a file that the tracker needs is missing.

        This includes `DependencyError` for a model with random weights without PyTorch.
        """
        if self.model.startswith(OPENCV_PREFIX):
            parse_tracker(self.model)
            return
        choose_runtime(self.device, self.runtime)
        if self._has_weights():
            check_weights(self.model, self.weights)
        elif not find_spec('torch'):
            raise missing_package('torch', f'{self.model}, with random weights,', 'torch')

    def _has_weights(self) -> bool:
        return self.weights is not None or weight_file(self.model).is_file()

    def load(self) -> Runtime:
        """Load the model; its weights are random if there are none."""
        if self._has_weights():
            return load_model(self.model, self.weights, self.device, self.runtime)
        from siamffn_model.networks.zoo import create_model

        return prepare(create_model(self.model), self.device, self.runtime)


@dataclass
class SpeedResult:
    """Measurements of one tracker; times are in milliseconds for an update of all targets.

    Attributes:
        name: tracker and inference engine.
        targets: number of targets.
        update: median time of an update.
        update_p95: 95th percentile of the time of an update.
        updates_per_second: updates of single targets per second.
        crop: median time of cropping; None for OpenCV and for runtimes that crop on the GPU.
        network: median time of inference, including crops on the GPU; None for OpenCV.
        decode: remaining time of an update; None for OpenCV.
        memory_mb: resident memory of a process with this tracker only, in MB.
        cuda_mb: GPU memory of that process, in MB.
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
    """A tracker on a rendered scene that records the times of its stages.

    Attributes:
        config: the tracker.
        scene: images that show the target, and its boxes.
        targets: number of targets; all of them start from the same box.
        runtime: inference engine; None loads the one of `config`, and remains None for OpenCV.
        times: seconds of each call, by stage: 'update', 'crop' and 'search'.
    """

    config: TrackerConfig
    scene: Scene
    targets: int
    runtime: Runtime | None = None
    times: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._trackers: list[Tracker] = []
        self._opencv_trackers: list[TrackerProtocol] = []
        if self.config.model.startswith(OPENCV_PREFIX):
            trackers = [parse_tracker(self.config.model) for _ in range(self.targets)]
            self._opencv_trackers += trackers
            self.name = f'OpenCV {trackers[0].name}'
        else:
            self.runtime = self.runtime or self.config.load()
            self._trackers += [Tracker(self.runtime, NEVER_LOST) for _ in range(self.targets)]
            self.name = f'{self.config.model}, {self.runtime.name}'
        image, box = self.scene.images[0], self.scene.boxes[0]
        for tracker in [*self._trackers, *self._opencv_trackers]:
            tracker.init(image, box)
        self._view = View(image, box.cx, box.cy, context_side(box.w, box.h), mean_colour(image))
        self._images = cycle(chain(self.scene.images, self.scene.images[-2:0:-1]))

    def run_round(self) -> None:
        """Track for `SECONDS_PER_ROUND` and record the times, after a warm-up."""
        for _ in range(WARM_UP_UPDATES):
            self.update()
        end = time.perf_counter() + SECONDS_PER_ROUND
        count = 0
        while count < MIN_UPDATES or time.perf_counter() < end:
            self._record('update', self.update)
            count += 1
        if self.runtime:
            self._time_stages(self.runtime, count)

    def update(self) -> None:
        """Update all targets with the next image of the scene."""
        image = next(self._images)
        update_all(self._trackers, [image] * len(self._trackers))
        for tracker in self._opencv_trackers:
            tracker.update(image)

    def _time_stages(self, runtime: Runtime, count: int) -> None:
        """Record the times of `count` calls of cropping (on the CPU) and of the search."""
        box = self.scene.boxes[0]
        views = [self._view._replace(side=search_side(box.w, box.h))] * self.targets
        templates = [runtime.template(self._view)] * self.targets
        for _ in range(WARM_UP_UPDATES):
            runtime.search(views, templates)
        for _ in range(count):
            if runtime.device == 'cpu':
                self._record('crop', lambda: [view.crop(SEARCH_SIZE) for view in views])
            self._record('search', lambda: runtime.search(views, templates))

    def _record(self, stage: str, call: Callable[[], object]) -> None:
        start = time.perf_counter()
        call()
        self.times.setdefault(stage, []).append(time.perf_counter() - start)

    def result(self) -> SpeedResult:
        """Return the statistics of all recorded times."""
        updates = 1e3 * np.array(self.times['update'])
        result = SpeedResult(
            self.name,
            self.targets,
            _median(updates),
            float(np.percentile(updates, 95)),
            1e3 * self.targets / _median(updates),
        )
        if self.runtime:
            search = 1e3 * _median(self.times['search'])
            if 'crop' in self.times:
                result.crop = 1e3 * _median(self.times['crop'])
            result.network = search - (result.crop or 0)
            result.decode = max(result.update - search, 0.0)
        return result


def compare(
    configs: Iterable[TrackerConfig], targets: int, until: float = math.inf
) -> list[SpeedResult]:
    """Measure trackers in turns on a rendered scene of 1280x720.

    Args:
        configs: the trackers.
        targets: number of targets of each tracker.
        until: value of `time.perf_counter` after which no further round and no measurement of
            memory starts; the first round always takes place.

    Raises `SiamFFNError` for a model, runtime, device or OpenCV tracker that is not available.
    """
    scene = render_scene(SCENE_FRAMES, IMAGE_SIZE, seed=1)
    trackers = [TimedTracker(config, scene, targets) for config in configs]
    results = _run_rounds(trackers, until)
    for tracker, result in zip(trackers, results):
        if time.perf_counter() < until:
            result.memory_mb, result.cuda_mb = _measure_memory(tracker.config)
    return results


def measure_target_counts(
    configs: Sequence[TrackerConfig], until: float = math.inf
) -> list[SpeedResult]:
    """Measure models with each number of targets in `TARGET_COUNTS`, all in turns.

    See `compare` for `until`.
    """
    scene = render_scene(SCENE_FRAMES, IMAGE_SIZE, seed=1)
    runtimes = [(config, config.load()) for config in configs]
    trackers = [
        TimedTracker(config, scene, count, runtime)
        for config, runtime in runtimes
        for count in TARGET_COUNTS
    ]
    return _run_rounds(trackers, until)


def measure_image_sizes(
    config: TrackerConfig, until: float = math.inf
) -> list[tuple[str, SpeedResult]]:
    """Measure a model with the same target in images of each size in `IMAGE_SIZES`, in turns.

    Returns each size as 'WxH' with its result. See `compare` for `until`.
    """
    small, runtime = render_scene(4, IMAGE_SIZES[0], seed=1), config.load()
    trackers = [TimedTracker(config, _enlarge(small, *size), 1, runtime) for size in IMAGE_SIZES]
    names = [f'{width}x{height}' for width, height in IMAGE_SIZES]
    return list(zip(names, _run_rounds(trackers, until)))


def _enlarge(scene: Scene, width: int, height: int) -> Scene:
    """Extend the images on the right and at the bottom; the boxes remain valid."""
    right, bottom = width - scene.images[0].shape[1], height - scene.images[0].shape[0]
    images = [
        np.asarray(cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_WRAP), np.uint8)
        for image in scene.images
    ]
    return Scene(images, scene.boxes)


def _run_rounds(trackers: Sequence[TimedTracker], until: float) -> list[SpeedResult]:
    for _ in tqdm(range(ROUNDS), unit='round', leave=False, disable=None):
        for tracker in trackers:
            tracker.run_round()
        if time.perf_counter() >= until:
            break
    return [tracker.result() for tracker in trackers]


def _measure_memory(config: TrackerConfig) -> tuple[float, float]:
    """Return the resident memory and the GPU memory, in MB, of a new process that tracks."""
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        return pool.apply(_track_and_read_memory, (config,))


def _track_and_read_memory(config: TrackerConfig) -> tuple[float, float]:
    tracker = TimedTracker(config, render_scene(2, IMAGE_SIZE, seed=1), 1)
    tracker.run_round()
    return resident_memory() / 1e6, reserved_gpu_memory() / 1e6


def _median(times: list[float] | NDArray[np.float64]) -> float:
    return float(np.median(times))
