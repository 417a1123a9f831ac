"""The address of the console's page."""

from __future__ import annotations

import socket

import pytest

from siamffn_model.console.address import is_loopback, is_own_host, listen, reachable
from siamffn_model.errors import ConfigError


def test_own_hosts() -> None:
    for host in ('localhost:8080', '127.0.0.1', '192.168.1.7:80', '[::1]:8080'):
        assert is_own_host(host), host
    for host in ('', 'example.com', 'localhost.example.com', '127.0.0.1.example.com', '[', ':80'):
        assert not is_own_host(host), host


@pytest.mark.parametrize('host', ['localhost', '127.0.0.1', '127.0.0.2'])
def test_an_address_of_this_machine_only(host: str) -> None:
    with listen(host, 0) as listening:
        name, port = listening.getsockname()
        assert is_loopback(listening)
        assert reachable(listening) == [f'{name}:{port}']
        with socket.create_connection((name, port), timeout=10):
            pass


def test_all_addresses_are_named_by_those_that_a_browser_finds() -> None:
    with listen('0.0.0.0', 0) as listening:
        port = listening.getsockname()[1]
        assert not is_loopback(listening)
        addresses = reachable(listening)
        assert addresses[-1] == f'{socket.gethostname()}:{port}'
        assert not any(each.startswith(('0.', '127.')) for each in addresses)
        for address in addresses:
            assert is_own_host(address)


def test_addresses_that_cannot_be_used() -> None:
    with pytest.raises(ConfigError, match='host is empty'):
        listen('', 0)
    for host in ('no.such.host.invalid', '192.0.2.1', '300.0.0.1', 'a' * 70, '.'):
        with pytest.raises(ConfigError, match='cannot be used'):
            listen(host, 0)
    with listen('127.0.0.1', 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(ConfigError, match=f'127.0.0.1:{port} cannot be used .*in use'):
            listen('127.0.0.1', port)
