"""Creation of models by name, and weight files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from siamffn_model.errors import ConfigError, WeightsError
from siamffn_model.networks.siamese import Siamese
from siamffn_model.networks.zoo import (
    create_model,
    load_weights,
    read_weights,
    save_weights,
)


@pytest.mark.slow
def test_weights_are_written_and_read(name: str, model: Siamese, tmp_path: Path) -> None:
    path = tmp_path / 'deep' / 'model.safetensors'
    save_weights(model, name, path, {'data': 'none'})
    for key, value in read_weights(path, name).items():
        assert torch.allclose(value.float(), model.state_dict()[key].float(), rtol=1e-3, atol=1e-4)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_errors_name_the_unusable_weight_file(tmp_path: Path) -> None:
    name = 'siamffn_lite0'
    good = tmp_path / 'good.safetensors'
    model = create_model(name)
    save_weights(model, name, good, {})
    missing = r'none\.safetensors is missing: .*its folder has a\.safetensors, b\.safetensors, good'
    for other in ('b', 'a'):
        (tmp_path / f'{other}.safetensors').touch()
    with pytest.raises(WeightsError, match=missing):
        load_weights(model, name, tmp_path / 'none.safetensors')
    for bad, data in (('cut', good.read_bytes()[:-100]), ('junk', b'not a tensor'), ('empty', b'')):
        path = tmp_path / f'{bad}.safetensors'
        path.write_bytes(data)
        with pytest.raises(WeightsError, match=f'{bad}.safetensors is damaged'):
            load_weights(model, name, path)
    state = load_file(good)
    save_file(state, tmp_path / 'other.safetensors', metadata={'model': 'yolo'})
    with pytest.raises(WeightsError, match='belongs to yolo'):
        load_weights(model, name, tmp_path / 'other.safetensors')
    key = next(iter(state))
    save_file({**state, key: state[key].flatten()}, tmp_path / 'shape.safetensors')
    with pytest.raises(WeightsError, match=f'the first is {key}'):
        load_weights(model, name, tmp_path / 'shape.safetensors')


def test_batch_norm_statistics_are_stored_in_single_precision(tmp_path: Path) -> None:
    model = create_model('siamffn_lite0')
    torch.nn.init.constant_(model.backbone.stem[1].running_var, 1e5)
    save_weights(model, 'siamffn_lite0', tmp_path / 'x.safetensors', {})
    state = read_weights(tmp_path / 'x.safetensors', 'siamffn_lite0')
    assert state['backbone.stem.1.running_var'].unique().tolist() == [1e5]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match='unknown model'):
        create_model('resnet')
