"""Random messages and bytes end neither the camera nor the link, and use no memory."""

from __future__ import annotations

import gc
import math
import random

import psutil
from pymavlink.dialects.v20 import common as mavlink

from .ground_station import CAMERA, VEHICLE, Camera, Station

COMMANDS = 512, 511, 521, 522, 525, 527, 2004, 2005, 2010, 2504, 2505
MEGABYTE = 2**20
NUMBERS = 0, 1, -1, 0.2, 0.4, 0.9, 259, 269, 275, 500_000, math.nan, math.inf, 1e38


class RandomMessages:
    """Messages of every kind, with random values; half of them commands to the camera."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._kinds = list(mavlink.mavlink_map.values())
        self._stations = [Station(255, 190), Station(1, 1), Station(7, 42)]

    def next(self) -> bytes:
        """Return the bytes of a message."""
        choose = self._random.choice
        station = choose(self._stations)
        if self._random.random() < 0.5:
            target = choose((VEHICLE, VEHICLE, 0, 9)), choose((CAMERA, CAMERA, 0, 1))
            parameters = [choose((choose(NUMBERS), self._random.random())) for _ in range(7)]
            command = choose((*COMMANDS, self._random.randrange(65536)))
            return station.command(command, *parameters, system=target[0], component=target[1])
        kind = choose(self._kinds)
        return station.pack_payload(kind, self._random.randbytes(kind.unpacker.size))


def memory() -> int:
    """Return the resident memory in bytes."""
    gc.collect()
    return psutil.Process().memory_info().rss


def test_random_messages_are_answered_or_ignored_and_use_no_memory() -> None:
    camera, messages = Camera(), RandomMessages(1)

    def run(count: int) -> None:
        for _ in range(count):
            camera.now += 0.01
            for answer in camera.send(messages.next()):
                assert answer.get_type() != 'COMMAND_ACK' or answer.target_system in (255, 1, 7)
            camera.targets.requests.clear()
            camera.targets.futures.clear()

    run(3000)
    before = memory()
    run(7000)
    assert memory() - before < MEGABYTE
    station = Station()
    acknowledgement, information = camera.send(station.command(512, 259))[:2]
    assert (acknowledgement.result, information.get_msgId()) == (0, 259), 'it still answers'
