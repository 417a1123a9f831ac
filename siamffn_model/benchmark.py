"""How long a tracked frame takes, stage by stage: `python -m siamffn_model.benchmark`."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable

import numpy as np
import torch

from siamffn_model.crop import Image, View, mean_colour, search_side
from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.geometry import Box
from siamffn_model.networks.score_map import SEARCH_SIZE, TEMPLATE_SIZE
from siamffn_model.runtimes.loading import load_model
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.tracking import Tracker

SIZES = ((640, 480), (1280, 720), (1920, 1080))


def measure(call: Callable[[], object], runs: int = 100) -> tuple[float, float]:
    """Return the median and the 95th percentile of a call's milliseconds, after a warm-up."""
    warm_up, times = runs // 10, []
    for number in range(warm_up + runs):
        start = time.perf_counter()
        call()
        if number >= warm_up:
            times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times)), float(np.percentile(times, 95))


def frames_per_second(model: Runtime) -> float:
    """Return the rate of whole updates of one target in 720p, by their median time."""
    (image,), (box,) = render_scene(1, (1280, 720))
    tracker = Tracker(model)
    tracker.init(image, box)
    return 1e3 / measure(lambda: tracker.update(image), runs=20)[0]


def main() -> None:
    """Print the times of siamffn_lite0 on the CPU for several sizes of image."""
    model = load_model(device='cpu')
    threads = torch.get_num_threads()
    print(f'siamffn_lite0, {type(model).__name__}, {platform.machine()}, {threads} threads')
    print(f'{"stage":<28}{"median ms":>10}{"p95 ms":>10}{"fps":>8}')
    crop = torch.zeros(1, 3, SEARCH_SIZE, SEARCH_SIZE)
    with torch.inference_mode():
        template = model.template(torch.zeros(1, 3, TEMPLATE_SIZE, TEMPLATE_SIZE))
        _report('network, one search crop', lambda: model.search(crop, template))
    for size in SIZES:
        (image,), (box,) = render_scene(1, size)
        _report_update(model, image, box)


def _report_update(model: Runtime, image: Image, box: Box) -> None:
    side = search_side(box.w, box.h)
    tracker, fill = Tracker(model), mean_colour(image)
    tracker.init(image, box)
    name = f'{image.shape[1]}x{image.shape[0]}'
    _report(f'crop, {name}', lambda: View(image, box.cx, box.cy, side, fill).crop(SEARCH_SIZE))
    _report(f'whole update, {name}', lambda: tracker.update(image))


def _report(stage: str, call: Callable[[], object]) -> None:
    median, p95 = measure(call)
    print(f'{stage:<28}{median:>10.2f}{p95:>10.2f}{1e3 / median:>8.0f}')


if __name__ == '__main__':
    main()
