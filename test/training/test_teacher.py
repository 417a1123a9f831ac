"""The teacher, compared with ONNX Runtime."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import DependencyError, WeightsError
from siamffn_model.imaging.crop import View
from siamffn_model.training import teacher as teacher_module
from siamffn_model.training.onnx_graph import OPERATORS
from siamffn_model.training.teacher import Lesson, import_teacher, load_teacher

from ..command import siamffn

onnx = pytest.importorskip('onnx', reason='extra [export] not installed')
onnxruntime = pytest.importorskip('onnxruntime', reason='extra [export] not installed')

from .teacher_files import write_teacher  # noqa: E402 (requires onnx)

CPU = torch.device('cpu')


@pytest.fixture(scope='module', params=['small', 'NanoTrackV3'])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the two ONNX files."""
    if request.param == 'small':
        return write_teacher(tmp_path_factory.mktemp('teacher') / 'files')
    folder = os.environ.get('SIAMFFN_NANOTRACK')
    if folder is None:
        pytest.skip('SIAMFFN_NANOTRACK is not the folder of NanoTrackV3')
    return Path(folder)


@pytest.fixture
def crops(scene: Scene) -> tuple[Tensor, Tensor]:
    """Template and search crops of three images."""
    views = [View(image, 150.0, 110.0, 120.0, (1, 2, 3)) for image in scene.images[:3]]
    template, search = (np.stack([view.crop(size) for view in views]) for size in (127, 255))
    return torch.from_numpy(template), torch.from_numpy(search)


def run(path: Path, *inputs: np.ndarray) -> list[np.ndarray]:
    """Run a file in ONNX Runtime with inputs of any size."""
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.ClearField('shape')
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [value.name for value in session.get_inputs()]
    outputs: list[np.ndarray] = session.run(None, dict(zip(names, inputs, strict=True)))
    return outputs


def test_lessons_are_those_of_onnx_runtime(files: Path, crops: tuple[Tensor, Tensor]) -> None:
    lesson = load_teacher(files, CPU)(*crops)
    assert lesson.search.shape == (3, 96, 16, 16)
    for index in range(3):
        pixels = (c[index].permute(2, 0, 1)[None].float().numpy() for c in crops)
        (z,), (x,) = (run(files / 'nanotrack_backbone.onnx', image) for image in pixels)
        logits, distances = run(files / 'nanotrack_head.onnx', z, x)
        background, target = np.exp(logits[0].reshape(2, 225).astype(float))
        expected = Lesson(z[0], x[0], target / (target + background), distances.reshape(4, 225))
        for value, other in zip(lesson, expected, strict=True):
            assert value[index].numpy() == pytest.approx(other, rel=1e-3, abs=1e-4)


def test_the_small_files_have_all_operators(tmp_path: Path) -> None:
    folder = write_teacher(tmp_path / 'files')
    models = [onnx.load(path) for path in folder.iterdir()]
    used = {node.op_type for model in models for node in model.graph.node}
    assert used == {*OPERATORS, 'Constant'}


def test_the_imported_file_needs_no_onnx(
    tmp_path: Path, crops: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = write_teacher(tmp_path / 'files'), tmp_path / 'teacher.safetensors'
    done = siamffn('weights', 'import-nanotrack', folder, '--out', out)
    assert done.exit_code == 0, done.output
    original = load_teacher(folder, CPU)
    monkeypatch.setitem(sys.modules, 'onnx', None)
    monkeypatch.setattr(teacher_module, 'find_spec', lambda _name: None)
    imported = load_teacher(out, CPU)
    for one, other in zip(imported(*crops), original(*crops), strict=True):
        assert torch.equal(one, other)
    assert imported.card == original.card
    assert 'Apache-2.0' in imported.card
    with pytest.raises(DependencyError, match='weights import-nanotrack` on another machine'):
        load_teacher(folder, CPU)


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r'nowhere/nanotrack_backbone\.onnx: no such file'):
        load_teacher(tmp_path / 'nowhere', CPU)
    (tmp_path / 'x.safetensors').write_bytes(b'junk')
    with pytest.raises(WeightsError, match=r'x\.safetensors is not a file of'):
        load_teacher(tmp_path / 'x.safetensors', CPU)
    folder = write_teacher(tmp_path / 'files')
    model = onnx.load(folder / 'nanotrack_head.onnx')
    model.graph.node[-1].op_type = 'Erf'
    onnx.save(model, folder / 'nanotrack_head.onnx')
    with pytest.raises(WeightsError, match='the ONNX operators Erf are not supported'):
        import_teacher(folder, tmp_path / 'out.safetensors')
    (folder / 'nanotrack_head.onnx').write_bytes(b'junk')
    with pytest.raises(WeightsError, match='files has a damaged file'):
        load_teacher(folder, CPU)
