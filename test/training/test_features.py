"""Features of a backbone that is frozen completely or in part."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from siamffn_model.networks.backbone import Backbone
from siamffn_model.networks.efficientnet_lite import EfficientNetLite0
from siamffn_model.training import features as features_module
from siamffn_model.training.features import Features, frozen_features, trainable_features

pytestmark = pytest.mark.slow


@pytest.fixture(params=[True, False], ids=['openvino', 'pytorch'])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The inference engine of the frozen stages."""
    if request.param:
        pytest.importorskip('openvino', reason='extra [openvino] not installed')
    else:
        monkeypatch.setattr(features_module, 'find_spec', lambda _: None)


@pytest.mark.usefixtures('backend')
@pytest.mark.parametrize('create_features', [frozen_features, trainable_features])
def test_features_equal_the_outputs_of_the_backbone(
    create_features: Callable[[Backbone], Features],
) -> None:
    torch.manual_seed(0)
    backbone = EfficientNetLite0().eval()
    features = create_features(backbone)
    for size in (127, 63, 127):
        crops = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)
        with torch.no_grad():
            levels, expected = features(crops), backbone(crops.permute(0, 3, 1, 2).float())
        for one, other in zip(levels, expected, strict=True):
            assert torch.allclose(one, other, atol=1e-4 * float(other.abs().max()))


@pytest.mark.usefixtures('backend')
def test_only_trainable_parameters_receive_a_gradient() -> None:
    backbone = EfficientNetLite0().eval()
    crops = torch.randint(0, 256, (1, 127, 127, 3), dtype=torch.uint8)
    sum(level.sum() for level in trainable_features(backbone)(crops)).backward()
    trainable = {weight for part in backbone.trainable() for weight in part.parameters()}
    assert {weight for weight in backbone.parameters() if weight.grad is not None} == trainable


def test_the_backbone_itself_is_not_changed() -> None:
    backbone = EfficientNetLite0().train()
    frozen_features(backbone)
    assert backbone.training
    assert all(weight.requires_grad for weight in backbone.parameters())
    assert isinstance(backbone.stem[1], torch.nn.BatchNorm2d)
