"""Fixtures: every model of the zoo, created once per test file."""

from __future__ import annotations

import pytest
import torch

from siamffn_model.networks.siamese import Siamese
from siamffn_model.networks.zoo import MODELS, create_model


@pytest.fixture(scope='module', params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    """Return the name of a model."""
    return str(request.param)


@pytest.fixture(scope='module')
def fresh(name: str) -> Siamese:
    """Return the model with random weights and batch norm statistics of one pair."""
    torch.manual_seed(0)
    model = create_model(name)
    norms = [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for layer in norms:
        layer.momentum = 1
    with torch.no_grad():
        model.search(pixels(1, 255), model.template(pixels(1, 127)))
    for layer in norms:
        layer.momentum = 0.1
    return model


@pytest.fixture
def model(fresh: Siamese) -> Siamese:
    """Return the model in evaluation mode with cleared gradients."""
    fresh.zero_grad()
    return fresh.eval()


def pixels(count: int, size: int) -> torch.Tensor:
    """Return reproducible random crops (count, 3, size, size), 0-255."""
    generator = torch.Generator().manual_seed(count * size)
    return torch.rand(count, 3, size, size, generator=generator) * 255


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two tensors agree to a thousandth of the largest value."""
    return torch.allclose(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))
