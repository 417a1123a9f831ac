from __future__ import annotations

import sys
from pathlib import Path

import pytest

from siamffn_model.atomic_io import cache_folder, write_text
from siamffn_model.errors import DataError


def test_text_is_written_and_folders_are_created(tmp_path: Path) -> None:
    path = tmp_path / 'a' / 'b' / 'scores.json'
    write_text(path, 'first\n')
    write_text(path, 'Füße\n')
    assert path.read_text(encoding='utf-8') == 'Füße\n'
    assert [file.name for file in path.parent.iterdir()] == ['scores.json']


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
