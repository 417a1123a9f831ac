"""The names of the networks in `zoo.MODELS`, without PyTorch, whose import takes seconds."""

from __future__ import annotations

from siamffn_model.errors import ConfigError

MODEL_NAMES = (
    'siamffn_lite0',
    'siamffn_lite0_s16',
    'siamban_lite0',
    'siamffn_r50',
    'siamffn_r50_1x1',
    'siamban_r50',
    'siamrpnpp_r50',
    'siamrpn_alex',
    'siamfc_alex',
)

DEFAULT_MODEL = 'siamffn_lite0_s16'


def check_name(name: str) -> None:
    """Raise `ConfigError` unless it is the name of a network."""
    if name not in MODEL_NAMES:
        raise ConfigError(f'unknown model {name!r}: choose one of {", ".join(MODEL_NAMES)}')
