"""What OpenVINO computes, and that it leaves the process whole."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip('openvino', reason='extra [openvino] not installed')

PROGRAM = """
import os, signal
import torch
from torch import nn
from siamffn_model.runtimes.openvino_runtime import compile_graph, convert

heard = []
signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
images = torch.zeros(1, 3, 32, 32)
first, second = (compile_graph(convert(nn.Conv2d(3, 4, 3), (images,))) for _ in range(2))
del first
del second
os.kill(os.getpid(), signal.SIGUSR1)
assert heard
"""


def test_a_signal_after_models_that_are_gone_does_no_harm() -> None:
    done = subprocess.run([sys.executable, '-c', PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


LOADING = """
from pathlib import Path
from siamffn_model.networks.zoo import create_model
from siamffn_model.runtimes.selection import free_memory, prepare

def pages():
    return int(Path('/proc/self/statm').read_text().split()[1])

for count in range(4):
    prepare(create_model('siamffn_lite0'), 'cpu')
    free_memory()
    before = before if count > 1 else pages()
print((pages() - before) * 4096 / 1e6)
"""


def test_models_that_are_gone_leave_no_memory_behind() -> None:
    done = subprocess.run([sys.executable, '-c', LOADING], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 12, 'megabytes; three models that are kept have over 20'
