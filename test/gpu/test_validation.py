"""Validation in the middle of a training whose data loader copies batches to pinned memory."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.imaging.crop import View
from siamffn_model.imaging.image import Image
from siamffn_model.networks.siamese import Siamese
from siamffn_model.training.validation import synthetic_sequence, validate

pytestmark = pytest.mark.slow

SCENE = render_scene(3, seed=3)


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    """Template and search crops of a scene, (3, 127, 127) and (3, 255, 255)."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        number = index % len(SCENE.images)
        box = SCENE.boxes[number]
        template, search = (
            View(SCENE.images[number], box.cx, box.cy, side, (0, 0, 0)).crop(size)
            for side, size in ((2 * box.w, 127), (4 * box.w, 255))
        )
        return _tensor(template), _tensor(search)


def _tensor(crop: Image) -> Tensor:
    return torch.from_numpy(crop).permute(2, 0, 1)


def test_validation_while_the_data_loader_runs(trained: Siamese, device: str) -> None:
    model = copy.deepcopy(trained).to(device)
    model.neck.requires_grad_(True)
    optimizer = torch.optim.SGD(model.neck.parameters(), 1e-9)
    cuda = device != 'cpu'
    steps = 24 if cuda else 3
    loader = DataLoader(Pairs(steps), num_workers=2 if cuda else 0, pin_memory=cuda)
    sequence = synthetic_sequence('scene', SCENE)
    scores, used = [], []
    for step, (template, search) in enumerate(loader, 1):
        z, x = (crops.to(device, non_blocking=True).float() for crops in (template, search))
        logits, distances = model.search(x, model.template(z))
        optimizer.zero_grad()
        (logits.square().mean() + distances.mean()).backward()
        optimizer.step()
        del z, x, logits, distances
        if step % (steps // 3) == 0:
            scores.append(validate(model, [sequence], torch.device(device)))
            used.append(torch.cuda.memory_allocated() if cuda else 0)
    assert step == steps
    assert min(score.success for score in scores) > 0.7
    assert abs(used[2] - used[1]) < 1 << 20, 'each validation frees its copy of the model'
    assert next(model.parameters()).device.type == device and not model.backbone.training
