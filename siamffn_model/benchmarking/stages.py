"""The stages of an update on a GPU, from a profile: upload, network, download."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter

from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from siamffn_model.benchmarking.speed import (
    IMAGE_SIZE,
    SCENE_FRAMES,
    TimedTracker,
    TrackerConfig,
)
from siamffn_model.datasets.synthetic import render_scene

UPDATES = 20  # in a profile
KERNELS = 5  # in the list of the slowest
NAME_LENGTH = 80


@dataclass(frozen=True)
class Stages:
    """What the GPU does in an update of all targets; times are means in milliseconds.

    Attributes:
        name: tracker and inference engine.
        targets: number of targets.
        upload: copies from the host to the GPU.
        network: all kernels, including those that sample the crops.
        download: copies from the GPU to the host.
        kernels: the slowest kernels by total time, with the time of each in an update.
    """

    name: str
    targets: int
    upload: float
    network: float
    download: float
    kernels: dict[str, float]


def profile_stages(config: TrackerConfig, targets: int) -> Stages:
    """Profile updates of a model on a GPU.

    The time in which the GPU waits for the host is not a stage: it is the time of an update,
    measured without the profiler, less the three stages.
    """
    scene = render_scene(SCENE_FRAMES, IMAGE_SIZE, seed=1)
    tracker = TimedTracker(config, scene, targets)
    tracker.update()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for _ in range(UPDATES):
            tracker.update()
    return count_stages(tracker.name, targets, profiler.events() or [], UPDATES)


def count_stages(name: str, targets: int, events: Iterable[FunctionEvent], updates: int) -> Stages:
    """Return the stages in the events of a profile of this number of updates."""
    times: defaultdict[str, float] = defaultdict(float)
    kernels: defaultdict[str, float] = defaultdict(float)
    for event in events:
        if event.device_type.name != 'CUDA':
            continue
        milliseconds = event.time_range.elapsed_us() / 1e3 / updates
        if 'HtoD' in event.name:
            times['upload'] += milliseconds
        elif 'DtoH' in event.name:
            times['download'] += milliseconds
        else:
            times['network'] += milliseconds
            kernels[event.name[:NAME_LENGTH]] += milliseconds
    slowest = dict(sorted(kernels.items(), key=itemgetter(1), reverse=True)[:KERNELS])
    return Stages(name, targets, times['upload'], times['network'], times['download'], slowest)
