"""Fixtures that several tests use."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.geometry import Box
from siamffn_model.networks.zoo import create_model, save_weights
from siamffn_model.tracking import State, Track


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder of development data that lies beside a checkout, not inside it."""
    path = Path(__file__).resolve().parents[2] / 'shared'
    if not path.is_dir():
        pytest.skip(f'development data absent: no folder {path}')
    return path


@pytest.fixture(scope='session')
def scene() -> Scene:
    """A rendered clip of 40 frames; do not write to its images."""
    return render_scene(40)


@pytest.fixture
def sequence_folder(tmp_path: Path) -> Path:
    """Two rendered sequences of 30 frames; in the second the target is absent in four."""
    for name, seed, absent in (('clip1', 3, range(0)), ('clip2', 4, range(10, 14))):
        images, boxes = render_scene(30, seed=seed)
        folder = tmp_path / 'sequences' / name
        (folder / 'img').mkdir(parents=True)
        for number, image in enumerate(images, 1):
            assert cv2.imwrite(str(folder / 'img' / f'{number:06d}.jpg'), image)
        rows = [','.join(f'{value:.2f}' for value in box) for box in boxes]
        for number in absent:
            rows[number] = 'NaN,NaN,NaN,NaN'
        (folder / 'groundtruth.txt').write_text('\n'.join(rows) + '\n')
    return tmp_path / 'sequences'


class TemplateMatcher:
    """The simplest tracker: looks for the first frame's patch near the last place."""

    def init(self, image: np.ndarray, box: Box) -> None:
        """Cut out the patch."""
        x, y, w, h = map(round, box)
        self.patch, self.box = image[y : y + h, x : x + w].copy(), Box(x, y, w, h)

    def update(self, image: np.ndarray) -> Track:
        """Return where it matches best."""
        x, y, w, h = map(round, self.box)
        left, top = max(0, x - w // 2), max(0, y - h // 2)
        window = image[top : y + h + h // 2, left : x + w + w // 2]
        scores = cv2.matchTemplate(window, self.patch, cv2.TM_CCOEFF_NORMED)
        _, best, _, (dx, dy) = cv2.minMaxLoc(scores)
        self.box = Box(left + dx, top + dy, w, h)
        return Track(self.box, max(0.0, best), State.TRACKING)


@pytest.fixture
def template_matcher() -> TemplateMatcher:
    """A tracker without weights."""
    return TemplateMatcher()


@pytest.fixture(scope='session')
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weight file of siamffn_lite0 that has learned nothing, but runs."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'random.safetensors'
    save_weights(create_model('siamffn_lite0'), 'siamffn_lite0', path, {'data': 'none'})
    return path
