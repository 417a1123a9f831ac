"""Every model of the zoo, and the weight files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from siamffn_model.errors import SiamFFNError, WeightsError
from siamffn_model.networks.siamese import SiamFFN
from siamffn_model.networks.zoo import (
    MODELS,
    WEIGHTS,
    choose_device,
    create_model,
    load_model,
    read_weights,
    save_weights,
)


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(name: str) -> SiamFFN:
    torch.manual_seed(0)
    return create_model(name)


def pixels(count: int, size: int) -> torch.Tensor:
    return torch.rand(count, 3, size, size) * 255


def test_forward_and_backward(model: SiamFFN) -> None:
    logits, distances = model.search(pixels(2, 255), model.template(pixels(2, 127)))
    assert logits.shape == (2, 2, 25, 25)
    assert distances.shape == (2, 4, 25, 25)
    assert (distances > 0).all()
    (logits.square().mean() + distances.mean()).backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert idle == []


def test_a_batch_of_targets_is_the_same_as_one_by_one(model: SiamFFN) -> None:
    model.eval()
    z, x = pixels(3, 127), pixels(3, 255)
    with torch.no_grad():
        together = model.search(x, model.template(z))
        again = model.search(x, model.template(z))
        alone = [model.search(x[i : i + 1], model.template(z[i : i + 1])) for i in range(3)]
    assert torch.equal(together[0], again[0])
    assert torch.allclose(together[0], torch.cat([a[0] for a in alone]), atol=1e-3)
    assert torch.allclose(together[1], torch.cat([a[1] for a in alone]), rtol=1e-3)


def test_search_costs_at_most_one_and_a_half_billion(model: SiamFFN) -> None:
    operations = 0

    def count(layer: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal operations
        assert isinstance(layer, torch.nn.Conv2d)
        operations += output[0].numel() * layer.weight[0].numel()

    model.eval()
    with torch.no_grad():
        template = model.template(pixels(1, 127))
        for layer in model.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.register_forward_hook(count)
        model.search(pixels(1, 255), template)
    operations += 3 * 96 * 25 * 25 * 8 * 8  # the correlations
    assert operations <= 1.5e9


def test_weights_survive_the_file(name: str, model: SiamFFN, tmp_path: Path) -> None:
    path = tmp_path / 'deep' / 'model.safetensors'
    save_weights(model, name, path, {'data': 'none'})
    for key, value in read_weights(path, name).items():
        assert torch.allclose(value.float(), model.state_dict()[key].float(), rtol=1e-3, atol=1e-4)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_loaded_model_is_quicker_but_the_same(name: str, model: SiamFFN, tmp_path: Path) -> None:
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(layer.running_var, 0.5, 2)
    path = tmp_path / 'model.safetensors'
    save_weights(model, name, path, {})
    model.load_state_dict(read_weights(path, name))
    model.eval()
    quick = load_model(name, path, 'cpu')
    for count in (1, 2):
        z, x = pixels(count, 127), pixels(count, 255)
        with torch.no_grad():
            plain = model.search(x, model.template(z))
            for one, other in zip(quick.search(x, quick.template(z)), plain, strict=True):
                assert torch.allclose(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))


def test_bad_weight_files_are_named(name: str, model: SiamFFN, tmp_path: Path) -> None:
    good = tmp_path / 'good.safetensors'
    save_weights(model, name, good, {})
    with pytest.raises(WeightsError, match=r'none\.safetensors is missing'):
        load_model(name, tmp_path / 'none.safetensors')
    for bad, data in (('cut', good.read_bytes()[:-100]), ('junk', b'not a tensor'), ('empty', b'')):
        path = tmp_path / f'{bad}.safetensors'
        path.write_bytes(data)
        with pytest.raises(WeightsError, match=f'{bad}.safetensors is damaged'):
            load_model(name, path)
    state = load_file(good)
    save_file(state, tmp_path / 'other.safetensors', metadata={'model': 'yolo'})
    with pytest.raises(WeightsError, match='belongs to yolo'):
        load_model(name, tmp_path / 'other.safetensors')
    key = next(iter(state))
    save_file({**state, key: state[key].flatten()}, tmp_path / 'shape.safetensors')
    with pytest.raises(WeightsError, match=f'the first is {key}'):
        load_model(name, tmp_path / 'shape.safetensors')


def test_unknown_names_and_devices_are_refused() -> None:
    with pytest.raises(SiamFFNError, match='unknown model'):
        create_model('resnet')
    for device in ('gpu', 'cuda:99', 'meta'):
        with pytest.raises(SiamFFNError, match=device):
            choose_device(device)
    assert choose_device('cpu').type == 'cpu'


def test_shipped_weights_are_small_finite_and_those_of_the_card(name: str) -> None:
    path = WEIGHTS / f'{name}.safetensors'
    assert path.stat().st_size < 15e6
    assert hashlib.sha256(path.read_bytes()).hexdigest() in path.with_suffix('.md').read_text()
    assert all(value.isfinite().all() for value in read_weights(path, name).values())
