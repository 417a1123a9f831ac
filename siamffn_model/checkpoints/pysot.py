"""Conversion of checkpoints from pysot (SiamRPN++) and SiamBAN."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from siamffn_model.errors import WeightsError

# Maps a tensor name that only the checkpoints of one model contain to the name of that model.
IDENTIFYING_TENSORS = {
    'head.box2.cls.head.3.weight': 'siamban_r50',
    'rpn_head.rpn2.cls.head.3.weight': 'siamrpnpp_r50',
}

_BOTTLENECK = {'conv1': 0, 'bn1': 1, 'conv2': 3, 'bn2': 4, 'conv3': 6, 'bn3': 7}
_PARTS = {'conv_kernel': 'kernel', 'conv_search': 'embed', 'head': 'output'}
_BRANCHES = {'cls': 'cls', 'loc': 'reg'}
_RENAMED: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r'backbone\.conv1', lambda _: 'backbone.stem.0'),
    (r'backbone\.bn1', lambda _: 'backbone.stem.1'),
    (
        r'backbone\.layer(\d)\.(\d)\.((?:conv|bn)\d)',
        lambda m: f'backbone.layers.{int(m[1]) - 1}.{m[2]}.layers.{_BOTTLENECK[m[3]]}',
    ),
    (
        r'backbone\.layer(\d)\.(\d)\.downsample',
        lambda m: f'backbone.layers.{int(m[1]) - 1}.{m[2]}.downsample',
    ),
    (r'neck\.downsample(\d)\.downsample', lambda m: f'neck.levels.{int(m[1]) - 2}'),
    (
        r'(?:rpn_)?head\.(?:rpn|box)(\d)\.(cls|loc)\.(conv_kernel|conv_search|head)',
        lambda m: f'head.{_BRANCHES[m[2]]}.{int(m[1]) - 2}.{_PARTS[m[3]]}',
    ),
    (r'(?:rpn_)?head\.(cls|loc)_weight', lambda m: f'head.{_BRANCHES[m[1]]}_weight'),
    (r'head\.loc_scale', lambda _: 'head.scale'),
)


def read_checkpoint(path: Path) -> tuple[str, dict[str, Tensor]]:
    """Read a checkpoint (.pth) of pysot's siamrpn_r50_l234_dwxcorr or SiamBAN's siamban_r50_l234.

    The file is read with `weights_only=True`, which executes no code from it.

    Returns:
        The name of the model in `networks.zoo.MODELS` and its state dict.

    Raises `WeightsError` if the file is missing, damaged or of another model.
    """
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise WeightsError(f'{path} is not a PyTorch checkpoint ({error}): copy it again') from None
    state = content.get('state_dict', content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f'{path} contains no state_dict: give a checkpoint of pysot or SiamBAN')
    state = {name.removeprefix('module.'): value for name, value in state.items()}
    for tensor, model in IDENTIFYING_TENSORS.items():
        if tensor in state:
            renamed = {_rename(name): value for name, value in state.items()}
            return model, _add_counters(renamed)
    raise WeightsError(
        f'{path} is of an unknown model: give a checkpoint of pysot siamrpn_r50_l234_dwxcorr or '
        'SiamBAN siamban_r50_l234'
    )


def _add_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the counters `num_batches_tracked`, which PyTorch before 0.4.1 did not save."""
    norms = [name.removesuffix('running_mean') for name in state if name.endswith('running_mean')]
    return {f'{norm}num_batches_tracked': torch.tensor(0) for norm in norms} | state


def _rename(name: str) -> str:
    for pattern, replacement in _RENAMED:
        match = re.match(pattern, name)
        if match:
            return replacement(match) + name[match.end() :]
    return name
