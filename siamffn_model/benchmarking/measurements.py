"""The measurements of `siamffn benchmark`, in the order of their importance."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from siamffn_model.benchmarking.speed import (
    BASELINE_MODEL,
    BASELINE_RUNTIME,
    SpeedResult,
    TrackerConfig,
    compare,
    measure_image_sizes,
    measure_target_counts,
)
from siamffn_model.runtimes.selection import choose_runtime

if TYPE_CHECKING:  # the bounds and the stages need PyTorch, the rest does not
    from siamffn_model.benchmarking.hardware import Hardware
    from siamffn_model.benchmarking.stages import Stages

PROFILED_TARGETS = (1, 16)
# The fractions of the time limit after which the parts end.
TRACKERS_END, TARGETS_END, SIZES_END = 0.4, 0.75, 0.85


@dataclass
class Measurements:
    """The results of all parts; a part that has not been measured is empty.

    Attributes:
        trackers: all trackers in turns.
        targets: models with more and more targets; on a CPU the first model only.
        sizes: the first model in images of each size, 'WxH'.
        hardware: the bounds of the device; None without PyTorch.
        stages: the stages of an update on a GPU.
    """

    trackers: list[SpeedResult]
    targets: list[SpeedResult] = field(default_factory=list)
    sizes: list[tuple[str, SpeedResult]] = field(default_factory=list)
    hardware: Hardware | None = None
    stages: list[Stages] = field(default_factory=list)


def measure(
    models: Sequence[TrackerConfig],
    others: Sequence[TrackerConfig],
    targets: int,
    scaling: bool,
    seconds: float = math.inf,
) -> Iterator[Measurements]:
    """Measure, and yield the results after each part.

    Args:
        models: the models to measure, all on one device.
        others: trackers to compare with.
        targets: number of targets of each tracker.
        scaling: whether to measure more than the comparison of all trackers.
        seconds: after this time no further round of measurements starts; each part except the
            profile has at least one.

    Raises `SiamFFNError` for a model, runtime, device or OpenCV tracker that is not available.
    """
    start = time.perf_counter()
    end = start + seconds
    device, _ = choose_runtime(models[0].device, models[0].runtime)
    part_end = TRACKERS_END if scaling else 1.0
    results = Measurements(compare([*models, *others], targets, start + part_end * seconds))
    yield results
    if not scaling:
        return
    if find_spec('torch'):
        from siamffn_model.benchmarking.hardware import measure_hardware

        results.hardware = measure_hardware(device)
    baseline = [config for config in others if config.model == BASELINE_MODEL]
    scaled = models[:1] if device == 'cpu' else [*models, *baseline]
    results.targets = measure_target_counts(scaled, start + TARGETS_END * seconds)
    yield results
    results.sizes = measure_image_sizes(models[0], start + SIZES_END * seconds)
    yield results
    if device != 'cpu' and find_spec('torch'):
        from siamffn_model.benchmarking.stages import profile_stages

        for config in models:
            for count in PROFILED_TARGETS:
                if time.perf_counter() < end:
                    results.stages.append(profile_stages(config, count))
                    yield results


def baseline_config(device: str) -> TrackerConfig:
    """Return the published baseline, as its authors run it."""
    return TrackerConfig(BASELINE_MODEL, BASELINE_RUNTIME, device)
