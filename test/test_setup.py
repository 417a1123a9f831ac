"""The set-up, and the consistency of the files that describe the package."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

import siamffn_model

ROOT = Path(__file__).resolve().parents[1]


def load(name: str) -> ModuleType:
    """Import a script from scripts/."""
    spec = util.spec_from_file_location(f'scripts_{name}', ROOT / 'scripts' / f'{name}.py')
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module here
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def setup() -> ModuleType:
    return load('setup')


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy the files that the set-up reads."""
    names = ('constraints.txt', 'CMakeLists.txt', 'Makefile', 'package.xml', 'pyproject.toml')
    for name in (*names, 'setup.cfg', 'setup.py'):
        shutil.copy(ROOT / name, tmp_path)
    for name in ('interfaces', 'msg', 'scripts', 'srv'):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def make(
    checkout: Path, *tools: str, target: str = 'setup', python: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `make setup` or `make setup-demo` with a PATH that contains only these tools."""
    folder = checkout / 'tools'
    folder.mkdir()
    for tool in tools:
        path = shutil.which(tool)
        assert path is not None
        (folder / tool).symlink_to(path)
    make = shutil.which('make')
    assert make is not None
    command = [make, target, f'PYTHON={python or sys._base_executable}', 'SHELL=/bin/sh']
    environment = {'PATH': str(folder), 'HOME': str(checkout)}
    return subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize('target', ['setup', 'setup-demo'])
def test_missing_tools_are_named_with_their_packages(checkout: Path, target: str) -> None:
    result = make(checkout, 'gcc', 'make', target=target)
    assert result.returncode != 0
    assert 'this machine lacks cmake, g++.' in result.stderr
    assert 'sudo apt-get install cmake g++' in result.stderr
    assert not (checkout / '.venv').exists()


def test_missing_python_is_named(checkout: Path) -> None:
    result = make(checkout, 'gcc', 'g++', 'make', 'cmake', python='python3.12.99')
    assert result.returncode != 0
    assert 'there is no python3.12.99 here' in result.stdout
    assert 'apt-get install python3' in result.stdout


@pytest.mark.parametrize(
    ('version', 'supported'),
    [
        ((3, 9), False),
        ((3, 10), True),
        ((3, 13), True),
        ((3, 14), False),
    ],
)
def test_only_supported_versions_of_python_are_accepted(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], supported: bool
) -> None:
    monkeypatch.setattr(setup.sys, 'version_info', (*version, 0))
    if supported:
        setup.check_python()
    else:
        with pytest.raises(setup.SetupError, match=rf'3\.{version[1]}; supported are 3\.10 to 3'):
            setup.check_python()


def test_stages_run_once_and_resume_after_an_interruption(
    setup: ModuleType, tmp_path: Path
) -> None:
    done = []

    def interrupted() -> None:
        raise KeyboardInterrupt

    def stages(key: str, second: object) -> list[object]:
        return [
            setup.Stage('first', 'first', 'same', lambda: done.append('first')),
            setup.Stage('second', 'second', key, second),
        ]

    with pytest.raises(KeyboardInterrupt):
        setup.run_stages(stages('a', interrupted), tmp_path)
    setup.run_stages(stages('a', lambda: done.append('second')), tmp_path)
    setup.run_stages(stages('a', lambda: done.append('second')), tmp_path)
    assert done == ['first', 'second']
    with pytest.raises(KeyboardInterrupt):  # an input is changed, and changed back
        setup.run_stages(stages('b', interrupted), tmp_path)
    setup.run_stages(stages('a', lambda: done.append('second')), tmp_path)
    assert done == ['first', 'second', 'second']


@pytest.mark.parametrize(
    ('target', 'development'), [('setup', True), ('setup-demo', False), ('test', True)]
)
def test_only_the_demo_does_without_the_packages_of_the_tests(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, target: str, development: bool
) -> None:
    printed = subprocess.run(
        ['make', '--dry-run', target], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    (line,) = (line for line in printed.splitlines() if 'scripts/setup.py' in line)
    stages: list[str] = []
    monkeypatch.setattr(setup.sys, 'argv', line.split()[1:])
    monkeypatch.setattr(
        setup, 'run_stages', lambda given, _state: stages.extend(stage.name for stage in given)
    )
    setup.main()
    assert ('development' in stages) == development
    assert stages[:3] == ['venv', 'packages', 'interfaces']


def test_hash_depends_on_content_and_names(
    setup: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, 'ROOT', checkout)
    before = setup.hash_of(('msg', 'package.xml'))
    assert setup.hash_of(('msg', 'package.xml')) == before
    (checkout / 'msg/TrackStatus.msg').rename(checkout / 'msg/Status.msg')
    renamed = setup.hash_of(('msg', 'package.xml'))
    (checkout / 'package.xml').write_text('<package/>')
    assert len({before, renamed, setup.hash_of(('msg', 'package.xml'))}) == 3


def test_failing_commands_show_their_last_lines(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, 'STATE', tmp_path)
    code = 'import sys; [print("line", i) for i in range(100)]; sys.exit(3)'
    with pytest.raises(setup.SetupError, match=r'(?s)line 70.*line 99') as caught:
        setup.run('stage', [sys.executable, '-c', code])
    assert 'line 69\n' not in str(caught.value)
    assert 'line 0\n' in (tmp_path / 'stage.log').read_text()


def test_cmake_paths_of_the_build_machine_are_replaced_once(tmp_path: Path) -> None:
    rewrite = load('rewrite_cmake_paths').rewrite
    path = tmp_path / 'share' / 'a.cmake'
    path.parent.mkdir()
    numpy = '/opt/python/cp311-cp311/lib/python3.11/site-packages/numpy/_core/include'
    path.write_text(f'set(A "/opt/python/cp311-cp311/include/python3.11;{numpy};/opt/other")')
    assert rewrite(tmp_path) == 1
    python, numpy, other = re.findall(r'[^";]*/[^";]*', path.read_text())
    assert (Path(python) / 'Python.h').is_file()
    assert (Path(numpy) / 'numpy/arrayobject.h').is_file()
    assert other == '/opt/other'
    assert rewrite(tmp_path) == 0


def test_the_version_is_the_same_everywhere() -> None:
    version = ElementTree.parse(ROOT / 'package.xml').findtext('version')
    assert version == siamffn_model.__version__ == metadata.version('siamffn-tracker')


def test_all_required_packages_are_pinned() -> None:
    pins = re.findall(r'^([a-z0-9.-]+)==', (ROOT / 'constraints.txt').read_text(), re.MULTILINE)
    required = [re.split('[ ;<=>]', line)[0] for line in metadata.requires('siamffn-tracker') or []]
    ros = re.findall(r'^[a-z-]+', (ROOT / 'scripts/ros_kilted.txt').read_text(), re.MULTILINE)
    assert required and ros
    assert set(required + ros) - set(pins) == set()


def test_both_builds_of_opencv_have_the_same_version() -> None:
    """They are installed into the same folder, and the second overwrites the first."""
    pins = (ROOT / 'constraints.txt').read_text()
    versions = re.findall(r'^opencv-(?:contrib-)?python-headless==(.+)$', pins, re.MULTILINE)
    assert len(versions) == 2
    assert len(set(versions)) == 1


def test_entry_points_can_be_loaded() -> None:
    points = metadata.distribution('siamffn-tracker').entry_points
    names = {point.name: point for point in points}
    assert names.keys() == {'siamffn', 'bag'}
    assert all(callable(point.load()) for point in points)
    assert names['bag'].group == 'siamffn.commands'


def test_every_executable_has_a_main() -> None:
    cmake = (ROOT / 'CMakeLists.txt').read_text()
    executables = dict(re.findall(r'install_executable\((\w+) ([\w.]+)\)', cmake))
    assert executables.keys() == {'console', 'mavlink_camera', 'tracker_node', 'siamffn'}
    for module in executables.values():
        assert callable(util.find_spec(module) and __import__(module, fromlist=['main']).main)


def test_installed_executables_can_be_executed(tmp_path: Path) -> None:
    """`colcon build --symlink-install` links to the configured file, whose mode thus counts."""
    cmake = (ROOT / 'CMakeLists.txt').read_text()
    (command,) = re.findall(r'configure_file\(.*\)', cmake)
    (tmp_path / 'program.py').write_text('def main():\n    return 3\n')
    values = {
        'CMAKE_CURRENT_BINARY_DIR': tmp_path,
        'Python3_EXECUTABLE': sys.executable,
        'module': 'program',
        'name': 'run',
    }
    script = tmp_path / 'script.cmake'
    script.write_text(''.join(f'set({k} "{v}")\n' for k, v in values.items()) + command)
    shutil.copytree(ROOT / 'scripts', tmp_path / 'scripts')
    subprocess.run(['cmake', '-P', script], cwd=tmp_path, check=True)
    environment = {**os.environ, 'PYTHONPATH': str(tmp_path)}
    assert subprocess.run([tmp_path / 'bin' / 'run'], env=environment).returncode == 3


def imported_packages(*folders: str) -> set[str]:
    """Return the top-level modules that the Python files in these folders import."""
    names = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(str(node.module))
    return {name.partition('.')[0] for name in names}


def test_package_xml_names_the_ros_packages_that_are_used() -> None:
    tree = ElementTree.parse(ROOT / 'package.xml').getroot()

    def dependencies(*kinds: str) -> set[str]:
        return {str(element.text) for kind in kinds for element in tree.iter(kind)}

    ros = re.compile(r'.*_msgs|builtin_interfaces|ament_index_python|cv_bridge|launch\w*|rclpy')
    used = {name for name in imported_packages('siamffn_ros', 'launch') if ros.fullmatch(name)}
    assert 'rclpy' in used
    assert used - dependencies('depend', 'exec_depend') == set()
    declared = {name for name in dependencies('exec_depend') if ros.fullmatch(name)}
    assert declared - used == set()
    in_tests = {name for name in imported_packages('test/ros') if ros.fullmatch(name)}
    assert in_tests - dependencies('depend', 'exec_depend', 'test_depend') == set()
    cmake = (ROOT / 'CMakeLists.txt').read_text()
    found = set(re.findall(r'find_package\((\w+)', cmake)) - {'Python3'}
    assert found - dependencies('depend', 'buildtool_depend', 'test_depend') == set()
