"""Training pairs that are computed on the device under test, against those of the CPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from siamffn_model.datasets.pack import CutOut, Pack, VideoFrame
from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.distributed import World
from siamffn_model.training import device_pairs
from siamffn_model.training.device_images import load_images
from siamffn_model.training.device_pairs import DevicePairs
from siamffn_model.training.sampling import Batch

# A stand-in for a `Recipe`, which needs pydantic.
AUGMENTATION = SimpleNamespace(
    shift=64.0,
    scale=0.4,
    stretch=0.5,
    colour=0.6,
    light=0.2,
    grey=0.1,
    faint=0.25,
    blur=0.3,
    pixels=0.6,
    noise=0.0,  # the random numbers of devices differ
    compression=0.5,
)
RECIPE: Any = SimpleNamespace(
    seed=1,
    batch=24,
    steps=1,
    epochs=1,
    negative=0.2,
    augmentation=AUGMENTATION,
    data={'pack': SimpleNamespace(range=3)},
)


def made_up_pack() -> Pack:
    """Return a pack of 3 objects, 2 backgrounds and a video of 4 frames."""
    files: dict[str, bytes] = {}

    def store(name: str, image: Any) -> str:
        files[name] = cv2.imencode('.png', image)[1].tobytes()
        return name

    objects = []
    for seed in range(3):
        scene = render_scene(1, seed=seed)
        image, box = scene.images[0], scene.boxes[0]
        mask = np.zeros(image.shape[:2], np.uint8)
        x, y, w, h = (round(value) for value in box)
        mask[y : y + h, x : x + w] = 255
        objects.append(CutOut(store(f'image{seed}', image), store(f'mask{seed}', mask), box))
    backgrounds = [store(f'ground{s}', render_scene(1, seed=9 + s).images[0]) for s in range(2)]
    video = render_scene(4, seed=20)
    frames = [
        VideoFrame(store(f'frame{number}', image), number, box)
        for number, (image, box) in enumerate(zip(video.images, video.boxes))
    ]
    return Pack(files, objects, backgrounds, {'otb': {'clip': frames}})


def computed(device: str) -> Batch:
    images = load_images(made_up_pack(), torch.device(device), RECIPE.seed)
    (batch,) = DevicePairs(RECIPE, images, 9, World(0, 1, device))
    return batch


def test_pairs_of_a_device_are_those_of_the_cpu(device: str) -> None:
    batch, expected = computed(device).map(torch.Tensor.cpu), computed('cpu')
    assert torch.equal(batch.box, expected.box)
    assert torch.equal(batch.negative, expected.negative)
    for crops, others in ((batch.template, expected.template), (batch.search, expected.search)):
        difference = (crops.float() - others.float()).abs().mean(dim=(1, 2, 3))
        assert difference.max() < 2  # grey levels; sampling and JPEG round differently


def test_blocks_are_drawn_in_order(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if another stream computes the next one while a batch is in use."""
    monkeypatch.setattr(device_pairs, 'BLOCK', 8)
    recipe: Any = SimpleNamespace(**{**vars(RECIPE), 'batch': 4, 'steps': 6})
    images = load_images(made_up_pack(), torch.device(device), RECIPE.seed)
    pairs = DevicePairs(recipe, images, 9, World(0, 1, device), step=1)
    blocks = [pairs.draw(number, 8) for number in range(3)]
    expected = torch.cat([block.search for block in blocks])[4:]
    assert torch.equal(torch.cat([batch.search for batch in pairs]), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_all_tensors_of_a_batch_are_on_the_gpu() -> None:
    assert all(tensor.is_cuda for tensor in computed('cuda')[:-1])
