"""Searches of several views in OpenVINO, and its effects on the process: signals and memory."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.imaging.crop import View
from siamffn_model.runtimes.selection import load_model

pytest.importorskip('openvino', reason='extra [openvino] not installed')


def test_views_that_are_searched_together_have_the_candidates_of_single_searches() -> None:
    model = load_model(runtime='openvino-f32')
    (image,), (box,) = render_scene(1, (320, 240), seed=1)
    views = [View(image, box.cx + 5 * n, box.cy, 150 + 10 * n, (0, 0, 0)) for n in range(11)]
    templates = [model.template(view) for view in views]
    single = [model.search([v], [t])[0] for v, t in zip(views, templates, strict=True)]
    assert not np.allclose(single[0], single[1], rtol=0, atol=1e-2)
    for count in (2, 3, 8, 11, 1):
        together = model.search(views[:count], templates[:count])
        np.testing.assert_allclose(together, single[:count], rtol=0, atol=1e-3)
    damaged = views[3]._replace(image=np.zeros((0, 0, 3), np.uint8))
    with pytest.raises(cv2.error):
        model.search([*views[:3], damaged, *views[4:]], templates)
    with pytest.raises(TypeError):
        model.search(views, [[templates[1][0], 'not features']] * len(views))
    np.testing.assert_allclose(model.search(views, templates), single, rtol=0, atol=1e-3)


PROGRAM = """
import os, signal
import torch
from torch import nn
from siamffn_model.runtimes.openvino_runtime import compile_model, convert_module

received = []
signal.signal(signal.SIGUSR1, lambda *_: received.append(1))
images = torch.zeros(1, 3, 32, 32)
first, second = (compile_model(convert_module(nn.Conv2d(3, 4, 3), (images,))) for _ in range(2))
del first
del second
os.kill(os.getpid(), signal.SIGUSR1)
assert received
"""


@pytest.mark.slow
def test_a_signal_after_models_were_deleted_does_not_end_the_process() -> None:
    done = subprocess.run([sys.executable, '-c', PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


LOADING = """
from siamffn_model.networks.zoo import create_model
from siamffn_model.runtimes.devices import resident_memory
from siamffn_model.runtimes.selection import free_memory, prepare

for count in range(4):
    prepare(create_model('siamffn_lite0'), 'cpu')
    free_memory()
    before = before if count > 1 else resident_memory()
print((resident_memory() - before) / 1e6)
"""


@pytest.mark.slow
def test_the_memory_of_deleted_models_is_freed() -> None:
    done = subprocess.run([sys.executable, '-c', LOADING], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 12, 'MB; three models use more than 20'
