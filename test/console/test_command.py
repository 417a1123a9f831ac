"""`siamffn console` as a process."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..command import siamffn

pytest.importorskip('aiohttp', reason='extra [console] not installed')

COMMAND = [sys.executable, '-m', 'siamffn_model', 'console']


Start = Callable[..., tuple['subprocess.Popen[str]', str]]


@pytest.fixture
def start(sequence: Path) -> Iterator[Start]:
    """A function that starts a console, and returns the process and the address that it prints."""
    processes = []

    def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
        command = [*COMMAND, str(sequence), '--port', '0', '--device', 'cpu', *arguments]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout
        return process, process.stdout.readline().strip()

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_page_is_served_until_a_signal(start: Start, number: int) -> None:
    process, line = start()
    address = line.removeprefix('open ')
    assert address.startswith('http://127.0.0.1:')
    with urllib.request.urlopen(address) as page:
        assert page.status == 200 and b'<html' in page.read()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert 'Traceback' not in errors


@pytest.mark.slow
def test_requests_that_are_not_of_a_browser_are_refused_in_one_line(start: Start) -> None:
    process, line = start()
    port = int(line.rstrip('/').rpartition(':')[2])
    silent = [socket.create_connection(('127.0.0.1', port), timeout=30) for _ in range(3)]
    host = f'Host: 127.0.0.1:{port}\r\n'
    key = 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \xff\r\nOrigin: http://127.0.0.1:'
    upgrade = f'{host}Connection: Upgrade\r\nUpgrade: websocket\r\n{key}{port}\r\n'
    compressed = f'{host}Content-Encoding: gzip\r\nContent-Length: 3\r\n'
    for request, status in (
        (f'GET /{"x" * 9000} HTTP/1.1\r\n{host}\r\n', 400),
        (f'GET /static/{"a" * 300} HTTP/1.1\r\n{host}\r\n', 404),
        (f'GET / HTTP/1.1\r\n{host}Origin: http://[\r\n\r\n', 403),
        ('GET / HTTP/1.0\r\n\r\n', 403),
        (f'GET /ws HTTP/1.1\r\n{upgrade}\r\n', 400),
        (f'POST / HTTP/1.1\r\n{compressed}\r\nabc', 405),
    ):
        with socket.create_connection(('127.0.0.1', port), timeout=30) as connection:
            connection.sendall(request.encode('latin-1'))
            assert int(connection.recv(1000).split()[1]) == status, request
    for connection in silent:
        assert connection.recv(1) == b''  # closed by the server
        connection.close()
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert 'Traceback' not in errors
    assert errors.count('a request is refused: LineTooLong') == 1


def test_another_host_needs_the_token_that_is_printed(start: Start) -> None:
    process, address = start('--host', '0.0.0.0')
    host, _, token = address.partition('/?token=')
    assert host.startswith('open http://') and len(token) > 20
    port = host.rpartition(':')[2]
    with pytest.raises(urllib.error.HTTPError, match='401'):
        urllib.request.urlopen(f'http://127.0.0.1:{port}/')
    process.terminate()
    assert process.wait(60) == 0


def test_errors_are_one_line(sequence: Path, tmp_path: Path) -> None:
    missing = siamffn('console', tmp_path / 'no.mp4')
    assert missing.exit_code == 2
    assert 'no.mp4: no such file or folder' in missing.stderr
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
        used = siamffn('console', sequence, '--port', port, '--weights', tmp_path / 'no.pt')
    assert used.exit_code == 2  # before the model is loaded
    assert f'127.0.0.1:{port} cannot be used' in used.stderr
