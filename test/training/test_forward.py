"""The forward pass in training."""

from __future__ import annotations

import pytest
import torch

from siamffn_model.networks.neck import center_crop
from siamffn_model.networks.zoo import create_model
from siamffn_model.training.forward import respond


@pytest.mark.slow
@pytest.mark.parametrize(
    'name', ['siamffn_lite0', 'siamffn_lite0_s16', 'siamban_r50', 'siamrpn_alex', 'siamfc_alex']
)
def test_the_forward_pass_equals_that_of_tracking(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name).eval()
    z, x = torch.rand(1, 3, 127, 127) * 255, torch.rand(1, 3, 255, 255) * 255
    with torch.no_grad():
        expected = model.search(x, model.template(z))
        levels = [center_crop(level, model.cells) for level in model.backbone(z)]
        result = respond(model, levels, model.backbone(x))
    for one, other in zip(result, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))
