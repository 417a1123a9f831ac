"""Selection of devices by name."""

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
def test_unknown_and_absent_devices_are_refused(name: str, error: type[SiamFFNError]) -> None:
    with pytest.raises(error, match=name):
        choose_device(name)


def test_auto_prefers_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, 'cuda_device_count', lambda: 0)
    assert (choose_device('auto'), choose_device('cpu')) == ('cpu', 'cpu')
    with pytest.raises(DependencyError, match='sees 0 CUDA devices'):
        choose_device('cuda')
    monkeypatch.setattr(devices, 'cuda_device_count', lambda: 2)
    assert (choose_device('auto'), choose_device('cuda:1')) == ('cuda', 'cuda:1')
