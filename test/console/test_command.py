"""`siamffn console` as a process."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from ..command import siamffn

pytest.importorskip('aiohttp', reason='extra [console] not installed')

COMMAND = [sys.executable, '-m', 'siamffn_model', 'console']


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_the_page_is_served_until_a_signal(sequence: Path, number: int) -> None:
    process = subprocess.Popen(
        [*COMMAND, str(sequence), '--port', '0', '--device', 'cpu'],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    address = process.stdout.readline().removeprefix('open ').strip()
    assert address.startswith('http://127.0.0.1:')
    with urllib.request.urlopen(address) as page:
        assert page.status == 200 and b'<html' in page.read()
    port = int(address.rstrip('/').rpartition(':')[2])
    silent = [socket.create_connection(('127.0.0.1', port), timeout=30) for _ in range(3)]
    start = f'Host: 127.0.0.1:{port}\r\n'
    key = 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \xff\r\nOrigin: http://127.0.0.1:'
    upgrade = f'{start}Connection: Upgrade\r\nUpgrade: websocket\r\n{key}{port}\r\n'
    compressed = f'{start}Content-Encoding: gzip\r\nContent-Length: 3\r\n'
    for request, status in (
        (f'GET /{"x" * 9000} HTTP/1.1\r\n{start}\r\n', 400),
        (f'GET /static/{"a" * 300} HTTP/1.1\r\n{start}\r\n', 404),
        (f'GET / HTTP/1.1\r\n{start}Origin: http://[\r\n\r\n', 403),
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
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert 'Traceback' not in errors
    assert errors.count('a request is refused: LineTooLong') == 1


def test_another_host_needs_the_token_that_is_printed(sequence: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, str(sequence), '--port', '0', '--device', 'cpu', '--host', '0.0.0.0'],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout
    address = process.stdout.readline().strip()
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
