"""Models by name, and their weight files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from siamffn_model.atomic_io import write_bytes
from siamffn_model.errors import WeightsError
from siamffn_model.networks.alexnet import AlexNet
from siamffn_model.networks.efficientnet_lite import EfficientNetLite0
from siamffn_model.networks.names import check_name
from siamffn_model.networks.resnet import ResNet50
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.networks.siamese import (
    SiamBAN,
    Siamese,
    SiamFC,
    SiamFFN,
    SiamRPN,
    SiamRPNpp,
)
from siamffn_model.networks.weight_file import require_file

MODELS: dict[str, Callable[[], Siamese]] = {
    # for CPUs: the paper's head on a compact backbone
    'siamffn_lite0': lambda: SiamFFN(EfficientNetLite0(), channels=96, cells=7),
    # as fast as the fastest trackers: narrow blocks, everything after the fifth at stride 16
    'siamffn_lite0_s16': lambda: SiamFFN(
        EfficientNetLite0(last=8, stride=16, frozen=2, narrow=True),
        channels=96,
        cells=7,
        score_map=ScoreMap(15, stride=16),
        padding=2,
        separable=3,
        residual=3,
        pixelwise=True,
    ),
    # to compare the heads on the same backbone
    'siamban_lite0': lambda: SiamBAN(EfficientNetLite0(), channels=96, cells=7),
    # the paper's model
    'siamffn_r50': lambda: SiamFFN(ResNet50(), channels=256, cells=7),
    # fewer parameters: the 1x1 downsample convolutions of the original ResNet
    'siamffn_r50_1x1': lambda: SiamFFN(ResNet50(downsample=1), channels=256, cells=7),
    # the paper's baselines in Tables 2 to 4
    'siamban_r50': lambda: SiamBAN(ResNet50(), channels=256, cells=7),
    'siamrpnpp_r50': lambda: SiamRPNpp(ResNet50(), channels=256, cells=7),
    'siamrpn_alex': lambda: SiamRPN(AlexNet(), cells=6),
    'siamfc_alex': lambda: SiamFC(AlexNet(), cells=6),
}


def create_model(name: str) -> Siamese:
    """Return the named model with random weights; raise `ConfigError` for an unknown name."""
    check_name(name)
    return MODELS[name]()


def load_weights(model: Siamese, name: str, path: Path) -> None:
    """Load the weights of a file into the named model; raises as `read_weights`."""
    _load_state(model, read_weights(path, name), path)


def save_weights(model: Siamese, name: str, path: Path, card: dict[str, object]) -> None:
    """Write a safetensors file with the model's name and card as metadata, atomically.

    Parameters are stored in half precision; the statistics of batch norm are not, because some
    exceed its range. Raises `DataError` if the file cannot be written.
    """
    parameters = dict(model.named_parameters())
    state = {
        key: (value.half() if key in parameters else value).contiguous().cpu()
        for key, value in model.state_dict().items()
    }
    write_bytes(path, save(state, metadata={'model': name, 'card': json.dumps(card)}))


def read_weights(path: Path, name: str) -> dict[str, Tensor]:
    """Read a weight file of the named model in single precision.

    Raises `ConfigError` for an unknown name and `WeightsError` for a file that is missing, damaged
    or of another model.
    """
    check_name(name)
    require_file(path, name)
    try:
        with safe_open(path, framework='pt') as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no dict)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f'weight file {path} is damaged or not safetensors ({error}): copy or download it again'
        ) from None
    if metadata.get('model', name) != name:
        raise WeightsError(
            f'weight file {path} belongs to {metadata["model"]}, not {name}: '
            f'choose the model {metadata["model"]} or another file'
        )
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def read_card(path: Path) -> dict[str, object]:
    """Return the card that `save_weights` has stored in a valid weight file."""
    with safe_open(path, framework='pt') as file:
        card: dict[str, object] = json.loads((file.metadata() or {}).get('card', '{}'))
        return card


def import_weights(name: str, state: dict[str, Tensor], source: Path, out: Path) -> None:
    """Write a state dict converted from the file `source` as a weight file of the named model.

    Raises `WeightsError` if names or shapes differ from the model's.
    """
    model = create_model(name)
    _load_state(model, state, source)
    save_weights(model, name, out, {'source': source.name})


def _load_state(model: Siamese, state: dict[str, Tensor], path: Path) -> None:
    expected = model.state_dict()
    different = sorted(expected.keys() ^ state.keys())
    different += [k for k in expected.keys() & state.keys() if expected[k].shape != state[k].shape]
    if different:
        raise WeightsError(
            f'weight file {path} is of another network: {len(different)} of {len(expected)} '
            f'tensors differ, the first is {different[0]}; use a file written for this model and '
            'version'
        )
    model.load_state_dict(state)
