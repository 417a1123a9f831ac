"""The address that the console listens on, and the names under which a browser may reach it."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

import psutil

from siamffn_model.errors import ConfigError


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address of this machine.

    Args:
        host: its name or IP address; 0.0.0.0 or :: for all addresses.
        port: 0 for any that is free.

    Raises `ConfigError` if the address cannot be used.
    """
    if not host:
        raise ConfigError('host is empty: give an address, or 0.0.0.0 for all of this machine')
    try:
        families = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, *_, address = min(families, key=lambda each: each[0] != socket.AF_INET)
        both = host == '::' and socket.has_dualstack_ipv6()
        return socket.create_server(address[:2], family=family, dualstack_ipv6=both)
    except (OSError, UnicodeError) as error:
        reason = str(getattr(error, 'strerror', 'no such host')).partition(' (')[0]
        raise ConfigError(
            f'{host}:{port} cannot be used ({reason}): choose another address or port'
        ) from None


def is_loopback(listening: socket.socket) -> bool:
    """Return whether only programs on this machine can reach a socket."""
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def reachable(listening: socket.socket) -> list[str]:
    """Return the addresses, such as 192.168.1.7:8080, under which a browser finds a socket."""
    host, port = listening.getsockname()[:2]
    hosts = [host]
    if ipaddress.ip_address(host).is_unspecified:
        found = (each for addresses in psutil.net_if_addrs().values() for each in addresses)
        usable = [
            each.address
            for each in found
            if each.family == socket.AF_INET and not ipaddress.ip_address(each.address).is_loopback
        ]
        hosts = [*usable, socket.gethostname()]
    return [f'[{each}]:{port}' if ':' in each else f'{each}:{port}' for each in hosts]


def is_own_host(host: str) -> bool:
    """Return whether a Host header names this machine by an address or its own name.

    Any other name may belong to a page that has pointed it here (DNS rebinding).
    """
    try:
        name = urlsplit(f'//{host}').hostname or ''
    except ValueError:
        return False
    own = socket.gethostname().lower()
    if name in {'localhost', own, f'{own}.local'}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
