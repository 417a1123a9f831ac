"""Every model of the zoo, and the weight files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from siamffn_model.errors import SiamFFNError, WeightsError
from siamffn_model.networks.siamese import Siamese
from siamffn_model.networks.zoo import (
    WEIGHTS,
    choose_device,
    create_model,
    load_model,
    read_weights,
    save_weights,
)

from .conftest import close, pixels


def test_weights_survive_the_file(name: str, model: Siamese, tmp_path: Path) -> None:
    path = tmp_path / 'deep' / 'model.safetensors'
    save_weights(model, name, path, {'data': 'none'})
    for key, value in read_weights(path, name).items():
        assert torch.allclose(value.float(), model.state_dict()[key].float(), rtol=1e-3, atol=1e-4)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_loaded_model_is_quicker_but_the_same(name: str, model: Siamese, tmp_path: Path) -> None:
    path = tmp_path / 'model.safetensors'
    save_weights(model, name, path, {})
    quick = load_model(name, path, 'cpu')
    plain = create_model(name).eval()
    plain.load_state_dict(read_weights(path, name))
    for count in (1, 2):
        z, x = pixels(count, 127), pixels(count, 255)
        with torch.no_grad():
            expected = plain.search(x, plain.template(z))
            for one, other in zip(quick.search(x, quick.template(z)), expected, strict=True):
                assert close(one, other)


def test_bad_weight_files_are_named(tmp_path: Path) -> None:
    name = 'siamffn_lite0'
    good = tmp_path / 'good.safetensors'
    save_weights(create_model(name), name, good, {})
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


def test_statistics_too_large_for_half_precision_survive(tmp_path: Path) -> None:
    model = create_model('siamffn_lite0')
    torch.nn.init.constant_(model.backbone.stem[1].running_var, 1e5)
    save_weights(model, 'siamffn_lite0', tmp_path / 'x.safetensors', {})
    state = read_weights(tmp_path / 'x.safetensors', 'siamffn_lite0')
    assert state['backbone.stem.1.running_var'].unique().tolist() == [1e5]


def test_unknown_names_and_devices_are_refused() -> None:
    with pytest.raises(SiamFFNError, match='unknown model'):
        create_model('resnet')
    for device in ('gpu', 'cuda:99', 'meta'):
        with pytest.raises(SiamFFNError, match=device):
            choose_device(device)
    assert choose_device('cpu').type == 'cpu'


@pytest.mark.parametrize('path', list(WEIGHTS.glob('*.safetensors')), ids=lambda path: path.stem)
def test_shipped_weights_are_small_finite_and_those_of_the_card(path: Path) -> None:
    assert path.stat().st_size < 15e6
    assert hashlib.sha256(path.read_bytes()).hexdigest() in path.with_suffix('.md').read_text()
    assert all(value.isfinite().all() for value in read_weights(path, path.stem).values())
