"""Trackers that can be run in other processes: ours by model, and OpenCV's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from siamffn_model.runtimes.cache import fingerprint
from siamffn_model.runtimes.selection import check, choose, load_model, weight_file
from siamffn_model.tracking import Tracker, TrackerProtocol, TrackerSettings
from siamffn_model.tracking.opencv import parse_tracker


@dataclass(frozen=True)
class TrackerSpec:
    """A tracker by name, and how to make it.

    Attributes:
        name: of its folder of results.
        make: called in the process that runs it.
        identity: what its results depend on; a run goes on only with the same.
    """

    name: str
    make: Callable[[], TrackerProtocol]
    identity: dict[str, str]


def our_tracker(
    model: str, weights: Path | None, device: str, runtime: str, settings: TrackerSettings
) -> TrackerSpec:
    """Return our tracker with a model of the zoo; raises the errors of `load_model` at once."""
    path = weight_file(model, weights)
    check(model, path)
    place, computed = choose(device, runtime)
    identity = {
        'model': model,
        'weights': fingerprint(path),
        'device': place.partition(':')[0],
        'runtime': computed,
        **{name: str(value) for name, value in asdict(settings).items()},
    }
    return TrackerSpec(model, partial(_make_ours, model, path, device, runtime, settings), identity)


def _make_ours(
    model: str, weights: Path, device: str, runtime: str, settings: TrackerSettings
) -> Tracker:
    return Tracker(load_model(model, weights, device, runtime), settings)


def opencv_tracker(text: str) -> TrackerSpec:
    """Return a tracker of OpenCV, such as 'opencv:csrt'; raises the errors of `parse_tracker`."""
    parse_tracker(text)
    name, _, _ = text.partition('=')
    return TrackerSpec(name.replace(':', '-'), partial(parse_tracker, text), {'tracker': text})
