"""Specifications from which worker processes create trackers: SiamFFN models and OpenCV's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from siamffn_model.runtimes.exported import fingerprint
from siamffn_model.runtimes.selection import check_weights, choose_runtime, load_model, weight_file
from siamffn_model.tracking import Tracker, TrackerProtocol, TrackerSettings
from siamffn_model.tracking.opencv import OPENCV_PREFIX, parse_tracker


@dataclass(frozen=True)
class TrackerSpec:
    """The name of a tracker and how to create it.

    Attributes:
        name: name of the folder with its results.
        make: creates the tracker; called in the process that runs it.
        identity: everything that its results depend on; a run is resumed only if it is equal.
    """

    name: str
    make: Callable[[], TrackerProtocol]
    identity: dict[str, str]


def siamffn_tracker(
    model: str, weights: Path | None, device: str, runtime: str, settings: TrackerSettings
) -> TrackerSpec:
    """Return the specification of a SiamFFN tracker; raises the errors of `load_model` at once."""
    check_weights(model, weights)
    resolved_device, resolved_runtime = choose_runtime(device, runtime)
    identity = {
        'model': model,
        'weights': fingerprint(weight_file(model, weights)),
        'device': resolved_device.partition(':')[0],
        'runtime': resolved_runtime,
        **{name: str(value) for name, value in asdict(settings).items()},
    }
    make = partial(_make_tracker, model, weights, device, runtime, settings)
    return TrackerSpec(model, make, identity)


def _make_tracker(
    model: str, weights: Path | None, device: str, runtime: str, settings: TrackerSettings
) -> Tracker:
    return Tracker(load_model(model, weights, device, runtime), settings)


def opencv_tracker(text: str) -> TrackerSpec:
    """Return the specification of an OpenCV tracker, such as 'opencv:csrt'.

    The name of one with model files contains their folder and the start of their hash: trackers
    with different files have different names. Raises the errors of `parse_tracker` at once.
    """
    tracker = parse_tracker(text)
    name, identity = f'opencv-{tracker.name}', {'tracker': f'{OPENCV_PREFIX}{tracker.name}'}
    if files := tracker.model_files:
        identity['models'] = fingerprint(*files)
        name += f'-{files[0].resolve().parent.name}-{identity["models"][:8]}'
    return TrackerSpec(name, partial(parse_tracker, text), identity)
