"""The tests in this folder can run on a machine with few packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parent
ABSENT = [
    'av',
    'click',
    'filelock',
    'hypothesis',
    'natsort',
    'openvino',
    'PIL',
    'platformdirs',
    'psutil',
    'pydantic',
    'pytest_timeout',
    'rclpy',
    'rosbags',
    'tabulate',
    'tqdm',
    'xdist',
]


def test_few_packages_suffice() -> None:
    program = (
        f'import sys; sys.modules.update(dict.fromkeys({ABSENT}))\n'  # importing them fails
        'import pytest; sys.exit(pytest.main(sys.argv[1:]))'
    )
    options = [f'--confcutdir={FOLDER}', '-p', 'no:cacheprovider', '-m', 'not slow', '-q']
    done = subprocess.run(
        [sys.executable, '-c', program, *options, str(FOLDER)],
        cwd=FOLDER.parents[1],
        env={**os.environ, 'PYTEST_DISABLE_PLUGIN_AUTOLOAD': '1', 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ' passed' in done.stdout
