"""Devices by name."""

from __future__ import annotations

import pytest

from siamffn_model.errors import ConfigError, DependencyError, SiamFFNError
from siamffn_model.runtimes import devices
from siamffn_model.runtimes.devices import choose_device


@pytest.mark.parametrize(
    ('name', 'error'),
    [
        ('gpu', ConfigError),
        ('cuda:99', DependencyError),
        ('meta', ConfigError),
        ('cuda:', ConfigError),
    ],
)
def test_devices_that_are_not_there_are_refused(name: str, error: type[SiamFFNError]) -> None:
    with pytest.raises(error, match=name):
        choose_device(name)


def test_auto_takes_cuda_where_there_is_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, 'cuda_devices', lambda: 0)
    assert (choose_device('auto'), choose_device('cpu')) == ('cpu', 'cpu')
    with pytest.raises(DependencyError, match='sees 0 CUDA devices'):
        choose_device('cuda')
    monkeypatch.setattr(devices, 'cuda_devices', lambda: 2)
    assert (choose_device('auto'), choose_device('cuda:1')) == ('cuda', 'cuda:1')
