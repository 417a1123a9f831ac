"""Fixtures of the tests of everything that runs on a GPU, which run on the CPU as well.

Beside siamffn_model, these tests and what they import need only PyTorch, NumPy, OpenCV, safetensors
and pytest. On a machine with just these packages and a GPU, from a checkout:

    python -m pytest -m gpu --confcutdir=test/gpu test/gpu
"""

from __future__ import annotations

import copy

import pytest
import torch

from siamffn_model.networks.names import DEFAULT_MODEL
from siamffn_model.networks.siamese import Siamese
from siamffn_model.networks.zoo import create_model, load_weights
from siamffn_model.runtimes.cuda_runtime import CUDARuntime
from siamffn_model.runtimes.selection import weight_file

CUDA = pytest.param(
    'cuda',
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device'),
    ],
)


@pytest.fixture(scope='session', params=['cpu', CUDA])
def device(request: pytest.FixtureRequest) -> str:
    """Return the device under test."""
    return str(request.param)


@pytest.fixture(scope='session')
def trained() -> Siamese:
    """Return the default model with its weights, on the CPU; tests must not change it."""
    model = create_model(DEFAULT_MODEL)
    load_weights(model, DEFAULT_MODEL, weight_file(DEFAULT_MODEL))
    return model.eval().requires_grad_(False)


@pytest.fixture(scope='session')
def runtime(trained: Siamese, device: str) -> CUDARuntime:
    """Return the runtime under test; on the CPU it is in single precision and has no graphs."""
    return CUDARuntime(copy.deepcopy(trained), device)
