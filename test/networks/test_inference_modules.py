"""The template module and the search module of a model."""

from __future__ import annotations

import pytest
import torch

from siamffn_model.networks.inference_modules import example_inputs, inference_modules
from siamffn_model.networks.zoo import create_model

from .conftest import close, pixels


def test_candidates_are_scores_and_boxes_relative_to_the_centre() -> None:
    torch.manual_seed(0)
    model = create_model('siamffn_lite0').eval()
    z, x = (pixels(2, size).to(torch.uint8) for size in (127, 255))
    template, search = inference_modules(model)
    with torch.no_grad():
        candidates = search(x.permute(0, 2, 3, 1), *template(z.permute(0, 2, 3, 1)))
        logits, distances = model.search(x.float(), model.template(z.float()))
    left, top, right, bottom = distances.unbind(1)
    points = torch.tensor(model.score_map.points()).float()
    assert close(candidates[:, 0], logits.softmax(dim=1)[:, 1])
    assert close(candidates[:, 1] - candidates[:, 3] / 2, points[0] - left)
    assert close(candidates[:, 2] + candidates[:, 4] / 2, points[1] + bottom)
    assert close(candidates[:, 3], left + right) and close(candidates[:, 4], top + bottom)


@pytest.mark.parametrize('dtype', [torch.float, torch.half])
def test_outputs_are_on_the_device_of_the_model(name: str, dtype: torch.dtype) -> None:
    with torch.device('meta'):
        model = create_model(name).eval().to(dtype)
    crop, *template = example_inputs(model)[1]
    candidates = inference_modules(model)[1](crop, *template)
    assert candidates.device.type == 'meta' and candidates.dtype == torch.float
    assert candidates.shape == (1, 5, model.score_map.candidates)
