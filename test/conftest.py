"""Fixtures that several tests use."""

from __future__ import annotations

from pathlib import Path

import pytest

from siamffn_model.datasets.synthetic import Scene, render_scene


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
