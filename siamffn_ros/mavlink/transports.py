"""UDP sockets and serial ports by URL, which never wait."""

from __future__ import annotations

import os
import re
import socket
import termios
import tty
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol

from siamffn_model.errors import ConfigError

Peer = tuple[str, int] | None  # host and port; None for a serial port
MAX_PIECE = 2048  # bytes; the rest of a longer datagram is lost
URLS = 'udpin:HOST:PORT, udpout:HOST:PORT or serial:DEVICE:BAUD'
UDP = re.compile(r'(udpin|udpout):([^:]+):(\d+)')
SERIAL = re.compile(r'serial:([^:]+):(\d+)')


class Transport(Protocol):
    """Something that carries bytes. All methods raise `OSError` if it has failed.

    Attributes:
        is_serial: whether it carries a stream; else each piece has complete messages.
        remote: the address to which it sends without having received anything; None else.
    """

    is_serial: bool
    remote: Peer

    def read(self) -> Iterator[tuple[Peer, bytes]]:
        """Yield the pieces that have arrived, and from where."""

    def write(self, data: bytes, address: Peer) -> None:
        """Send complete messages."""

    def close(self) -> None:
        """Release it."""


def check_url(url: str) -> None:
    """Raise `ConfigError` for a URL of another form."""
    udp, serial = UDP.fullmatch(url), SERIAL.fullmatch(url)
    valid_port = udp is not None and 1 <= int(udp[3]) <= 65535
    valid_baud = serial is not None and hasattr(termios, f'B{serial[2]}')
    if not (valid_port or valid_baud):
        raise ConfigError(
            f'url {url!r} is not {URLS}: the port is from 1 to 65535, the baud rate one of the '
            'system, such as 57600, 115200 or 921600'
        )


def open_transport(url: str) -> Transport:
    """Open a valid URL; raises `OSError` if that is not possible now."""
    if match := UDP.fullmatch(url):
        address = socket.getaddrinfo(match[2], int(match[3]), socket.AF_INET, socket.SOCK_DGRAM, 0)[
            0
        ][4]
        return UdpTransport((str(address[0]), int(address[1])), listen=match[1] == 'udpin')
    device, baud = url.removeprefix('serial:').rsplit(':', 1)
    return SerialTransport(device, int(baud))


class UdpTransport:
    """A UDP socket that listens at an address, or sends to one."""

    is_serial = False

    def __init__(self, address: tuple[str, int], listen: bool) -> None:
        self.remote: Peer = None if listen else address
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            if listen:
                self._socket.bind(address)
        except OSError:
            self._socket.close()
            raise

    def read(self) -> Iterator[tuple[Peer, bytes]]:
        """See `Transport`."""
        while True:
            try:
                data, sender = self._socket.recvfrom(MAX_PIECE)
            except BlockingIOError:
                return
            known = self.remote is None or sender[0] == self.remote[0]
            # Of others without their bytes, so that the reader can end a flood of theirs, too.
            yield (sender[0], sender[1]), data if known else b''

    def write(self, data: bytes, address: Peer) -> None:
        """See `Transport`."""
        if receiver := self.remote or address:
            with suppress(BlockingIOError):  # as if it were lost on the way
                self._socket.sendto(data, receiver)

    def close(self) -> None:
        """See `Transport`."""
        self._socket.close()


class SerialTransport:
    """A serial port: 8 data bits, no parity, one stop bit, no flow control."""

    is_serial = True
    remote: Peer = None

    def __init__(self, device: str, baud: int) -> None:
        self._file = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            tty.setraw(self._file)
            settings = termios.tcgetattr(self._file)
            settings[2] = termios.CS8 | termios.CREAD | termios.CLOCAL
            settings[4] = settings[5] = getattr(termios, f'B{baud}')
            termios.tcsetattr(self._file, termios.TCSANOW, settings)
        except termios.error as error:  # not an OSError
            os.close(self._file)
            raise OSError(f'{device} is not a serial port ({error})') from error

    def read(self) -> Iterator[tuple[Peer, bytes]]:
        """See `Transport`."""
        while True:
            try:
                data = os.read(self._file, MAX_PIECE)
            except BlockingIOError:
                return
            if not data:
                raise OSError('the serial port has been unplugged')
            yield None, data

    def write(self, data: bytes, address: Peer) -> None:
        """See `Transport`."""
        with suppress(BlockingIOError):  # as if it were lost on the way
            os.write(self._file, data)

    def close(self) -> None:
        """See `Transport`."""
        os.close(self._file)
