"""siamffn_ros/mavlink/link.py over UDP on the loopback and over a pseudo-terminal."""

from __future__ import annotations

import gc
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pymavlink.dialects.v20 import common as mavlink

from siamffn_model.errors import ConfigError
from siamffn_ros.mavlink.address import Address
from siamffn_ros.mavlink.camera import Outgoing
from siamffn_ros.mavlink.link import Link, read_signing_key

from .ground_station import (
    CAMERA,
    VEHICLE,
    Peer,
    RandomMessages,
    Station,
    free_port,
    heartbeat,
    text,
)

MEGABYTE = 2**20


class RunningLink:
    """A link, its time and what it has logged."""

    def __init__(self, url: str, system: int = 0, key: bytes = b'') -> None:
        self.now = 100.0
        self.log: list[str] = []
        self.url = url
        self.link = Link(url, CAMERA, system, key, self, self.now)

    def info(self, message: str) -> None:
        """Keep a line of the log."""
        self.log.append(message)

    warning = info

    @property
    def port(self) -> int:
        """The UDP port."""
        return int(self.url.rpartition(':')[2])

    def poll(self, seconds: float = 0.0) -> list[Any]:
        """Let the time pass and return the messages."""
        self.now += seconds
        return self.link.poll(self.now)

    def wait_for(self, count: int) -> list[Any]:
        """Return the next messages; on the loopback they are there almost at once."""
        messages: list[Any] = []
        for _ in range(1000):
            messages += self.poll()
            if len(messages) >= count:
                break
            time.sleep(0.01)
        return messages

    def send(self, words: str, receiver: Address | None = None) -> None:
        """Send a text."""
        self.link.send(Outgoing(text(words), receiver), self.now)


@pytest.fixture
def start() -> Iterator[Callable[..., RunningLink]]:
    """Return a function that opens a link; the links are closed after the test."""
    links: list[RunningLink] = []

    def make(url: str = '', **options: Any) -> RunningLink:
        links.append(RunningLink(url or f'udpin:127.0.0.1:{free_port()}', **options))
        return links[-1]

    yield make
    for each in links:
        each.link.close()


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    """Return a function that opens a peer of a link; the peers are closed after the test."""
    peers: list[Peer] = []

    def make(running: RunningLink, system: int, component: int) -> Peer:
        peers.append(Peer(running.port, system, component))
        return peers[-1]

    yield make
    for each in peers:
        each.socket.close()


def test_the_heartbeat_of_the_autopilot_gives_the_system_id(start: Any, peer: Any) -> None:
    running = start()
    ground, other, autopilot = peer(running, 255, 190), peer(running, 9, 25), peer(running, 42, 1)
    ground.send(ground.station.pack(heartbeat(autopilot=False)))
    other.send(other.station.pack(heartbeat()))
    running.wait_for(2)
    assert running.link.system_id is None
    running.send('nobody knows me')
    autopilot.send(autopilot.station.pack(heartbeat()))
    running.wait_for(1)
    assert running.link.system_id == 42
    running.send('ready')
    assert [ground.texts(), other.texts(), autopilot.texts()] == [['ready']] * 3


def test_another_vehicle_takes_over_only_when_the_first_is_silent(start: Any, peer: Any) -> None:
    running = start()
    first, second = peer(running, 1, 1), peer(running, 2, 1)

    def beat(vehicle: Peer) -> int:
        vehicle.send(vehicle.station.pack(heartbeat()))
        running.wait_for(1)
        return running.link.system_id

    assert [beat(first), beat(second)] == [1, 1]
    running.now += 11
    assert beat(second) == 2


def test_a_given_system_id_is_kept(start: Any, peer: Any) -> None:
    running = start(system=7)
    assert running.link.system_id == 7
    vehicle = peer(running, 1, 1)
    vehicle.send(vehicle.station.pack(heartbeat()))
    running.wait_for(1)
    assert running.link.system_id == 7


def test_an_answer_goes_to_its_receiver_only(start: Any, peer: Any) -> None:
    running = start(system=VEHICLE)
    peers = [peer(running, 255, 190), peer(running, 254, 190), peer(running, 1, 1)]
    for each in peers:
        each.send(each.station.pack(heartbeat()))
    running.wait_for(3)
    running.send('answer', Address(254, 190))
    running.send('to a component behind one of them', Address(253, 190))
    assert [each.texts() for each in peers] == [
        ['to a component behind one of them'],
        ['answer', 'to a component behind one of them'],
        ['to a component behind one of them'],
    ]


def test_an_address_that_cannot_be_reached_does_not_hinder_the_others(
    start: Any, peer: Any
) -> None:
    running = start()
    vehicle = peer(running, 1, 1)
    running.link._peers['127.0.0.1', 0] = running.now  # port 0 is an error of the system
    vehicle.send(vehicle.station.pack(heartbeat()))
    running.wait_for(1)
    running.send('still there')
    assert vehicle.texts() == ['still there']
    assert len(running.link._peers) == 1 and running.link.transport


def test_an_autopilot_that_restarts_is_followed_to_its_new_port(start: Any, peer: Any) -> None:
    running = start()
    for _ in range(20):  # more than the addresses that are remembered
        autopilot = peer(running, 1, 1)
        autopilot.send(autopilot.station.pack(heartbeat()))
        running.wait_for(1)
        running.send('answer', Address(1, 1))
        assert autopilot.texts() == ['answer']
    assert len(running.link._peers) == 16
    running.now += 100
    running.send('to all')
    assert running.link._peers == {}, 'those that are silent are forgotten'


def test_the_first_packet_is_sent_where_the_url_says(start: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as router:
        router.bind(('127.0.0.1', 0))
        router.settimeout(10)
        running = start(f'udpout:127.0.0.1:{router.getsockname()[1]}')
        assert running.link.system_id == 1, 'of most vehicles'
        running.send('hello')
        data, address = router.recvfrom(1000)
        assert mavlink.MAVLink(None).parse_buffer(data)[0].text == 'hello'
        router.sendto(Station(3, 1).pack(heartbeat()), address)
        running.wait_for(1)
        assert running.link.system_id == 3


def test_what_cannot_be_used_is_an_error_that_says_so() -> None:
    for url in ('', 'udpin:14540', 'udpin:127.0.0.1:0', 'tcp:127.0.0.1:5760', 'serial:/dev/x:1'):
        with pytest.raises(ConfigError, match='is not udpin:HOST:PORT'):
            RunningLink(url)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(('127.0.0.1', 0))
        with pytest.raises(ConfigError, match='cannot be used'):
            RunningLink(f'udpin:127.0.0.1:{other.getsockname()[1]}')


def test_a_failed_connection_is_opened_again(start: Any, peer: Any) -> None:
    running = start()
    running.link.transport.close()  # as if the network had gone
    assert running.poll() == [] and running.link.transport is None
    running.send('nobody there')
    assert running.poll(1.0) == [] and running.link.transport is None
    assert running.poll(1.5) == [] and running.link.transport
    assert 'trying again every 2 s' in running.log[0] and 'is open again' in running.log[1]
    vehicle = peer(running, 1, 1)
    vehicle.send(vehicle.station.pack(heartbeat()))
    assert len(running.wait_for(1)) == 1


def test_a_serial_port_may_appear_later_and_be_unplugged(start: Any, tmp_path: Path) -> None:
    device = tmp_path / 'ttyUSB0'
    running = start(f'serial:{device}:57600')
    assert len(running.log) == 1 and running.link.transport is None
    for plugged in range(2):
        ours, theirs = os.openpty()
        device.unlink(missing_ok=True)
        device.symlink_to(os.ttyname(theirs))
        running.poll(3.0)
        data = Station(1, 1).pack(heartbeat())
        os.write(ours, b'\x00\xfd\x09' + data[:7])
        running.poll()
        os.write(ours, data[7:] + data * 20)
        assert running.wait_for(1), f'{plugged}: found again after the garbage'
        running.send('answer')
        assert mavlink.MAVLink(None).parse_buffer(os.read(ours, 1000))[0].text == 'answer'
        os.close(theirs)
        os.close(ours)
        running.poll()
        assert running.link.transport is None


def test_silence_and_a_twin_are_logged_once(start: Any, peer: Any) -> None:
    running = start()
    for _ in range(30):
        running.poll(1.0)
    assert len(running.log) == 1 and 'no heartbeat of an autopilot' in running.log[0]
    vehicle, twin = peer(running, 1, 1), peer(running, 1, CAMERA)
    vehicle.send(vehicle.station.pack(heartbeat()))
    running.wait_for(1)
    for _ in range(2):
        twin.send(twin.station.pack(heartbeat(autopilot=False)))
        running.wait_for(1)
    assert running.log[1:] == ['vehicle 1 found', running.log[2]]
    assert 'set component_id' in running.log[2]


def test_with_a_key_only_signed_messages_count(start: Any, peer: Any, tmp_path: Path) -> None:
    (tmp_path / 'passphrase').write_text('secret\n')
    key = read_signing_key(str(tmp_path / 'passphrase'))
    running = start(key=key)
    vehicle = peer(running, 1, 1)
    vehicle.send(vehicle.station.pack(heartbeat()))
    forger = Station(1, 1, key=b'x' * 32, ahead=3600)
    vehicle.send(forger.pack(heartbeat()))
    signer = Station(1, 1, key=key)
    first = signer.pack(heartbeat())
    vehicle.send(first)
    assert len(running.wait_for(1)) == 1, 'not the unsigned and the forged one'
    assert running.link.system_id == 1
    vehicle.send(first)
    vehicle.send(signer.pack(heartbeat()))
    assert len(running.wait_for(1)) == 1, 'not the replayed one'
    running.send('answer')
    parser = signer.parser()
    assert parser.parse_buffer(vehicle.socket.recv(1000))[0].get_signed()


def test_with_a_clock_before_2015_messages_are_signed_and_this_is_logged(
    start: Any, peer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = bytes(32)
    monkeypatch.setattr(time, 'time', lambda: 1000.0)
    running = start(key=key, system=1)
    assert len(running.log) == 1 and 'before 2015' in running.log[0]
    vehicle = peer(running, 1, 1)
    monkeypatch.undo()
    vehicle.send(Station(1, 1, key=key).pack(heartbeat()))
    running.wait_for(1)
    running.send('signed')
    assert vehicle.texts() == ['signed']


def test_an_old_message_is_refused_even_if_nothing_was_sent_since(start: Any, peer: Any) -> None:
    key = bytes(32)
    running = start(key=key)
    running.link._signing.timestamp -= 10 * 60 * 100_000  # of a node that started ten minutes ago
    vehicle = peer(running, 1, 1)
    vehicle.send(Station(1, 1, key=key, ahead=-300).pack(heartbeat()))
    vehicle.send(Station(1, 1, key=key).pack(heartbeat()))
    assert len(running.wait_for(1)) == 1


def test_a_flood_is_read_in_parts(start: Any, peer: Any) -> None:
    running = start()
    vehicle = peer(running, 1, 1)
    beat = vehicle.station.pack(heartbeat())
    for data, count in ((1400 // len(beat) * beat, 20), (beat, 250)):
        for _ in range(count):
            vehicle.send(data)
        parts = []
        while sum(parts) < count * len(data) // len(beat):
            parts.append(len(running.wait_for(1)))
        assert len(parts) > 1 and max(parts) < 500
    vehicle.send(1000 * beat)
    assert 0 < len(running.wait_for(1)) < 120, 'as much as a datagram over a network may have'
    for _ in range(50):
        vehicle.send(b'\xfe\0\0\1\1\0' * 200)  # messages with a wrong checksum
    vehicle.send(beat)
    polls = 1
    while not running.poll():
        polls += 1
    assert polls > 5, 'what is not valid is read in parts, too'


def test_strangers_do_not_displace_the_vehicle(start: Any, peer: Any) -> None:
    running = start()
    vehicle = peer(running, 1, 1)
    vehicle.send(vehicle.station.pack(heartbeat()))
    running.wait_for(1)
    for number in range(100):
        stranger = peer(running, 50 + number, 1)
        stranger.send(stranger.station.pack(heartbeat()))
        running.wait_for(1)
    running.send('for the vehicle', Address(1, 1))
    assert vehicle.texts() == ['for the vehicle']
    assert stranger.texts() == []


def test_a_passphrase_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    assert read_signing_key('') == b''
    (tmp_path / 'empty').write_text('\n')
    for name in ('missing', 'empty'):
        with pytest.raises(ConfigError, match='signing_file'):
            read_signing_key(str(tmp_path / name))


def test_random_bytes_and_messages_pass_through_and_use_no_memory(start: Any, peer: Any) -> None:
    running, numbers, messages = start(), random.Random(2), RandomMessages(3)
    vehicle = peer(running, 1, 1)

    def run(count: int) -> int:
        """Send this number of random bytes, half of them after a start of message; some messages
        between them. Return the resident memory."""
        while count > 0:
            data = numbers.randbytes(numbers.randrange(1, 1000))
            count -= len(data)
            vehicle.send(numbers.choice((b'', b'\xfd')) + data)
            vehicle.send(messages.next())
            running.poll(0.01)
        gc.collect()
        return psutil.Process().memory_info().rss

    before = run(30_000)
    assert run(100_000) - before < 4 * MEGABYTE
    vehicle.send(vehicle.station.pack(heartbeat()))
    running.wait_for(1)
    assert running.link.system_id is not None
