"""Two cameras in one process, with a model each and with a shared one."""

from __future__ import annotations

import copy
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import torch

from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.imaging.geometry import iou
from siamffn_model.live.frame_buffer import Frame
from siamffn_model.live.pipeline import TrackingPipeline
from siamffn_model.live.shared_runtime import SharedRuntime
from siamffn_model.networks.siamese import Siamese
from siamffn_model.runtimes.cuda_runtime import CUDARuntime
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.runtimes.selection import free_memory
from siamffn_model.tracking import TrackerSettings

pytestmark = pytest.mark.slow

PERIOD = 100_000_000  # nanoseconds between two frames
TIMEOUT = 60.0  # seconds
MAX_TARGETS = 1


class Camera:
    """A pipeline that tracks a scene again and again."""

    def __init__(self, load: Callable[[], Runtime], scene: Scene) -> None:
        self.scene, self.stamp = scene, 0
        self.results: queue.Queue[float] = queue.Queue()
        self.errors: list[Exception] = []
        self.pipeline = TrackingPipeline(
            load,
            TrackerSettings(),
            MAX_TARGETS,
            buffer_seconds=1.0,
            buffer_megabytes=100.0,
            on_result=lambda frame, targets: self.results.put(
                max((iou(target.track.box, frame.header) for target in targets), default=1.0)
            ),
            on_error=self.errors.append,
        )

    def track(self) -> list[float]:
        """Track the scene from its first frame; return the overlap with its boxes."""
        overlaps = []
        for image, box in zip(self.scene.images, self.scene.boxes):
            self.stamp += PERIOD
            self.pipeline.push(Frame(self.stamp, partial(lambda i: i, image), 1, header=box))
            overlaps.append(self.results.get(timeout=TIMEOUT))
            if box is self.scene.boxes[0]:
                self.pipeline.init(box, 0, 'target').result(TIMEOUT)
        return overlaps[1:]


@contextmanager
def tracking(camera: Camera) -> Iterator[list[float]]:
    """Let a camera track in a thread within the context; yield the list of its overlaps."""
    overlaps: list[float] = []
    stop = threading.Event()

    def run() -> None:
        try:
            while not stop.is_set():
                overlaps.extend(camera.track())
        except Exception as error:
            camera.errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield overlaps
    finally:
        stop.set()
        thread.join()


def test_a_camera_tracks_while_another_starts_and_ends(trained: Siamese, device: str) -> None:
    def load() -> CUDARuntime:
        return CUDARuntime(copy.deepcopy(trained), device)

    first = Camera(load, render_scene(4, seed=5))
    used = []
    with tracking(first) as overlaps:
        for _ in range(1 if device == 'cpu' else 3):
            second = Camera(load, render_scene(4, seed=6))
            assert min(second.track()) > 0.7
            second.pipeline.close()
            assert second.errors == []
            del second
            free_memory()
            if device != 'cpu':
                used.append(torch.cuda.memory_reserved())
    first.pipeline.close()
    assert first.errors == []
    assert overlaps and min(overlaps) > 0.7
    assert len(used) == 0 or used[-1] <= used[0] + (32 << 20), 'the memory of a model is freed'


def test_cameras_that_share_a_model_track_at_the_same_time(trained: Siamese, device: str) -> None:
    shared = SharedRuntime(CUDARuntime(copy.deepcopy(trained), device))
    first, second = (Camera(lambda: shared, render_scene(4, seed=seed)) for seed in (5, 6))
    with tracking(first) as overlaps:
        for _ in range(1 if device == 'cpu' else 10):
            assert min(second.track()) > 0.7
    first.pipeline.close()  # and with it the thread that has captured the graphs
    assert min(second.track()) > 0.7
    second.pipeline.close()
    assert first.errors == second.errors == []
    assert overlaps and min(overlaps) > 0.7
