"""Fixtures of several runtimes' tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def onnx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model, exported to ONNX, which takes seconds."""
    for package in ('onnxruntime', 'onnxscript'):
        pytest.importorskip(package, reason='extra [export] not installed')
    from siamffn_model.runtimes.export import export_model

    folder = tmp_path_factory.mktemp('exported') / 'onnx'
    export_model('siamffn_lite0', None, 'onnx', folder, [])
    return folder
