"""Depth-wise and pixel-wise correlation, compared with plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from siamffn_model.networks.correlation import depthwise_correlation, pixelwise_correlation


def reference(search: np.ndarray, template: np.ndarray, padding: int = 0) -> np.ndarray:
    search = np.pad(search, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    batch, channels, height, width = search.shape
    rows, columns = height - template.shape[2] + 1, width - template.shape[3] + 1
    out = np.zeros((batch, channels, rows, columns))
    for b, c, y, x in np.ndindex(out.shape):
        window = search[b, c, y : y + template.shape[2], x : x + template.shape[3]]
        out[b, c, y, x] = (window * template[b, c]).sum()
    return out


@pytest.mark.parametrize('gradients', [True, False], ids=['fourier', 'direct'])
@pytest.mark.parametrize('shape', [((2, 3, 9, 8), (2, 3, 4, 3)), ((1, 1, 5, 5), (1, 1, 5, 5))])
@pytest.mark.parametrize('padding', [0, 3])
def test_agrees_with_plain_loops(
    gradients: bool, shape: tuple[tuple[int, ...], ...], padding: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    search, template = (torch.randn(s, generator=generator) for s in shape)
    with torch.set_grad_enabled(gradients):
        response = depthwise_correlation(search, template, padding).numpy()
    expected = reference(search.numpy(), template.numpy(), padding)
    assert response == pytest.approx(expected, abs=1e-4)


def test_gradient_is_correct() -> None:
    search = torch.randn(1, 2, 6, 6, dtype=torch.double, requires_grad=True)
    template = torch.randn(1, 2, 3, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(depthwise_correlation, (search, template))


def test_one_template_is_broadcast_to_a_batch() -> None:
    search, template = torch.randn(3, 2, 6, 6), torch.randn(1, 2, 3, 3)
    with torch.no_grad():
        batch = depthwise_correlation(search, template)
        single = [depthwise_correlation(one[None], template)[0] for one in search]
    assert torch.allclose(batch, torch.stack(single), atol=1e-5)


@pytest.mark.parametrize('batch', [1, 2], ids=['one template', 'a batch'])
def test_pixelwise_correlation_agrees_with_plain_loops(batch: int) -> None:
    generator = torch.Generator().manual_seed(0)
    search = torch.randn(2, 3, 5, 4, generator=generator)
    template = torch.randn(batch, 3, 2, 3, generator=generator)
    expected = np.zeros((2, 6, 5, 4))
    for b, row, column, y, x in np.ndindex(2, 2, 3, 5, 4):
        cell = template[b % batch, :, row, column]
        expected[b, 3 * row + column, y, x] = float(cell @ search[b, :, y, x])
    assert pixelwise_correlation(search, template).numpy() == pytest.approx(expected, abs=1e-5)
