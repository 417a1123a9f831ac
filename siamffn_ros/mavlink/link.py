"""The connection to vehicle and ground stations: messages in and out, never an exception."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any, Protocol

from pymavlink.dialects.v20 import common as mavlink

from siamffn_model.errors import ConfigError
from siamffn_ros.mavlink.address import Address
from siamffn_ros.mavlink.camera import Outgoing
from siamffn_ros.mavlink.camera_messages import Message
from siamffn_ros.mavlink.transports import Peer, Transport, check_url, open_transport

REOPEN_PERIOD = 2.0  # seconds between two attempts to open the connection
VEHICLE_TIMEOUT = 10.0  # seconds without a heartbeat until another vehicle may take its place
HINT_AFTER = 10.0  # seconds without a vehicle until this is logged
PEER_TIMEOUT = 60.0  # seconds without a message until an address is forgotten
MAX_PEERS = 16  # addresses
MAX_ROUTES = 64  # MAVLink components whose address is remembered
MAX_BYTES = 8192  # that are read at once, so that a flood leaves time for what is due
OVERHEAD = 50  # bytes that the reading of a datagram counts as
DEFAULT_SYSTEM = 1  # of a vehicle that is not known yet, and has to be addressed first
SIGNING_EPOCH = 1420070400  # 2015-01-01 in Unix time, from which signatures count 10 us


class Logger(Protocol):
    """A logger of Python or of ROS."""

    def info(self, message: str) -> object:
        """Log what has recovered."""

    def warning(self, message: str) -> object:
        """Log what is wrong."""


class Link:
    """A MAVLink 2 connection of one component.

    On a socket that listens (`udpin`), answers go to the address from which their receiver was
    heard last, and all else to every address that was heard.

    Args:
        url: see `transports`.
        component_id: of this component.
        system_id: of the vehicle; 0 to take it from the heartbeat of the autopilot.
        signing_key: see `read_signing_key`; messages that are not signed so are ignored. Empty: no
            signatures.
        logger: receives lines on what goes wrong or recovers.
        now: time in seconds, as for all methods.

    Raises `ConfigError` for a URL that is not valid, or a UDP address that cannot be used.
    """

    def __init__(
        self,
        url: str,
        component_id: int,
        system_id: int,
        signing_key: bytes,
        logger: Logger,
        now: float,
    ) -> None:
        check_url(url)
        self._url, self._component_id, self._logger = url, component_id, logger
        self._given_system, self._found_system = system_id, 0
        self._signing = _signing(signing_key)
        if signing_key and not self._signing.timestamp:
            logger.warning(
                'the clock of this machine is before 2015: others may refuse what is signed until '
                'it is set'
            )
        self._signed: dict[tuple[int, int, int], int] = {}  # time stamps of valid signatures
        self._packer = self._mavlink()
        self._parser = self._mavlink()
        self._peers: dict[Peer, float] = {}  # when they were heard
        self._routes: dict[Address, Peer] = {}
        self._heard = now
        self._hinted = self._warned_of_twin = False
        self._next_open = 0.0
        self._problem = ''
        self.transport: Transport | None = None
        try:
            self.transport = open_transport(url)
        except OSError as error:
            if not url.startswith('serial:'):
                raise ConfigError(f'{url} cannot be used ({error}): give another url') from error
            self._fail(error, now)

    def _mavlink(self) -> Any:
        codec = mavlink.MAVLink(None, srcComponent=self._component_id)
        codec.robust_parsing = True
        codec.signing = self._signing
        return codec

    @property
    def system_id(self) -> int | None:
        """System id of the vehicle; None while it is unknown."""
        if self._known_system:
            return self._known_system
        return DEFAULT_SYSTEM if self.transport and self.transport.remote else None

    @property
    def _known_system(self) -> int:
        return self._given_system or self._found_system

    @property
    def _vehicle(self) -> Address | None:
        """Its autopilot; None while it is unknown."""
        known = self._known_system
        return Address(known, mavlink.MAV_COMP_ID_AUTOPILOT1) if known else None

    def silence(self, now: float) -> float:
        """Return the seconds since the last heartbeat of the vehicle, or since the start."""
        return now - self._heard

    def close(self) -> None:
        """Close the connection."""
        if self.transport:
            self.transport.close()
        self.transport = None

    # --- in

    def poll(self, now: float) -> list[Message]:
        """Return the valid messages in what has arrived, of about MAX_BYTES."""
        messages: list[Message] = []
        left = MAX_BYTES
        if transport := self._opened(now):
            self._advance_signing_time()
            try:
                for address, data in transport.read():
                    messages += self._parse(data, address, transport.is_serial, now)
                    left -= len(data) + OVERHEAD
                    if left < 0:
                        break
            except OSError as error:
                self._fail(error, now)
        self._check_vehicle(now)
        return messages

    def _parse(self, data: bytes, address: Peer, stream: bool, now: float) -> list[Message]:
        parser = self._parser if stream else self._mavlink()
        # pymavlink stores the time stamps of forged signatures, too.
        self._signing.stream_timestamps = dict(self._signed)
        try:
            parsed = parser.parse_buffer(data) or []
        except Exception:  # bytes that pymavlink itself fails on
            self._parser = self._mavlink()
            return []
        messages = [each for each in parsed if each.get_msgId() >= 0]  # without BAD_DATA
        for message in messages:
            if message.get_signed():
                self._accept_signature(message)
            sender = Address(message.get_srcSystem(), message.get_srcComponent())
            _remember(self._routes, sender, address, MAX_ROUTES, keep=self._vehicle)
            self._look_for_vehicle(message, sender, now)
        if messages:
            route = self._routes.get(self._vehicle) if self._vehicle else None
            _remember(self._peers, address, now, MAX_PEERS, keep=route)
        return messages

    def _advance_signing_time(self) -> None:
        self._signing.timestamp = max(self._signing.timestamp, _signing_time())

    def _accept_signature(self, message: Message) -> None:
        """Let no message of this sender that is older be accepted any more."""
        stamp = int.from_bytes(message.get_msgbuf()[-12:-6], 'little')
        sender = message.get_srcSystem(), message.get_srcComponent()
        _remember(self._signed, (message.get_link_id(), *sender), stamp, MAX_ROUTES)

    def _look_for_vehicle(self, message: Message, sender: Address, now: float) -> None:
        if message.get_type() != 'HEARTBEAT':
            return
        if sender == (self.system_id, self._component_id) and not self._warned_of_twin:
            self._warned_of_twin = True
            self._logger.warning(
                f'another component is {sender.system}/{sender.component}, too: set component_id '
                'to one that no other camera of this vehicle has'
            )
        autopilot = message.autopilot != mavlink.MAV_AUTOPILOT_INVALID
        if not autopilot or sender.component != mavlink.MAV_COMP_ID_AUTOPILOT1:
            return
        known = self._known_system
        silent = now - self._heard >= VEHICLE_TIMEOUT
        if known and sender.system != known and (self._given_system or not silent):
            return  # another vehicle
        if self._found_system != sender.system or self._hinted:
            self._logger.info(f'vehicle {sender.system} found')
        self._found_system, self._heard, self._hinted = sender.system, now, False

    def _check_vehicle(self, now: float) -> None:
        if now - self._heard > HINT_AFTER and not self._hinted:
            self._hinted = True
            self._logger.warning(
                f'no heartbeat of an autopilot on {self._url} for {HINT_AFTER:g} s: check the '
                'address, and that the autopilot or router sends to it'
            )

    # --- out

    def send(self, outgoing: Outgoing, now: float) -> None:
        """Send a message, if there is a connection and somebody to receive it."""
        transport, system = self.transport, self.system_id
        if transport is None or system is None:
            return
        self._packer.srcSystem = system
        self._advance_signing_time()
        data = bytes(outgoing.message.pack(self._packer))
        self._packer.seq = (self._packer.seq + 1) % 256
        for address in self._addresses(transport, outgoing.receiver, now):
            try:
                transport.write(data, address)
            except OSError as error:
                if transport.is_serial:
                    self._fail(error, now)
                else:  # nobody can be reached there now; known again when heard
                    self._peers.pop(address, None)

    def _addresses(self, transport: Transport, receiver: Address | None, now: float) -> list[Peer]:
        if transport.is_serial or transport.remote:
            return [transport.remote]
        for address, heard in list(self._peers.items()):
            if now - heard > PEER_TIMEOUT:
                del self._peers[address]
        if receiver in self._routes and self._routes[receiver] in self._peers:
            return [self._routes[receiver]]
        return list(self._peers)

    # --- the connection

    def _opened(self, now: float) -> Transport | None:
        if self.transport is None and now >= self._next_open:
            try:
                self.transport = open_transport(self._url)
            except OSError as error:
                self._fail(error, now)
            else:
                self._logger.info(f'{self._url} is open again')
                self._problem = ''
        return self.transport

    def _fail(self, error: OSError, now: float) -> None:
        """Close the connection, to be opened again later; log a new problem."""
        self.close()
        self._parser = self._mavlink()
        self._next_open = now + REOPEN_PERIOD
        if str(error) != self._problem:
            self._problem = str(error)
            self._logger.warning(
                f'{self._url} has failed ({error}): trying again every {REOPEN_PERIOD:g} s'
            )


def read_signing_key(path: str) -> bytes:
    """Return the key of the passphrase in a file, its SHA-256 as in MAVProxy and Mission Planner.

    Returns no bytes for an empty path; raises `ConfigError` for a file without a passphrase.
    """
    if not path:
        return b''
    try:
        passphrase = Path(path).expanduser().read_text(encoding='utf-8').strip()
    except (OSError, UnicodeError) as error:
        raise ConfigError(f'signing_file {path} cannot be read: {error}') from error
    if not passphrase:
        raise ConfigError(f'signing_file {path} is empty: write the passphrase into it')
    return hashlib.sha256(passphrase.encode()).digest()


def _signing(key: bytes) -> Any:
    signing = mavlink.MAVLinkSigning()
    if key:
        signing.secret_key, signing.sign_outgoing = key, True
        signing.timestamp = _signing_time()
    return signing


def _signing_time() -> int:
    return max(int((time.time() - SIGNING_EPOCH) * 1e5), 0)


def _remember(entries: dict[Any, Any], key: Any, value: Any, count: int, keep: Any = None) -> None:
    """Store a value as the newest of at most `count`; the oldest but `keep` makes room for it."""
    entries.pop(key, None)
    if len(entries) == count:
        del entries[next(each for each in entries if each != keep)]
    entries[key] = value
