"""The packaged model, on which the tests of accuracy run."""

from __future__ import annotations

import pytest

from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.tracking import load_model


@pytest.fixture(scope='session')
def model() -> Runtime:
    return load_model(device='cpu')
