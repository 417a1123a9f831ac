"""Features of a frozen backbone."""

from __future__ import annotations

import pytest
import torch

from siamffn_model.networks.efficientnet_lite import EfficientNetLite0
from siamffn_model.training import features
from siamffn_model.training.features import frozen_features


@pytest.mark.parametrize('openvino', [True, False], ids=['openvino', 'pytorch'])
def test_features_are_the_backbones_own(openvino: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if openvino:
        pytest.importorskip('openvino', reason='extra [openvino] not installed')
    else:
        monkeypatch.setattr(features, 'find_spec', lambda _: None)
    torch.manual_seed(0)
    backbone = EfficientNetLite0().eval()
    quick = frozen_features(backbone)
    for size in (127, 63, 127):
        crops = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)
        with torch.no_grad():
            found, expected = quick(crops), backbone(crops.permute(0, 3, 1, 2).float())
        for one, other in zip(found, expected, strict=True):
            assert torch.allclose(one, other, atol=1e-4 * float(other.abs().max()))


def test_the_backbone_itself_stays_as_it_is() -> None:
    backbone = EfficientNetLite0().train()
    frozen_features(backbone)
    assert backbone.training
    assert all(weight.requires_grad for weight in backbone.parameters())
    assert isinstance(backbone.stem[1], torch.nn.BatchNorm2d)
