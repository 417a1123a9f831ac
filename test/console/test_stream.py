"""The figures of a stream."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip('aiohttp', reason='extra [console] not installed')

from siamffn_model.console import stream as module
from siamffn_model.console.backend import CameraFrame
from siamffn_model.console.stream import Stream
from siamffn_model.live.results import Result

from .fake_backend import numbered_image, target


def test_the_figures_are_those_of_the_last_period(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'PERIOD', 1000.0)
    stream = Stream()
    with ThreadPoolExecutor(1) as pool:
        for stamp in range(1, 11):
            stream.add_frame(CameraFrame(stamp, lambda: numbered_image(0)), stamp, pool)
    stream.add_result(Result(10, [target('1')]))
    figures = stream.figures()
    latency = figures.pop('latency_ms')
    assert latency is not None and latency >= 0
    assert figures == {'fps': 0.0, 'received': 10, 'dropped': 1}  # ten in 1000 s
    monkeypatch.setattr(module, 'PERIOD', 1e-9)  # later
    empty = {'fps': 0.0, 'received': 10, 'dropped': None, 'latency_ms': None}
    assert stream.figures() == empty
