"""Signals that end long work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from siamffn_model.signals import END_SIGNALS, catch_signals

NUMBERS = (signal.SIGINT, *END_SIGNALS)


@pytest.fixture(params=NUMBERS)
def number(request: pytest.FixtureRequest) -> signal.Signals:
    assert isinstance(request.param, signal.Signals)
    return request.param


def test_the_first_signal_is_noted_and_the_second_acts(number: signal.Signals) -> None:
    received: list[int] = []
    before = signal.signal(number, lambda number, _: received.append(number))
    try:
        with catch_signals() as stop_requested:
            assert not stop_requested()
            os.kill(os.getpid(), number)
            assert stop_requested() and not received
            os.kill(os.getpid(), number)
            assert received == [number]
    finally:
        signal.signal(number, before)


def test_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    with catch_signals():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in NUMBERS] == before


def test_nohup_is_respected() -> None:
    """By the command line, and by the work that it runs."""
    script = (
        'import os, signal, click\n'
        'from siamffn_model.cli.main import main\n'
        'from siamffn_model.signals import catch_signals\n'
        '@main.command("work")\n'
        'def work():\n'
        '    os.kill(os.getpid(), signal.SIGHUP)\n'
        '    with catch_signals() as stop_requested:\n'
        '        os.kill(os.getpid(), signal.SIGHUP)\n'
        '        print(stop_requested())\n'
        'main(["work"])\n'
    )
    ignore = 'import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); '
    start = ignore + 'os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])'
    done = subprocess.run([sys.executable, '-c', start, script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, 'False\n'), done.stderr
