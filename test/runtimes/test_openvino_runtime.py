"""Effects of OpenVINO on the process: signal handling and memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip('openvino', reason='extra [openvino] not installed')

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
