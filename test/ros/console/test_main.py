"""siamffn_ros/console/main.py, as a process."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip('aiohttp', reason='extra [console] not installed')

COMMAND = [sys.executable, '-m', 'siamffn_ros.console.main', '--ros-args', '-p']


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_the_page_is_served_until_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [*COMMAND, 'port:=0', '-r', '__ns:=/left'], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert process.stdout
    address = process.stdout.readline().removeprefix('open ').strip()
    with urllib.request.urlopen(address) as page:
        assert page.status == 200 and b'<html' in page.read()
    process.send_signal(number)
    assert process.wait(40) == 0


@pytest.mark.parametrize(
    ('parameter', 'reason'), [('port:=many', 'port'), ('port:=70000', 'port'), ('host:=1', 'host')]
)
def test_values_that_are_not_allowed_are_one_line(parameter: str, reason: str) -> None:
    result = subprocess.run([*COMMAND, parameter], capture_output=True, text=True)
    (line,) = result.stderr.splitlines()
    assert result.returncode == 1 and line.startswith('error: ') and reason in line
