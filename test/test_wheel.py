"""The source distribution, and the wheel: what they contain, and the wheel alone in use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import siamffn_model

from .command import ROOT

pytest.importorskip('build', reason='extra [dev] not installed')
pytestmark = pytest.mark.slow

NOT_SOURCE = '.git', '.venv', '.*_cache', '.hypothesis', '__pycache__', '*.egg-info', 'out', 'build'
SHARED = 'config', 'launch'  # what colcon installs in share/siamffn, too
SOURCE_ONLY = 'docs', 'interfaces', 'msg', 'scripts', 'srv', 'test'


def run(*command: str | Path, one_core: bool = False, **environment: str) -> str:
    """Run a command with these environment variables set; return what it prints.

    Args:
        one_core: run on one core, on which sums do not depend on the order of threads.
    """

    def pin() -> None:
        if one_core:
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    done = subprocess.run(
        command,
        cwd=tempfile.gettempdir(),  # not the checkout, in which Python would find the package
        env={**os.environ, 'PYTHONPATH': '', **environment},
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=pin,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, as building writes beside the sources."""
    folder = tmp_path_factory.mktemp('wheel') / 'source'
    return Path(shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_SOURCE)))


@pytest.fixture(scope='module')
def dist(source: Path) -> Path:
    """The folder of the source distribution, and of the wheel that is built from it."""
    folder = source.parent / 'dist'
    run(sys.executable, '-m', 'build', '--no-isolation', '--outdir', folder, source)
    return folder


@pytest.fixture(scope='module')
def wheel(dist: Path) -> Path:
    (path,) = dist.glob('*.whl')
    return path


def names_in(source: Path, *folders: str) -> set[str]:
    """Return the files in these folders, by their path in the source tree."""
    files = (path for folder in folders for path in (source / folder).rglob('*') if path.is_file())
    return {path.relative_to(source).as_posix() for path in files}


def test_the_source_distribution_contains_the_repository(source: Path, dist: Path) -> None:
    (archive,) = dist.glob('*.tar.gz')
    with tarfile.open(archive) as files:
        packed = {name.partition('/')[2] for name in files.getnames()}
    folders = ('siamffn_model', 'siamffn_ros', *SHARED, *SOURCE_ONLY)
    assert names_in(source, *folders) - packed == set()
    at_top = {path.name for path in source.iterdir() if path.is_file()}
    assert at_top - packed - {'.git'} == set()  # .git is a file in a worktree


def test_the_wheel_contains_all_that_it_opens(source: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as files:
        packed = set(files.namelist())
    prefix = f'{wheel.name.partition("-py3")[0]}'
    shared = {f'{prefix}.data/data/share/siamffn/{name}' for name in names_in(source, *SHARED)}
    expected = names_in(source, 'siamffn_model', 'siamffn_ros') | shared
    assert {name for name in packed if '.dist-info/' not in name} == expected
    assert {'siamffn_model/py.typed', 'siamffn_ros/py.typed'} <= packed
    assert any(name.endswith('.onnx') for name in packed)
    assert any(name.endswith('.jinja') for name in packed)


@pytest.fixture
def description(wheel: Path) -> Message:
    """The metadata of the wheel."""
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith('.dist-info/METADATA'))
        return Parser().parsestr(files.read(name).decode())


def test_the_metadata_is_complete(description: Message) -> None:
    assert description['Version'] == siamffn_model.__version__
    assert description['License-Expression'] == 'Apache-2.0'
    assert description['Author-email'].startswith('SiamFFN maintainers <')
    assert description['Keywords'] and description['Project-URL']
    classifiers = description.get_all('Classifier')
    assert {f'Programming Language :: Python :: 3.{minor}' for minor in range(10, 14)} < {
        *classifiers
    }
    assert description.get_payload() == (ROOT / 'README.md').read_text(encoding='utf-8')


def test_requirements_without_extras_need_no_pytorch(description: Message) -> None:
    required = [line for line in description.get_all('Requires-Dist') if 'extra' not in line]
    assert required
    assert not {'torch', 'onnx', 'onnxruntime', 'openvino'} & {*required}


@pytest.fixture(scope='module')
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and its extra [openvino]."""
    folder = tmp_path_factory.mktemp('clean')
    run(sys.executable, '-m', 'venv', folder)
    pip = str(folder / 'bin' / 'pip'), 'install', '--constraint', str(ROOT / 'constraints.txt')
    probe = subprocess.run([*pip, '--no-deps', 'natsort'], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f'pip reaches no index of packages: {probe.stderr.splitlines()[-1]}')
    run(*pip, '--no-compile', f'{wheel}[openvino]')
    return folder


@pytest.mark.timeout(300)
def test_the_installed_wheel_tracks_as_the_checkout(
    clean: Path, sequence: Path, tmp_path: Path
) -> None:
    words = 'track', str(sequence), '--init', '60,60,30,30', '--out'
    run(clean / 'bin/siamffn', *words, tmp_path / 'wheel', one_core=True)
    python = sys.executable, '-m', 'siamffn_model'
    run(*python, *words, tmp_path / 'checkout', one_core=True, PYTHONPATH=str(ROOT))
    for name in ('boxes.csv', 'overlay.mp4'):
        wheel, checkout = ((tmp_path / one / name).read_bytes() for one in ('wheel', 'checkout'))
        assert wheel == checkout, name


def test_the_installed_files_are_found(clean: Path) -> None:
    """Without ROS: a module stands in for the one that dds.py asks for colcon's folder."""
    program = "import sys, types; name = 'ament_index_python.packages'; "
    program += 'module = sys.modules[name] = types.ModuleType(name); '
    program += 'module.get_package_share_directory = None; '
    program += 'from siamffn_ros.dds import profile_path; print(profile_path())'
    path = Path(run(clean / 'bin/python', '-c', program).strip())
    assert path == clean / 'share/siamffn/config/fastdds.xml'
    assert path.read_bytes() == (ROOT / 'config/fastdds.xml').read_bytes()
