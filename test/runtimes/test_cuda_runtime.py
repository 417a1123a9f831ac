"""The CUDA runtime; without a GPU all but its CUDA graphs is tested on the CPU."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.imaging.crop import View
from siamffn_model.imaging.geometry import iou
from siamffn_model.networks.siamese import Siamese
from siamffn_model.networks.zoo import create_model, load_weights
from siamffn_model.runtimes.cuda_runtime import CUDARuntime
from siamffn_model.runtimes.selection import weight_file
from siamffn_model.runtimes.torch_runtime import eager_runtime
from siamffn_model.tracking import Tracker, update_all


@pytest.fixture(scope='module')
def trained() -> Siamese:
    model = create_model('siamffn_lite0')
    load_weights(model, 'siamffn_lite0', weight_file('siamffn_lite0'))
    return model.eval().requires_grad_(False)


@pytest.fixture(scope='module')
def runtime(trained: Siamese) -> CUDARuntime:
    return CUDARuntime(copy.deepcopy(trained), 'cpu')


def overlaps(tracker: Tracker, scene: Scene) -> list[float]:
    tracker.init(scene.images[0], scene.boxes[0])
    boxes = [tracker.update(image).box for image in scene.images[1:]]
    return [float(iou(box, truth)) for box, truth in zip(boxes, scene.boxes[1:])]


@pytest.mark.slow
def test_it_tracks_like_the_eager_model(trained: Siamese, runtime: CUDARuntime) -> None:
    scene = render_scene(15, seed=5)
    expected = overlaps(Tracker(eager_runtime(copy.deepcopy(trained), 'cpu')), scene)
    assert overlaps(Tracker(runtime), scene) == pytest.approx(expected, abs=0.05)


@pytest.mark.slow
def test_each_view_of_a_batch_uses_its_own_template(runtime: CUDARuntime, scene: Scene) -> None:
    image, box = scene.images[0], scene.boxes[0]
    places = [(box.cx + 3 * n, box.cy - 2 * n, box.w + 5 * n) for n in range(35)]
    views = [View(image, x, y, side, (0, 0, 0)) for x, y, side in places]
    templates = [runtime.template(view) for view in views[:3]]
    shuffled = [templates[n % 3] for n in range(35)]
    batch = runtime.search(views, shuffled)
    assert batch.shape == (35, 5, 625)
    for number in (0, 1, 2, 20, 34):
        (single,) = runtime.search([views[number]], [shuffled[number]])
        assert np.allclose(batch[number], single, atol=1e-3)
    assert runtime.search([], []).shape == (0, 5, 625)


def test_the_buffer_grows_for_a_large_region(runtime: CUDARuntime) -> None:
    image = np.zeros((2000, 3000, 3), np.uint8)
    view = View(image, 1500, 1000, 2500, (0, 0, 0))
    assert np.isfinite(runtime.search([view], [runtime.template(view)])).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_cuda_graphs_track_like_the_eager_model(trained: Siamese) -> None:
    captured = CUDARuntime(copy.deepcopy(trained), 'cuda')
    scenes = [render_scene(10, seed=seed) for seed in range(3)]
    expected = [overlaps(Tracker(eager_runtime(copy.deepcopy(trained), 'cuda')), s) for s in scenes]
    assert [overlaps(Tracker(captured), s) for s in scenes] == [
        pytest.approx(one, abs=0.05) for one in expected
    ]
    trackers = [Tracker(captured) for _ in scenes]
    for tracker, s in zip(trackers, scenes):
        tracker.init(s.images[0], s.boxes[0])
    for n in range(1, 10):
        tracks = update_all(trackers, [s.images[n] for s in scenes])
        for track, s in zip(tracks, scenes):
            assert iou(track.box, s.boxes[n]) > 0.5
