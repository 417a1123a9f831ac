from __future__ import annotations

import errno
import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from siamffn_model.atomic_io import cache_folder, write_text
from siamffn_model.errors import DataError
from siamffn_model.export import torchscript
from siamffn_model.imaging.image import write_image
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.runtimes.exported import ExportedModules, Manifest, write_exported

from .command import siamffn


def test_text_is_written_and_folders_are_created(tmp_path: Path) -> None:
    path = tmp_path / 'a' / 'b' / 'scores.json'
    write_text(path, 'first\n')
    write_text(path, 'Füße\n')
    assert path.read_text(encoding='utf-8') == 'Füße\n'
    assert [file.name for file in path.parent.iterdir()] == ['scores.json']


def test_names_that_are_not_utf8_are_written_as_they_are(tmp_path: Path) -> None:
    write_text(tmp_path / 'names.txt', os.fsdecode(b'caf\xe9'))
    assert (tmp_path / 'names.txt').read_bytes() == b'caf\xe9'


def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('a file, not a folder')
    with pytest.raises(DataError, match=r'file/scores.json: cannot be written \(.*\); choose'):
        write_text(tmp_path / 'file' / 'scores.json', 'x')
    (tmp_path / 'folder.json').mkdir()
    with pytest.raises(DataError, match=r'folder.json: cannot be written'):
        write_text(tmp_path / 'folder.json', 'x')
    assert sorted(file.name for file in tmp_path.iterdir()) == ['file', 'folder.json']


@pytest.mark.skipif(sys.platform != 'linux', reason='the variables are those of Linux')
def test_the_cache_folder_honours_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert cache_folder() == tmp_path / 'siamffn'
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    assert cache_folder() == tmp_path / 'home' / '.cache' / 'siamffn'
    assert list(tmp_path.iterdir()) == [], 'nothing is created yet'


# --- a full disk, simulated by a limit on the size of files


LIMIT = 10_000


@pytest.fixture
def full_disk() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Weighted(torch.nn.Module):
    """A module with a parameter that does not fit."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(LIMIT))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product with the weight."""
        return x * self.weight


def large_checkpoint(folder: Path) -> None:
    pytest.importorskip('pydantic', reason='extra [train] not installed')
    from siamffn_model.training.checkpoint import write_checkpoint

    write_checkpoint(folder, {'weights': torch.rand(LIMIT)})


def large_torchscript(folder: Path) -> None:
    module = torch.jit.trace(Weighted(), torch.ones(LIMIT))
    modules = ExportedModules(module, module, ScoreMap(25, ((1.0, 1.0),), False))
    with write_exported(folder, Manifest('x', 'torchscript', modules.score_map)) as partial:
        torchscript.save(modules, partial)


def large_openvino(folder: Path) -> None:
    openvino = pytest.importorskip('openvino', reason='extra [openvino] not installed')
    from siamffn_model.runtimes.openvino_runtime import save_modules

    module = openvino.convert_model(Weighted(), example_input=torch.ones(LIMIT))
    modules = ExportedModules(module, module, ScoreMap(25, ((1.0, 1.0),), False))
    with write_exported(folder, Manifest('x', 'openvino', modules.score_map)) as partial:
        save_modules(modules, partial)


@pytest.mark.parametrize(
    'write',
    [
        lambda path: write_text(path, 'x' * 2 * LIMIT),
        lambda path: write_image(path.with_suffix('.bmp'), np.zeros((99, 99, 3), np.uint8)),
        large_checkpoint,
        large_torchscript,
        large_openvino,
    ],
    ids=['text', 'image', 'checkpoint', 'torchscript', 'openvino'],
)
def test_a_full_disk_leaves_no_file(
    tmp_path: Path, full_disk: None, write: Callable[[Path], None]
) -> None:
    with pytest.raises(DataError, match='free some space'):
        write(tmp_path / 'out')
    assert [path for path in tmp_path.rglob('*') if path.is_file()] == []


def test_a_command_reports_a_full_disk_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """For example where a log cannot be continued."""

    def write(*_: object) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device', '/data/log.jsonl')

    monkeypatch.setattr('siamffn_model.imaging.sources.open_frames', write)
    done = siamffn('track', 'video.mp4')
    assert done.exit_code == 2
    assert done.stderr == (
        'Error: /data/log.jsonl cannot be written (No space left on device); free some space\n'
    )
