"""Properties that all models of the zoo share."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import pytest
import torch

from siamffn_model.imaging.geometry import Box
from siamffn_model.networks.backbone import Backbone
from siamffn_model.networks.fusion import ScaleAttention
from siamffn_model.networks.heads import ResidualBlock
from siamffn_model.networks.resnet import ResNet50
from siamffn_model.networks.siamese import SiamBAN, Siamese, SiamFC, SiamFFN, SiamRPN, SiamRPNpp
from siamffn_model.networks.zoo import create_model
from siamffn_model.runtimes.selection import prepare
from siamffn_model.tracking import Tracker
from siamffn_model.training.labels import edge_distances, labels
from siamffn_model.training.losses import LOSSES, sample_losses

from .conftest import close, pixels

BOXES = torch.tensor([[90.0, 100, 70, 60], [110, 80, 60, 64]])


class Outputs(NamedTuple):
    """Outputs (logits, distances) of a model for two targets and two search crops.

    Attributes:
        batch: both targets, each in its own crop, in one batch.
        single: the same, one by one.
        first: the first target in both crops, in one batch.
        first_single: the same, one by one.
        recomputed: the first target in the second crop, with a template of its own.
        attention: weights (2, 3) of scale attention for `batch`; None for a model without it.
    """

    batch: tuple[torch.Tensor, torch.Tensor]
    single: list[tuple[torch.Tensor, torch.Tensor]]
    first: tuple[torch.Tensor, torch.Tensor]
    first_single: list[tuple[torch.Tensor, torch.Tensor]]
    recomputed: tuple[torch.Tensor, torch.Tensor]
    attention: torch.Tensor | None


@pytest.fixture(scope='module')
def outputs(fresh: Siamese) -> Outputs:
    """Compute once what several tests compare: the large models take a second per crop."""
    model = fresh.eval()
    attention: list[torch.Tensor] = []
    parts = [part for part in model.modules() if isinstance(part, ScaleAttention)]
    hooks = [
        part.register_forward_pre_hook(lambda p, inputs: attention.append(p.weights(*inputs)))
        for part in parts
    ]
    z, x = pixels(2, 127), pixels(2, 255)
    with torch.no_grad():
        batch = model.search(x, model.template(z))
        for hook in hooks:
            hook.remove()
        first, second = model.template(z[:1]), model.template(z[1:])
        single = [model.search(x[:1], first), model.search(x[1:], second)]
        return Outputs(
            batch,
            single,
            model.search(x, first),
            [single[0], model.search(x[1:], first)],
            model.search(x[1:], model.template(z[:1])),
            attention[0] if attention else None,
        )


def keys(model: Siamese, count: int) -> torch.Tensor:
    candidates = model.score_map.points().shape[1]
    return torch.rand(count, 2, candidates, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
def test_output_shapes_match_the_score_map(model: Siamese, outputs: Outputs) -> None:
    logits, distances = outputs.batch
    count = model.score_map.points().shape[1]
    assert logits.shape == (2, 2, count)
    assert distances.shape == (2, 4, count)
    assert model.score_map.window().shape == (count,)
    assert logits.isfinite().all()
    left, top, right, bottom = distances.unbind(1)
    assert (left + right >= 0).all()
    assert (top + bottom >= 0).all()


@pytest.mark.slow
def test_every_parameter_has_a_gradient(model: Siamese) -> None:
    model.train()
    logits, distances = model.search(pixels(1, 255), model.template(pixels(1, 127)))
    ranks = keys(model, 1)
    found = labels(model.score_map, BOXES[:1], torch.tensor([False]), ranks[:, 0])
    targets = edge_distances(model.score_map, BOXES[:1])
    LOSSES['csrl'](sample_losses(logits, distances, found, targets, ranks)).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert [n for n, g in gradients.items() if g is None or not g.isfinite().all()] == []
    assert [n for n, g in gradients.items() if g is not None and not g.any()] == []


@pytest.mark.slow
def test_a_tracker_runs_with_every_model(model: Siamese) -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    tracker = Tracker(prepare(copy.deepcopy(model), 'cpu', 'eager'))
    tracker.init(image, Box(60, 40, 30, 20))
    box, score, _ = tracker.update(image)
    assert 0 <= score <= 1
    assert 0 <= box.cx <= 160
    assert 0 <= box.cy <= 120
    assert 0 < box.w <= 160
    assert 0 < box.h <= 120


class Tiny(Backbone):
    """A backbone that gives levels of the right shape at almost no cost."""

    def __init__(self, levels: int, cells: dict[int, int]) -> None:
        super().__init__()
        self.channels, self.cells = (4,) * levels, cells
        self.layers = torch.nn.ModuleList(torch.nn.Conv2d(3, 4, 1) for _ in range(levels))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        small = torch.nn.functional.adaptive_avg_pool2d(image, self.cells[image.shape[-1]])
        return [layer(small / 255) for layer in self.layers]


def test_the_fused_map_matches_the_paper() -> None:
    torch.manual_seed(0)
    model = SiamFFN(Tiny(3, {127: 15, 255: 31}), channels=4, cells=7).eval()
    torch.nn.init.normal_(model.fusion.score.weight, std=0.1)
    fused: list[torch.Tensor] = []
    model.fusion.register_forward_hook(lambda _module, _inputs, output: fused.append(output))
    with torch.no_grad():
        template = model.template(pixels(1, 127))
        model.search(pixels(1, 255), template)
        levels = model.neck(model.backbone(pixels(1, 255)))
    kernel = model.fusion.score.weight.detach().numpy().reshape(4)
    bias = float(model.fusion.score.bias.detach())

    weights, expected = [], np.zeros((4, 25, 25))
    for search, kernel_level in zip(levels, template, strict=True):
        x, z = search[0].numpy(), kernel_level[0].numpy()
        response = np.zeros((4, 25, 25))
        for row, column in np.ndindex(25, 25):  # DW-Xcorr, Fig. 3
            response[:, row, column] = (x[:, row : row + 7, column : column + 7] * z).sum((1, 2))
        attention = max(0.0, float(response.mean((1, 2)) @ kernel) + bias)  # Eq. 2
        weights.append(max(0.0, min(1.0, (attention + 1) / 2)))  # Eq. 3 and 4
        expected += response * weights[-1] / 3  # Eq. 5
    assert len(set(weights)) == 3
    assert fused[0][0].numpy() == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_pixelwise_correlation_of_the_deepest_level_is_added_to_the_fused_map() -> None:
    torch.manual_seed(0)
    model = SiamFFN(Tiny(3, {127: 7, 255: 15}), channels=4, cells=7, padding=2, pixelwise=True)
    model.eval()
    inputs: list[torch.Tensor] = []
    model.head.register_forward_pre_hook(lambda _module, args: inputs.append(args[0]))
    assert model.pixelwise is not None
    with torch.no_grad():
        template = model.template(pixels(1, 127))
        model.search(pixels(1, 255), template)
        torch.nn.init.ones_(model.pixelwise.weight)
        model.search(pixels(1, 255), template)
        deepest = model.neck(model.backbone(pixels(1, 255)))[-1]
    added = inputs[1] - inputs[0]
    expected = (deepest * template[-1].sum((2, 3), keepdim=True)).sum(1)  # of all 49 cells
    assert all(close(added[:, channel], expected) for channel in range(4))


def test_a_residual_block_adds_its_convolutions_to_its_input() -> None:
    torch.manual_seed(0)
    block = ResidualBlock(4).eval()
    x = torch.rand(2, 4, 5, 5)
    with torch.no_grad():
        assert close(block(x), (x + block.layers(x)).clamp(min=0))
        torch.nn.init.zeros_(block.layers[-1].weight)
        assert torch.equal(block(x), x)


@pytest.mark.parametrize(('name', 'stride'), [('siamffn_lite0', 8), ('siamffn_lite0_s16', 16)])
def test_a_target_is_found_at_the_point_of_its_centre(name: str, stride: int) -> None:
    """The response of the search crop to its own centre has its maximum at the target's point."""
    torch.manual_seed(0)
    model = create_model(name)
    model.backbone.load_imagenet()
    model.eval()
    target = 255 * torch.rand(1, 3, 127, 127)
    maps: list[torch.Tensor] = []
    model.fusion.register_forward_hook(lambda _module, _inputs, output: maps.append(output))
    side = model.score_map.side
    for column, row in ((0, 0), (2, -1), (-3, 2)):
        search = torch.full((1, 3, 255, 255), 127.0)
        x, y = 64 + column * stride, 64 + row * stride
        search[..., y : y + 127, x : x + 127] = target
        with torch.no_grad():
            model.search(search, model.template(target))
        best = int(maps[-1].sum(1).argmax())
        assert divmod(best, side) == (side // 2 + row, side // 2 + column)


@pytest.mark.parametrize('kind', [SiamFFN, SiamBAN, SiamRPNpp, SiamRPN, SiamFC])
def test_autocast_gives_finite_losses_and_gradients(kind: type[Siamese]) -> None:
    torch.manual_seed(0)
    if kind in (SiamRPN, SiamFC):
        model = kind(Tiny(1, {127: 6, 255: 22}), cells=6)
    else:
        model = kind(Tiny(3, {127: 15, 255: 31}), channels=4, cells=7)  # type: ignore[call-arg]
    targets = edge_distances(model.score_map, BOXES)
    ranks = keys(model, 2)
    found = labels(model.score_map, BOXES, torch.tensor([False, True]), ranks[:, 0])
    with torch.autocast('cpu', torch.bfloat16):
        logits, distances = model.search(pixels(2, 255), model.template(pixels(2, 127)))
        total = LOSSES['csrl'](sample_losses(logits, distances, found, targets, ranks))
    assert total.dtype == distances.dtype == torch.float
    total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.slow
def test_a_template_can_be_reused_for_many_frames(outputs: Outputs) -> None:
    cached = outputs.first_single
    assert torch.equal(cached[1][0], outputs.recomputed[0])
    assert torch.equal(cached[1][1], outputs.recomputed[1])
    assert not torch.equal(cached[0][0], cached[1][0])


@pytest.mark.slow
def test_a_batch_of_targets_gives_the_same_as_single_targets(outputs: Outputs) -> None:
    for output in (0, 1):
        assert close(outputs.batch[output], torch.cat([one[output] for one in outputs.single]))


@pytest.mark.slow
def test_one_template_is_broadcast_to_a_batch_of_crops(outputs: Outputs) -> None:
    assert close(outputs.first[0], torch.cat([one[0] for one in outputs.first_single]))


@pytest.mark.slow
def test_scale_attention_is_between_one_half_and_one(model: Siamese, outputs: Outputs) -> None:
    if not isinstance(model, SiamFFN):
        assert outputs.attention is None
        return
    assert outputs.attention is not None
    assert outputs.attention.shape == (2, 3)
    assert outputs.attention.min() >= 0.5
    assert outputs.attention.max() <= 1


@pytest.mark.slow
def test_1x1_downsampling_equals_zero_padded_3x3_kernels() -> None:
    torch.manual_seed(0)
    light, heavy = ResNet50(downsample=1).eval(), ResNet50().eval()
    heavy.load_classifier(light.state_dict())
    with torch.no_grad():
        for size, cells in ((127, 15), (255, 31)):
            for one, other in zip(light(pixels(1, size)), heavy(pixels(1, size)), strict=True):
                assert one.shape[-2:] == (cells, cells)
                assert close(one, other)
