"""The CUDA runtime against the model in single precision on the CPU, with OpenCV's crops."""

from __future__ import annotations

import copy
import weakref

import cv2
import numpy as np
import pytest
import torch

from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.imaging.crop import View
from siamffn_model.imaging.geometry import iou
from siamffn_model.networks.siamese import Siamese
from siamffn_model.networks.zoo import create_model
from siamffn_model.runtimes import cuda_runtime
from siamffn_model.runtimes.cuda_runtime import CUDARuntime
from siamffn_model.runtimes.runtime import Floats, Template
from siamffn_model.runtimes.selection import free_memory
from siamffn_model.runtimes.torch_runtime import TorchRuntime, eager_runtime
from siamffn_model.tracking import Tracker, update_all

from .conftest import CUDA

pytestmark = pytest.mark.slow

SCENE = render_scene(6, seed=5)
# Half precision: scores, and pixels of the search crop.
SCORE_TOLERANCE, PIXEL_TOLERANCE = 0.01, 0.5


@pytest.fixture(scope='module')
def reference(trained: Siamese) -> TorchRuntime:
    return eager_runtime(copy.deepcopy(trained), 'cpu')


def assert_same_best_candidate(actual: Floats, expected: Floats) -> None:
    """Compare candidates (5, N) where the score of the expected ones is highest."""
    best = expected[0].argmax()
    difference = np.abs(actual[:, best] - expected[:, best])
    assert difference[0] < SCORE_TOLERANCE
    assert difference[1:].max() < PIXEL_TOLERANCE


def target_views(count: int) -> list[View]:
    """Return views of the first image, which differ in place and size."""
    box = SCENE.boxes[0]
    places = [(box.cx + 2 * (n % 8), box.cy - n // 4, 3 * box.w + 4 * n) for n in range(count)]
    return [View(SCENE.images[0], x, y, side, (0, 0, 0)) for x, y, side in places]


def template_views() -> list[View]:
    box = SCENE.boxes[0]
    return [View(SCENE.images[0], box.cx, box.cy, side * box.w, (0, 0, 0)) for side in (2, 3, 4)]


def test_boxes_equal_those_in_single_precision(
    runtime: CUDARuntime, reference: TorchRuntime
) -> None:
    trackers = Tracker(runtime), Tracker(reference)
    for tracker in trackers:
        tracker.init(SCENE.images[0], SCENE.boxes[0])
    for image, truth in zip(SCENE.images[1:], SCENE.boxes[1:]):
        actual, expected = (tracker.update(image) for tracker in trackers)
        assert iou(actual.box, expected.box) > 0.95
        assert actual.score == pytest.approx(expected.score, abs=SCORE_TOLERANCE)
        assert iou(actual.box, truth) > 0.7


def test_templates_equal_those_in_single_precision_and_are_kept(
    runtime: CUDARuntime, reference: TorchRuntime
) -> None:
    views = template_views()
    templates = [runtime.template(view) for view in views]
    runtime.search(target_views(3), templates)
    for view, template in zip(views, templates):
        for actual, expected in zip(template, reference.template(view), strict=True):
            error = (actual.cpu().float() - expected).abs().max() / expected.abs().max()
            assert error < 0.02


def test_every_batch_size_gives_each_view_its_own_candidates(
    runtime: CUDARuntime, reference: TorchRuntime
) -> None:
    views = target_views(35)
    templates = [[r.template(v) for v in template_views()] for r in (runtime, reference)]
    mixed, expected_mixed = ([three[n % 3] for n in range(35)] for three in templates)
    expected: dict[int, Floats] = {}
    # From many to few: smaller batches find the larger ones in the buffer.
    for count in (35, 17, 9, 5, 3, 2, 1, 4, 8, 16, 32) if runtime.device != 'cpu' else (33, 3, 1):
        batch = runtime.search(views[:count], mixed[:count])
        assert batch.shape == (count, 5, 225)
        for n in {0, count // 2, count - 1}:
            if n not in expected:
                expected[n] = reference.search([views[n]], [expected_mixed[n]])[0]
            assert_same_best_candidate(batch[n], expected[n])
    assert runtime.search([], []).shape == (0, 5, 225)


def test_several_targets_are_tracked_in_one_batch(runtime: CUDARuntime) -> None:
    scenes = [render_scene(3, seed=seed) for seed in range(3)]
    trackers = [Tracker(runtime) for _ in scenes]
    for tracker, scene in zip(trackers, scenes):
        tracker.init(scene.images[0], scene.boxes[0])
    for n in (1, 2):
        tracks = update_all(trackers, [scene.images[n] for scene in scenes])
        for track, scene in zip(tracks, scenes):
            assert iou(track.box, scene.boxes[n]) > 0.5


def test_a_large_target_of_a_4k_image(runtime: CUDARuntime, reference: TorchRuntime) -> None:
    image = cv2.resize(SCENE.images[0], (3840, 2160))
    scale_x, scale_y = 3840 / SCENE.images[0].shape[1], 2160 / SCENE.images[0].shape[0]
    box = SCENE.boxes[0]
    search, template = (
        View(image, box.cx * scale_x, box.cy * scale_y, side * box.w * scale_x, (0, 0, 0))
        for side in (4, 2)
    )
    assert search.side > 2 * 255, 'the crop has fewer pixels than the region'
    buffer = runtime._buffer
    actual, expected = (r.search([search], [r.template(template)]) for r in (runtime, reference))
    assert_same_best_candidate(actual[0], expected[0])
    assert runtime._buffer is buffer, 'the graphs read from this buffer'


def test_after_the_warm_up_no_graph_is_captured(
    trained: Siamese, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = CUDARuntime(copy.deepcopy(trained), device)
    runtime.warm_up()
    monkeypatch.setattr(runtime, '_create_search', None)  # calling it fails
    template = runtime.template(template_views()[0])
    for count in (1,) if device == 'cpu' else (1, 2, 3, 32, 40):
        runtime.search(target_views(count), [template] * count)


def test_graphs_use_cudnn(trained: Siamese, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[bool] = []

    def sample_crops(*args: object) -> torch.Tensor:
        used.append(torch.backends.cudnn.enabled)
        return original(*args)

    original = cuda_runtime.sample_crops
    monkeypatch.setattr(cuda_runtime, 'sample_crops', sample_crops)
    CUDARuntime(copy.deepcopy(trained), device).warm_up()
    assert used and all(used)
    assert not torch.backends.cudnn.benchmark, 'only captures change it'


@pytest.mark.parametrize(
    ('name', 'device'),
    [
        ('siamban_lite0', 'cpu'),
        *(
            pytest.param(name, 'cuda', marks=CUDA.marks)
            for name in ('siamrpn_alex', 'siamffn_r50', 'siamban_r50')
        ),
    ],
)
def test_other_models_give_the_same_scores(name: str, device: str) -> None:
    torch.manual_seed(0)
    model = create_model(name).eval().requires_grad_(False)
    runtimes = eager_runtime(copy.deepcopy(model), device), CUDARuntime(model, device)
    template, search = template_views()[0], target_views(1)
    expected, actual = (r.search(search * 3, [r.template(template)] * 3) for r in runtimes)
    assert np.isfinite(actual).all()
    assert actual.shape == expected.shape
    assert np.median(np.abs(actual[:, 0] - expected[:, 0])) < 0.02  # random weights


def test_memory_is_freed(trained: Siamese, device: str) -> None:
    def use_runtime() -> tuple[weakref.ref[CUDARuntime], Template]:
        runtime = CUDARuntime(copy.deepcopy(trained), device)
        runtime.warm_up()
        return weakref.ref(runtime), runtime.template(template_views()[0])

    used = []
    for _ in range(1 if device == 'cpu' else 3):
        runtime, template = use_runtime()
        assert runtime() is None, 'no reference cycle keeps it'
        del template
        free_memory()
        if device != 'cpu':
            used.append(torch.cuda.memory_allocated())
    assert max(used[1:], default=0) - min(used[1:], default=0) < 1 << 20, 'libraries allocate once'
