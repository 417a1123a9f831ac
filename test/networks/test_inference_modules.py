"""The two stages of a model."""

from __future__ import annotations

import pytest
import torch

from siamffn_model.networks.inference_modules import example_inputs, stages
from siamffn_model.networks.zoo import create_model

from .conftest import close, pixels


def test_candidates_are_scores_and_boxes_from_the_middle() -> None:
    torch.manual_seed(0)
    model = create_model('siamffn_lite0').eval()
    z, x = (pixels(2, size).to(torch.uint8) for size in (127, 255))
    template, search = stages(model)
    with torch.no_grad():
        found = search(x.permute(0, 2, 3, 1), *template(z.permute(0, 2, 3, 1)))
        logits, distances = model.search(x.float(), model.template(z.float()))
    left, top, right, bottom = distances.unbind(1)
    points = torch.tensor(model.score_map.points()).float()
    assert close(found[:, 0], logits.softmax(dim=1)[:, 1])
    assert close(found[:, 1] - found[:, 3] / 2, points[0] - left)
    assert close(found[:, 2] + found[:, 4] / 2, points[1] + bottom)
    assert close(found[:, 3], left + right) and close(found[:, 4], top + bottom)


@pytest.mark.parametrize('kind', [torch.float, torch.half])
def test_all_stays_on_the_device_of_the_model(name: str, kind: torch.dtype) -> None:
    with torch.device('meta'):
        model = create_model(name).eval().to(kind)
    crop, *template = example_inputs(model)[1]
    candidates = stages(model)[1](crop, *template)
    assert candidates.device.type == 'meta' and candidates.dtype == torch.float
    assert candidates.shape == (1, 5, model.score_map.candidates)
