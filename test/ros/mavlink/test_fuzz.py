"""Random messages and bytes end neither the camera nor the link, and use no memory."""

from __future__ import annotations

import gc

import psutil

from .ground_station import Camera, RandomMessages, Station

MEGABYTE = 2**20


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
    assert memory() - before < 4 * MEGABYTE
    station = Station()
    acknowledgement, information = camera.send(station.command(512, 259))[:2]
    assert (acknowledgement.result, information.get_msgId()) == (0, 259), 'it still answers'
